"""Trainings one after another: a stage says what differs from the run's settings, and what it starts from."""

import functools
import inspect
import pathlib
import shutil

from kerasdet.data import proposals as proposed
from kerasdet.evaluation.evaluator import Evaluator
from kerasdet.load import load
from kerasdet.training import cache, guard, start, strategy, validate
from kerasdet.training.checkpoints import save_model
from kerasdet.training.log import Log
from kerasdet.weights import copy

START = "start.keras"
# What a stage that ends in a solver may hold beside the solver's own options.
OF_SOLVERS = ("solver", "init_from", "proposals", "batch_size")


def in_stages(fit):
    """Decorates `training.fit`: with `stages` it runs once for each, see `run_stages`."""

    @functools.wraps(fit)
    def fit_in_stages(model, train, validation=None, run="runs/fit", *, stages=(), resume=False, **settings):
        if not stages:
            return fit(model, train, validation, run, resume=resume, **settings)
        return run_stages(fit, stages, model, train, validation, run, resume, **settings)

    return fit_in_stages


def run_stages(fit, stages, model, train, validation, run, resume, **settings):
    """Runs each stage in its own folder, `stage1`, `stage2` ... of the run.

    A stage starts from what the previous one wrote, unless its `init_from` names another: "stage1", "start" for the
    weights that the model had at first, or what `fit` takes; in a dict by parts, what no pattern matches starts from
    the previous stage. An `init_from` that the stages share is loaded once, before the first. The last stage's model is
    the run's.

    With `proposals="stage1"` a stage sees the regions that the model of that stage proposes for its data sets, written
    there once, in the place of its own.

    A stage with a `solver` takes no steps: `Detector.solve` fits weights to the training set, such as SVMs or ridge
    regression on features that it keeps in the stage's `cache` folder. The stage's other keys are the solver's options.

    Args:
        fit: `training.fit`, of one stage.
        stages: list of dicts of arguments of `fit`, and `proposals`; or of a `solver` and its options.
        model, train, validation, run: as in `fit`.
        resume: stages that are done are skipped; the one that was cut goes on.
        settings: arguments of `fit` that the stages share.

    Returns:
        The metrics of the last validation, a dict.

    Raises:
        ValueError: a stage has an unknown key, solver or option, or takes proposals of no stage before it, or there are
            several workers.
        FloatingPointError: a solver's weights are not finite.
    """
    if strategy.has_workers(model.distribute_strategy):
        raise ValueError("stages hand files on in the run's folder, which workers cannot share yet: train on one.")
    run, first = pathlib.Path(run), settings.pop("init_from", None)
    for number, stage in enumerate(stages, 1):
        _check(number, stage, fit, model, [one for one in (train, validation) if one is not None])
    if not (resume and (run / START).is_file()):
        run.mkdir(parents=True, exist_ok=True)
        for folder in run.glob("stage*"):
            _forget(folder)
            shutil.rmtree(folder / "cache", ignore_errors=True)
        if first:
            print(copy.table(start.load(model, first), first), flush=True)
        save_model(model, run / START)
    metrics, before = {}, run / START
    for number, stage in enumerate(stages, 1):
        folder = run / f"stage{number}"
        if resume and (folder / "done").is_file():
            print(f"stage {number} of {len(stages)} is done", flush=True)
        else:
            print(f"stage {number} of {len(stages)}", flush=True)
            _forget(folder)
            source = _source(run, stage.get("init_from"), before)
            sets = train, validation
            if stage.get("proposals"):
                sets = _proposed(run / stage["proposals"], sets, {**settings, **stage}.get("batch_size", 4))
            if "solver" in stage:
                metrics = _solve(model, *sets, folder, source, stage, settings)
            else:
                own = {key: value for key, value in stage.items() if key != "proposals"}
                metrics = fit(model, *sets, folder, resume=resume, **{**settings, **own, "init_from": source})
            (folder / "done").touch()
        before = folder
    for name in ("model.keras", "best.keras"):
        if (before / name).is_file():
            shutil.copyfile(before / name, run / name)
        else:
            (run / name).unlink(missing_ok=True)  # of a previous run: a solver writes no best model
    return metrics


def _check(number, stage, fit, model, datasets):
    """Fails on what is wrong in a stage before the first one starts."""
    if "solver" in stage:
        _check_solver(number, stage, model)
    else:
        known = set(inspect.signature(fit).parameters) - {"model", "train", "validation", "run", "resume", "stages"}
        known.add("proposals")
        if unknown := sorted(set(stage) - known):
            raise ValueError(f"stage {number} has unknown keys {unknown}; it takes {sorted(known)}.")
    if stage.get("proposals"):
        earlier = [f"stage{i}" for i in range(1, number)]
        if stage["proposals"] not in earlier:
            raise ValueError(f"stage {number}: proposals must be of one of {earlier}, got {stage['proposals']!r}.")
        for dataset in datasets:
            proposed.by_name(dataset)


def _check_solver(number, stage, model):
    kind, solver = type(model).__name__, stage["solver"]
    if solver not in model.solvers:
        known = f"its solvers are {model.solvers}" if model.solvers else "it has none"
        raise ValueError(f"stage {number}: {kind} has no solver {solver!r}; {known}.")
    try:
        inspect.signature(getattr(model, f"solve_{solver}")).bind("train", "cached", **_options(stage))
    except TypeError as error:
        raise ValueError(f"stage {number}: {kind}'s solver {solver!r}: {error}.") from None


def _options(stage):
    """The options of a stage's solver."""
    return {key: value for key, value in stage.items() if key not in OF_SOLVERS}


def _forget(folder):
    """A stage that starts leaves no mark and no proposals of a previous run."""
    for old in [folder / "done", *folder.glob("proposals_*.npz")]:
        old.unlink(missing_ok=True)


def _solve(model, train, validation, folder, source, stage, settings):
    """Runs a stage that ends in a solver; returns the metrics of its validation."""
    model.check(train)
    folder.mkdir(parents=True, exist_ok=True)
    print(copy.table(start.load(model, source), source), flush=True)
    batch_size = stage.get("batch_size", settings.get("batch_size", 4))

    def cached(name, dataset, function, keep=None):
        return cache.features(model, dataset, folder / "cache" / f"{name}.npz", function, batch_size, keep)

    model.solve(stage["solver"], train, cached, **_options(stage))
    if (weight := guard.not_finite(model)) is not None:
        raise FloatingPointError(f"the solver {stage['solver']!r} left the weight {weight.path} not finite.")
    save_model(model, folder / "model.keras")
    if validation is None:
        return {}
    metrics = Evaluator(model, validation, batch_size, **(settings.get("evaluate") or {}))()
    validate.tell(metrics, Log(folder, batch_size, schedule=None, steps=0, start=0))
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
            cache.propose(model, dataset, path, batch_size, training=part == "train")
        found.append(proposed.attach(dataset, path))
    return found
