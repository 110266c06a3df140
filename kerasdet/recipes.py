"""What trains on a folder of one's own photos: the config that a detector ships for it, and the best start at hand."""

import importlib
import os
import pathlib

import kerasdet.configs
from kerasdet import backbones
from kerasdet.weights import imagenet, presets, released

NONE = "none"


def names():
    """Names of the detectors that have a recipe, the folders of configs with an own_data.py."""
    return sorted(p.parent.name for home in kerasdet.configs.__path__ for p in pathlib.Path(home).glob("*/own_data.py"))


def config(given=None, folder=None, model="retinanet", size=None, weights=None):
    """The config of a training: a given one, or what a detector ships for a folder of photos.

    Args:
        given: a `ConfigDict`, or None.
        folder: of photos, put into the config's `data.folder`; like `weights`, it asks for the best start at hand.
        model: one of `names`, where no config is given.
        size: shorter side of what the network sees, pixels; None for the recipe's own.
        weights: of `start`.

    Returns:
        A `ConfigDict`.

    Raises:
        ValueError: neither is given, or the model is unknown.
    """
    if folder is None and given is None:
        raise ValueError("give a folder of photos or a --config.")
    if given is None:
        _check(model)
        get_config = importlib.import_module(f"kerasdet.configs.{model}.own_data").get_config
        given = get_config(size) if size else get_config()
    if folder is not None:
        given.data.folder = folder
    if folder is not None or weights is not None:
        start(given, weights)
    return given


def file(model, size=None):
    """The recipe of a model as `--config` takes it: the path of its file, and the size behind a colon.

    Args:
        model, size: as in `config`.

    Raises:
        ValueError: the model is unknown.
    """
    _check(model)
    path = importlib.import_module(f"kerasdet.configs.{model}.own_data").__file__
    return f"{path}:{size}" if size else path


def _check(model):
    if model not in names():
        raise ValueError(f"model must be one of {names()}, got {model!r}.")


def start(config, weights=None):
    """Chooses what a training starts from, in place, and says so.

    Args:
        config: a `ConfigDict`, whose `train.init_from` may name a released model.
        weights: a preset or a released file for the whole detector, a weights file for its backbone, "none", or None
            for what the config names. Released and ImageNet weights come from Keras' cache or, with a network, from
            their servers. Without weights the norms train, since their statistics are unknown.
    """
    model, whole = config.model, config.train.get("init_from")
    if weights is not None:
        whole = weights if presets.is_preset(weights) and not _is_classifier(weights) else None
    if whole is not None and _fetched(whole):
        config.train.init_from = whole
        print(f"the detector starts from {whole}")
        return
    if "init_from" in config.train:
        del config.train.init_from
        model.backbone_weights = "imagenet"
    model.backbone_weights = None if weights == NONE else weights or model.get("backbone_weights")
    if model.backbone_weights == "imagenet" and not _at_hand(model.backbone):
        model.backbone_weights = None
    if model.backbone_weights is None:
        model.norm = "batch"
    print(f"the backbone starts from {model.backbone_weights or 'random numbers: ImageNet weights would help a lot'}")


def _is_classifier(weights):
    return os.path.isfile(weights) and imagenet.is_classifier(weights)


def _fetched(preset):
    try:
        if preset in released.RELEASED:
            released.fetch(preset)
    except (ConnectionError, ValueError) as error:
        print(f"{error} Training starts without it.")
        return False
    return True


def _at_hand(backbone):
    try:
        backbones.build(backbone, levels=(5, 5), weights="imagenet")
    except Exception as error:  # Keras raises no narrower one where a download fails
        print(f"no ImageNet weights ({str(error).splitlines()[0]}); give a file by --weights.")
        return False
    return True
