"""A run folder is the model: config, weights, classes, metrics and log in one place that every tool takes."""

import json
import pathlib

from ml_collections import ConfigDict

from kerasdet import data
from kerasdet.data import parts


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


def datasets(config, run, again=False):
    """Reads what a config trains and validates on.

    Args:
        config: with `data.train` and `data.validation`, the arguments of `data.read`; or with the arguments of
            `data.parts` in `data`. Which photos went where is then written into the run folder.
        run: the run folder.
        again: whether to split a folder as the run did before.

    Returns:
        (train, validation), two `Dataset`s.
    """
    if "train" in config.data:
        return data.read(**config.data.train), data.read(**config.data.validation)
    file = pathlib.Path(run) / "split.json"
    listed = json.loads(file.read_text()) if again and file.is_file() else None
    found = parts.parts(**config.data, listed=listed)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([parts.names(one, config.data.folder) for one in found], indent=0))
    return found


def dataset(config, run, part, split=None):
    """Reads one data set of a run.

    Args:
        config: as in `datasets`.
        run: the run folder.
        part: "train", "validation" or, where the config names one, "test".
        split: another split of that data set.

    Returns:
        A `Dataset`; if the run made its own split, the same photos as then.

    Raises:
        ValueError: the config names no such data set.
    """
    if part in config.data:
        source = config.data[part].to_dict()
        return data.read(**{**source, "split": split or source.get("split")})
    if "train" in config.data or part not in ("train", "validation"):
        raise ValueError(f"{run}: its config names no data {part!r}.")
    if split is not None:
        return data.read(config.data.folder, split)
    return datasets(config, run, again=True)[part == "validation"]


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
