"""A run folder is the model: config, weights, classes, metrics and log in one place that every tool takes."""

import json
import pathlib

from ml_collections import ConfigDict

from kerasdet import data
from kerasdet.data import parts
from kerasdet.data.split import contents

# Files of a run: which photos it split off, and the classes and photos, by their content, that it was begun with.
_SPLIT, _DATA = "split.json", "data.json"


def write_config(run, config):
    """Writes a config into a run folder."""
    run = pathlib.Path(run)
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.json").write_text(json.dumps(config.to_dict(), indent=2) + "\n")


def read_config(run):
    """Reads the config of a run folder.

    Raises:
        FileNotFoundError: the run has none.
    """
    file = pathlib.Path(run) / "config.json"
    if not file.is_file():
        raise FileNotFoundError(f"{file}: this run has no config; give one by --config.")
    return ConfigDict(json.loads(file.read_text()))


def datasets(config, run, again=False, init_from=None):
    """Reads what a config trains and validates on.

    Args:
        config: with `data.train` and `data.validation`, the arguments of `data.read`; or with the arguments of
            `data.parts` in `data`. Which photos went where is then written into the run folder.
        run: the run folder.
        again: whether to go on as the run did before: with its split, and its classes.
        init_from: None, or what training starts from; the run that it belongs to must not have trained on photos that
            are for validation now.

    Returns:
        (train, validation), two `Dataset`s of the same classes.

    Raises:
        ValueError: the classes are not those that the run was begun with, or validation photos were trained on.
    """
    run = pathlib.Path(run)
    if "train" in config.data:
        train = data.read(**config.data.train)
        found = train, parts.aligned(data.read(**config.data.validation), train)
    else:
        file = run / _SPLIT
        listed = json.loads(file.read_text()) if again and file.is_file() else None
        found = parts.parts(**config.data, listed=listed)
    if again:
        _check_classes(run, found[0])
        if (run / _DATA).is_file():
            return found
    known = {"classes": found[0].classes, "train": [], "validation": []}
    run.mkdir(parents=True, exist_ok=True)
    if "train" not in config.data:
        known["train"], known["validation"] = map(contents, found)
        _check_start(init_from, found[1], known["validation"])
        lists = [parts.names(one, config.data.folder) for one in found]
        (run / _SPLIT).write_text(json.dumps(lists, indent=0))
    (run / _DATA).write_text(json.dumps(known, indent=0), encoding="utf-8")
    return found


def _check_classes(run, train):
    """A run goes on with the classes that it was begun with; its head has no place for others."""
    file = run / _DATA
    before = json.loads(file.read_text(encoding="utf-8"))["classes"] if file.is_file() else list(train.classes)
    now = list(train.classes)
    if before != now:
        changes = [f"new: {name!r}" for name in now if name not in before]
        changes += [f"gone: {name!r}" for name in before if name not in now]
        what = ", ".join(changes[:5]) or "in another order"
        raise ValueError(
            f"{run}: its classes have changed since it was begun ({what}): --resume cannot go on; "
            f"start a new run with --init_from={run}."
        )


def _check_start(init_from, validation, photos):
    """Photos that a model was trained on say nothing about it."""
    if not isinstance(init_from, (str, pathlib.Path)) or not pathlib.Path(init_from).exists():
        return
    file = home(init_from) / _DATA
    trained = set(json.loads(file.read_text(encoding="utf-8"))["train"]) if file.is_file() else set()
    shared = [record.name for record, key in zip(validation.records, photos, strict=True) if key in trained]
    if shared:
        raise ValueError(
            f"{init_from}: it was trained on {len(shared)} of the {len(photos)} photos that are for validation now, "
            f"first {shared[0]}: AP would be too high. Split as it did: the same seed and share."
        )


def dataset(config, run, part, split=None):
    """Reads one data set of a run.

    Args:
        config: as in `datasets`.
        run: the run folder.
        part: "train", "validation", or "test", if the config names one or the folder has one.
        split: another split of that data set.

    Returns:
        A `Dataset`; if the run made its own split, the same photos as then.

    Raises:
        ValueError: there is no such data set.
    """
    if part in config.data:
        source = config.data[part].to_dict()
        return data.read(**{**source, "split": split or source.get("split")})
    if "train" in config.data or part not in ("train", "validation", "test"):
        raise ValueError(f"{run}: its config names no data {part!r}.")
    if split is None and part != "test":
        return datasets(config, run, again=True)[part == "validation"]
    options = {name: value for name, value in config.data.items() if name not in ("folder", "share", "seed")}
    places = {name: options[name] for name in ("format", "annotations") if name in options}
    found = data.read(config.data.folder, split or parts.named(config.data.folder, part, **places), **options)
    return parts.aligned(found, datasets(config, run, again=True)[0])


def home(path):
    """The run folder that a model belongs to: the nearest one above that has a config, else where the model lies.

    Args:
        path: of a run folder, a file or an export.

    Returns:
        `pathlib.Path`.
    """
    own = pathlib.Path(path) if pathlib.Path(path).is_dir() else pathlib.Path(path).parent
    return next((one for one in (own, *own.absolute().parents[:2]) if (one / "config.json").is_file()), own)


def threshold(path):
    """The score from which on a run's detections are best shown, as its last evaluation found it; 0.3 before.

    Args:
        path: as in `load.load`.
    """
    run = home(path)
    for file in (run / "evaluation" / "metrics.json", run / "metrics.json"):
        if file.is_file():
            return json.loads(file.read_text()).get("threshold", 0.3)
    return 0.3
