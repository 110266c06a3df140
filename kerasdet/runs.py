"""A run folder is the model: config, weights, classes, metrics and log in one place that every tool takes."""

import json
import pathlib
import sys

import keras
from absl import app
from ml_collections import ConfigDict

from kerasdet import detectors
from kerasdet.weights import presets


def build(config, classes):
    """Makes the detector that a config describes.

    Args:
        config: the `model` part of a config: the `name` of a detector and its arguments.
        classes: names of the classes.

    Returns:
        A `Detector`.

    Raises:
        ValueError: the name is unknown.
    """
    arguments = config.to_dict()
    name = arguments.pop("name")
    if name not in detectors.DETECTORS:
        raise ValueError(f"model.name must be one of {sorted(detectors.DETECTORS)}, got {name!r}.")
    return detectors.DETECTORS[name](classes=list(classes), **arguments)


def load(path):
    """Loads a detector.

    Args:
        path: a run folder, a `.keras` file, a preset's folder or the name of a released model.

    Returns:
        A `Detector`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a preset is damaged.
    """
    if presets.is_preset(path):
        return presets.load(path)
    path = pathlib.Path(path)
    file = path / "model.keras" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"{file}: no model there; give a run folder, a .keras file, a preset or the name of a released model."
        )
    return keras.saving.load_model(file)


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


def script(main):
    """Runs a tool's `main` under absl; what is wrong with its input is one line on stderr, without a stack."""

    def guarded(arguments):
        try:
            main(arguments)
        except (ValueError, FileNotFoundError, FloatingPointError) as error:
            sys.exit(f"error: {error}")

    app.run(guarded)
