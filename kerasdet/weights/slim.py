"""SSD on MobileNets of TensorFlow's Object Detection API, by the names of its checkpoints of TensorFlow 1."""

import re

import numpy as np

from kerasdet.layers import DepthwiseConv
from kerasdet.weights import object_detection
from kerasdet.weights import tensors as named

# Of each network the layer that extra layers are named after, the last layer, and its channels at full width.
_NETWORKS = {
    "MobilenetV1": ("Conv2d_13_pointwise", "Conv2d_13_pointwise", 1024),
    "MobilenetV2": ("layer_19", "Conv_1", 1280),
}

# Keras' names of their layers, and the release's.
_LAYERS = (
    (r"conv1", "Conv2d_0"), (r"conv_dw_(\d+)", r"Conv2d_\1_depthwise"), (r"conv_pw_(\d+)", r"Conv2d_\1_pointwise"),
    (r"Conv1", "Conv"), (r"block_(\d+)_(\w+)", r"expanded_conv_\1/\2"), (r"expanded_conv_(\w+)", r"expanded_conv/\1"),
    (r"Conv_1", "Conv_1"),
)  # fmt: skip

_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
_KINDS = ("weights", "depthwise_weights", "biases", *_NORM)

# First parts of names, and whose they are.
_READ = ("FeatureExtractor/MobilenetV1/", "FeatureExtractor/MobilenetV2/")
_OTHERS = {
    "FirstStageFeatureExtractor/": "Faster R-CNN or one of its heirs",
    "WeightSharedConvolutionalBoxPredictor/": "SSD whose maps share a head",
}
_ANY = ("FeatureExtractor/", *_OTHERS)


def is_release(names):
    """Whether names are of a detector of the API, whichever it is."""
    return any(name.startswith(_ANY) for name in names)


def refusal(names):
    """Why a detector of the API is not read; None for one that is."""
    other = next((what for start, what in _OTHERS.items() if any(name.startswith(start) for name in names)), None)
    if other is None and any(name.startswith(_READ) for name in names):
        return None
    other = other or "SSD on another network"
    return f"{other} of TensorFlow's Object Detection API, of which SSD on MobileNetV1 and V2 alone is read"


def arguments(tensors):
    """What names and shapes say: the arguments of `SSD`, and the number of classes.

    The release writes the ratio of a third as 0.3333, which moves no side by more than 0.03 pixels.
    """
    network = _network(tensors)
    scope, (base, last, full) = f"FeatureExtractor/{network}", _NETWORKS[network]
    extra, head = f"{scope}/{base}_2_Conv2d_", "BoxPredictor_0/BoxEncodingPredictor"
    alpha = tensors[f"{scope}/{last}/weights"].shape[-1] / full
    channels = [
        tensors[name].shape[-1] for name in sorted(tensors) if re.fullmatch(rf"{extra}\d_3x3_s2_\d+/weights", name)
    ]
    maps = len(object_detection.FORM["scales"]) - 1
    if len(channels) != maps - 2:
        raise ValueError(f"{len(channels)} extra layers instead of {maps - 2}")
    separable = any(name.startswith(extra) and "_depthwise/" in name for name in tensors)
    if separable and f"{head}_depthwise/depthwise_weights" not in tensors:
        separable = "extras"  # SSD on MobileNetV2, which is no SSDLite
    boxes = len(tensors[f"{head}/biases"]) // 4
    classes = len(tensors["BoxPredictor_0/ClassPredictor/biases"]) // boxes - 1
    return {
        **object_detection.FORM,
        "backbone": {"name": f"mobilenet_v{network[-1]}", "alpha": alpha},
        "extras": tuple((count, 3, 2, "same") for count in channels),
        "extra_norm": "batch",
        "separable": separable,
        "head_size": tensors[f"{head}/weights"].shape[0],
    }, classes


def load(model, tensors):
    """Copies the release's tensors into an SSD.

    Args:
        model: an `SSD` of `arguments`.
        tensors: dict of name to array, with whatever a graph or a checkpoint has beside the weights.

    Raises:
        ValueError: a tensor is missing, left over or of another shape; the line names it.
    """
    pairs = list(_variables(model, _network(tensors)))
    found = {name: value for name, value in tensors.items() if name.rpartition("/")[2] in _KINDS}
    for variable, name in pairs:
        if name in found and name.endswith("depthwise_weights") and variable.shape[2] == 1:
            found[name] = np.swapaxes(found[name], 2, 3)
        elif "/BoxEncodingPredictor/" in name and np.shape(found.get(name)) == tuple(variable.shape):
            found[name] = object_detection.x_first(found[name])
    named.assign(pairs, found)


def _network(tensors):
    return next(name.split("/")[1] for name in tensors if name.startswith(_READ))


def _variables(model, network):
    """Yields the variables of an SSD, each with its name."""
    scope, base = f"FeatureExtractor/{network}", _NETWORKS[network][0]
    for layer in model.backbone.network.layers:
        for variable in layer.weights:
            own = f"{scope}/{_of_keras(layer.name)}"
            yield variable, f"{own}/BatchNorm/{variable.name}" if variable.name in _NORM else _kernel(own)
    for i, (first, *others) in enumerate((extra.convs for extra in model.extras), start=2):
        yield from _conv(first, f"{scope}/{base}_1_Conv2d_{i}_1x1_{first.filters}")
        for conv in others:
            yield from _conv(conv, f"{scope}/{base}_2_Conv2d_{i}_3x3_s2_{others[-1].filters}")
    for head, kind in ((model.class_head, "Class"), (model.box_head, "BoxEncoding")):
        for convs in (head.depthwise, head.predictors):
            for i, conv in enumerate(convs):
                yield from _conv(conv, f"BoxPredictor_{i}/{kind}Predictor")


def _of_keras(name):
    """The release's name of a layer of `keras.applications`, or of the one that its norm follows."""
    name = re.sub(r"^bn_|_(bn|BN)$", "", name)
    pattern, ours = next(rule for rule in _LAYERS if re.fullmatch(rule[0], name))
    return re.sub(pattern, ours, name)


def _conv(conv, scope):
    scope += "_depthwise" if isinstance(conv, DepthwiseConv) else ""
    yield conv.kernel, _kernel(scope)
    if conv.biased:
        yield conv.bias, f"{scope}/biases"
    if conv.norm is not None:
        for name in _NORM:
            yield getattr(conv.norm, name), f"{scope}/BatchNorm/{name}"


def _kernel(scope):
    return f"{scope}/depthwise_weights" if scope.endswith("depthwise") else f"{scope}/weights"
