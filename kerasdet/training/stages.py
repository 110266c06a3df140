"""Trainings one after another: a stage says what differs from the run's settings, and what it starts from."""

import inspect
import pathlib
import shutil

from kerasdet.data import proposals as proposed
from kerasdet.load import load
from kerasdet.training import start, strategy
from kerasdet.training.checkpoints import save_model
from kerasdet.training.propose import propose
from kerasdet.weights import copy

START = "start.keras"


def run_stages(fit, stages, model, train, validation, run, resume, **settings):
    """Runs each stage in a folder of its own, `stage1`, `stage2` ... of the run.

    A stage starts from what the one before wrote, unless its `init_from` names another: "stage1", "start" for the
    weights that the model had at first, or what `fit` takes; in a dict by parts, what no pattern matches starts from
    the stage before. An `init_from` that the stages share is loaded once, before the first. The last stage's model is
    the run's.

    With `proposals="stage1"` a stage sees the regions that the model of that stage proposes for its data sets, written
    there once, in the place of its own.

    Args:
        fit: `training.fit`.
        stages: list of dicts of arguments of `fit`, and `proposals`.
        model, train, validation, run: as in `fit`.
        resume: stages that are done are passed over; the one that was cut goes on.
        settings: arguments of `fit` that the stages share.

    Returns:
        The metrics of the last validation, a dict.

    Raises:
        ValueError: a stage has an unknown key, or takes proposals of no stage before it, or there are several workers.
    """
    if strategy.has_workers(model.distribute_strategy):
        raise ValueError("stages hand files on in the run's folder, which workers cannot share yet: train on one.")
    run, first = pathlib.Path(run), settings.pop("init_from", None)
    known = set(inspect.signature(fit).parameters) - {"model", "train", "validation", "run", "resume", "stages"}
    known.add("proposals")
    for number, stage in enumerate(stages, 1):
        if unknown := sorted(set(stage) - known):
            raise ValueError(f"stage {number} has unknown keys {unknown}; it takes {sorted(known)}.")
        earlier = [f"stage{i}" for i in range(1, number)]
        if stage.get("proposals") not in (None, *earlier):
            raise ValueError(f"stage {number}: proposals must be of one of {earlier}, got {stage['proposals']!r}.")
        for dataset in (train, validation):
            if stage.get("proposals") and dataset is not None:
                proposed.by_name(dataset)  # names that are alike are better known before the first stage
    if not (resume and (run / START).is_file()):
        run.mkdir(parents=True, exist_ok=True)
        for old in [*run.glob("stage*/done"), *run.glob("stage*/proposals_*.npz")]:
            old.unlink()
        if first:
            print(copy.table(start.load(model, first), first), flush=True)
        save_model(model, run / START)
    metrics, before = {}, run / START
    for number, stage in enumerate(stages, 1):
        folder = run / f"stage{number}"
        done = folder / "done"
        if resume and done.is_file():
            print(f"stage {number} of {len(stages)} is done", flush=True)
        else:
            print(f"stage {number} of {len(stages)}", flush=True)
            for old in [done, *folder.glob("proposals_*.npz")]:
                old.unlink(missing_ok=True)
            arguments = {**settings, **stage}
            arguments["init_from"] = _source(run, arguments.get("init_from"), before)
            teacher = arguments.pop("proposals", None)
            sets = (train, validation)
            if teacher:
                sets = _proposed(run / teacher, sets, arguments.get("batch_size", 4))
            metrics = fit(model, *sets, folder, resume=resume, **arguments)
            done.touch()
        before = folder
    for name in ("model.keras", "best.keras"):
        if (before / name).is_file():
            shutil.copyfile(before / name, run / name)
    return metrics


def _source(run, name, before):
    """What `init_from` of a stage means to `fit`."""
    if isinstance(name, dict):
        return {pattern: _source(run, one, before) for pattern, one in {**name, "*": name.get("*")}.items()}
    if name == "start":
        return run / START
    return run / name if name and (run / str(name)).exists() else name or before


def _proposed(folder, datasets, batch_size):
    """The data sets with the proposals of a stage's model."""
    model, found = None, []
    for part, dataset in zip(("train", "validation"), datasets, strict=True):
        path = folder / f"proposals_{part}.npz"
        if dataset is None:
            found.append(None)
            continue
        if not path.is_file():
            model = model or load(folder)
            propose(model, dataset, path, batch_size, training=part == "train")
        found.append(proposed.attach(dataset, path))
    return found
