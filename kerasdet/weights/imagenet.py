"""ImageNet's classifiers of torchvision, Detectron and Detectron2 as backbones."""

import re

from kerasdet.backbones import VGG, ResNet, Stage
from kerasdet.weights import detectron2, files, torch
from kerasdet.weights import tensors as named

# How the networks of a release see pixels, and where its ResNets stride.
_TORCHVISION = ({"normalization": "torch", "stride_in": "3x3"},)
_DETECTRON = (
    {"normalization": "detectron", "stride_in": "1x1"}, {"normalization": "rcnn", "stride_in": "1x1"},
    {"normalization": "caffe", "stride_in": "1x1"}, {"normalization": "torch", "stride_in": "3x3"},
)  # fmt: skip


def is_classifier(path):
    """Whether a file holds ImageNet's classifier, whose tensors have no place in a detector."""
    return not {"fc.weight", "fc1000_w", "classifier.6.weight", "stem.fc.weight"}.isdisjoint(files.read(path))


def load(backbone, path):
    """Copies a classifier's tensors into a backbone, which may end before the classifier does.

    Args:
        backbone: a built `ResNet`, its last `Stage` or a `VGG` that is not atrous.
        path: of the file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: one line; it is of another network, or the network sees pixels in another way than its release.
    """
    tensors = files.read(path)
    old = "conv1_w" in tensors or "stem.conv1.weight" in tensors
    if old:
        tensors = _of_detectron(tensors)
    try:
        layers = _layers(backbone, tensors)
        _check(backbone, _DETECTRON if old else _TORCHVISION)
        pairs = torch.of_convs(layers)
        known = {name for _, name in pairs}
        found = {name: torch.layout(value) for name, value in tensors.items() if name in known}
        named.assign(pairs, found)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _of_detectron(tensors):
    """Detectron's and Detectron2's tensors by torchvision's names; their networks see BGR."""
    tensors, _ = detectron2.renamed(tensors)
    found = {}
    for name, value in tensors.items():
        name = name if name.startswith("backbone.") else f"backbone.bottom_up.{name}"
        name = detectron2.torchvision_name(name).removeprefix("backbone.body.")
        found[name] = value[:, ::-1] if name == "conv1.weight" else value
    return found


def _layers(backbone, tensors):
    """The layers of a backbone, as `torch.of_convs` takes them."""
    if isinstance(backbone, (ResNet, Stage)):
        name = torch.resnet_name(tensors)
        if not re.match(rf"resne(t|xt){backbone.depth}(_|$)", name):
            raise ValueError(f"it holds a {name}, the backbone is of depth {backbone.depth}.")
        if isinstance(backbone, ResNet):
            return torch.resnet(backbone)
        return torch.blocks(backbone.blocks, f"layer{backbone.number - 1}")
    if isinstance(backbone, VGG) and backbone.fc6 is None:
        return _vgg(backbone)
    raise ValueError(f"weights of this kind fit ResNets and VGGs without atrous fc6, not {type(backbone).__name__}.")


def _check(backbone, releases):
    """A network that sees other pixels or strides elsewhere would run, and be worth nothing."""
    own = {name: getattr(backbone, name) for name in ("normalization", "stride_in") if hasattr(backbone, name)}
    if not any(all(one[name] == value for name, value in own.items()) for one in releases):
        wanted = {name: releases[0][name] for name in own}
        raise ValueError(f"its network needs the backbone's arguments {wanted}, but they are {own}.")


def _vgg(backbone):
    place = 0  # of a convolution among convolutions, ReLUs and pools
    normed = backbone.stages[0][0].norm is not None
    for stage in backbone.stages:
        for conv in stage:
            yield conv, f"features.{place}", f"features.{place + 1}"
            place += 3 if normed else 2
        place += 1
