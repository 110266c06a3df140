"""Detectors from what lies on the disk: a run, a file, a preset, an export; and from the `model` part of a config."""

import pathlib

import keras
from ml_collections import ConfigDict

from kerasdet.detectors import DETECTORS
from kerasdet.detectors.detector import Detector
from kerasdet.export import load as exported
from kerasdet.weights import copy, presets


def build(config, classes):
    """Makes the detector that a config describes.

    Args:
        config: the `model` part of a config, a dict or `ConfigDict`: the `name` of a detector and its arguments.
        classes: names of the classes, or their number.

    Returns:
        A `Detector`.

    Raises:
        ValueError: the name is unknown.
    """
    arguments = ConfigDict(config).to_dict()
    name = arguments.pop("name")
    if name not in DETECTORS:
        raise ValueError(f"model.name must be one of {sorted(DETECTORS)}, got {name!r}.")
    return DETECTORS[name](classes=classes, **arguments)


def load(path, classes=None):
    """Loads a detector.

    Args:
        path: a run folder, a `.keras` file, a preset's folder, the name or a file of a released model; or a SavedModel
            or TFLite file of `kerasdet.export`.
        classes: names of other classes: the class head is new but for the rows of classes that stay by name; what
            was loaded, skipped and left out is printed. Exported files keep their classes.

    Returns:
        A `Detector`, or for exported files an `export.load.Exported`, which detects and is scored alike.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a preset is damaged, or an exported file cannot have other classes.
    """
    if presets.is_preset(path):
        return Detector.from_preset(path, classes)
    file = pathlib.Path(path)
    file = file / "model.keras" if file.is_dir() else file
    if not (file.name == "model.keras" and file.is_file()) and exported.is_exported(path):
        if classes is not None:
            raise ValueError(f"{path}: an exported file keeps its classes; load the model that it was exported from.")
        return exported.load(path)
    if not file.is_file():
        raise FileNotFoundError(
            f"{file}: no model there; give a run folder, a .keras file, a preset, the name of a released model, "
            "a SavedModel or a .tflite file."
        )
    model = keras.saving.load_model(file)
    return model if classes is None else copy.for_classes(model, classes, path)
