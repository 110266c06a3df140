"""Trainings one after another: a stage says what differs from the run's settings, and what it starts from."""

import inspect
import pathlib
import shutil

from kerasdet.training.checkpoints import save_model

START = "start.keras"


def run_stages(fit, stages, model, train, validation, run, resume, **settings):
    """Runs each stage in a folder of its own, `stage1`, `stage2` ... of the run.

    A stage starts from what the one before wrote, unless its `init_from` names another: "stage1", "start" for the
    weights that the model had at first, or what `fit` takes. The last stage's model is the run's.

    Args:
        fit: `training.fit`.
        stages: list of dicts of arguments of `fit`.
        model, train, validation, run: as in `fit`.
        resume: stages that are done are passed over; the one that was cut goes on.
        settings: arguments of `fit` that the stages share.

    Returns:
        The metrics of the last validation, a dict.

    Raises:
        ValueError: a stage has an unknown key.
    """
    run = pathlib.Path(run)
    known = set(inspect.signature(fit).parameters) - {"model", "train", "validation", "run", "resume", "stages"}
    for number, stage in enumerate(stages, 1):
        if unknown := sorted(set(stage) - known):
            raise ValueError(f"stage {number} has unknown keys {unknown}; it takes {sorted(known)}.")
    if not (resume and (run / START).is_file()):
        run.mkdir(parents=True, exist_ok=True)
        save_model(model, run / START)
    metrics, before = {}, run / START
    for number, stage in enumerate(stages, 1):
        folder = run / f"stage{number}"
        done = folder / "done"
        if resume and done.is_file():
            print(f"stage {number} of {len(stages)} is done", flush=True)
        else:
            print(f"stage {number} of {len(stages)}", flush=True)
            done.unlink(missing_ok=True)
            source = _source(run, {**settings, **stage}.get("init_from")) or before
            arguments = {**settings, **stage, "init_from": source}
            metrics = fit(model, train, validation, folder, resume=resume, **arguments)
            done.touch()
        before = folder
    for name in ("model.keras", "best.keras"):
        if (before / name).is_file():
            shutil.copyfile(before / name, run / name)
    return metrics


def _source(run, name):
    if name == "start":
        return run / START
    return run / name if name and (run / str(name)).exists() else name
