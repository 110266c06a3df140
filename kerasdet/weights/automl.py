"""EfficientDet's release: checkpoints of TensorFlow 1 by name, and the names of its PyTorch port, effdet."""

import re

import numpy as np

from kerasdet.backbones.efficientnet import convolutions
from kerasdet.weights import checkpoints, files, object_detection
from kerasdet.weights import tensors as named
from kerasdet.weights.plain import PlainDetector

# Side of the network's image, pixels, and scale of the anchors of each form; a checkpoint holds neither.
PICTURES = {
    "d0": (512, 4.0), "d1": (640, 4.0), "d2": (768, 4.0), "d3": (896, 4.0), "d4": (1024, 4.0), "d5": (1280, 4.0),
    "d6": (1280, 4.0), "d7": (1536, 5.0), "d7x": (1536, 4.0), "lite0": (320, 3.0), "lite1": (384, 3.0),
    "lite2": (448, 3.0), "lite3": (512, 4.0), "lite3x": (640, 3.0), "lite4": (640, 4.0),
}  # fmt: skip


def load(path, form=None, classes=None, averages=True):
    """Reads a released checkpoint.

    Args:
        path: a folder with a checkpoint, the checkpoint's own name without ".index", or a `.h5` file of Keras, which
            holds the averages alone.
        form: a key of `PICTURES`; None for what the folder's name or the tensors say. D7 has the tensors of D6.
        classes: names of the classes; None for COCO's if there are 90, of which the ten that COCO does not use are left
            out.
        averages: whether to take the moving averages of the weights, which the published scores are of.

    Returns:
        A `PlainDetector`, an EfficientDet.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: one line; it is damaged, of something else, or lacks averages.
    """
    tensors = files.read(path) if str(path).endswith(".h5") else checkpoints.read(path, averages)
    arguments, outputs = _arguments(tensors, path, form)
    known, kept = _classes(classes, outputs, path)
    converted = {name: _ours(name, value, outputs, kept) for name, value in _stacked(tensors).items()}

    def in_place(model):
        placed = [(variable, name) for variable, name, _ in variables(model)]
        named.assign(placed, converted, path)

    return PlainDetector("EfficientDet", arguments, known, in_place, str(path))


def load_effdet(model, tensors):
    """Copies the tensors of effdet, in torch's layouts, into an EfficientDet.

    Args:
        model: an `EfficientDet`.
        tensors: dict of name to array.

    Raises:
        ValueError: a tensor is missing, left over or of another shape; the line names it.
    """
    turned = {}
    for name, value in tensors.items():
        if not name.endswith("num_batches_tracked"):
            value = np.transpose(value, (2, 3, 1, 0)) if np.ndim(value) == 4 else value
            turned[name] = object_detection.x_first(value) if name.startswith("box_net.predict.conv_pw") else value
    named.assign([(variable, name) for variable, _, name in variables(model)], turned)


def variables(model):
    """Pairs the variables of an EfficientDet with their names.

    Returns:
        List of (variable, the release's name, effdet's name). The weights of a fusion, scalars in the release, have the
        name of the first.
    """
    return [one for part in (_backbone, _pyramid, _heads) for one in part(model)]


def _conv(conv, automl, effdet, kernel="kernel"):
    yield conv.kernel, f"{automl}/{kernel}", f"{effdet}.weight"
    if conv.biased:
        yield conv.bias, f"{automl}/bias", f"{effdet}.bias"


def _norm(norm, automl, effdet):
    ends = (("gamma", "weight"), ("beta", "bias"), ("moving_mean", "running_mean"), ("moving_variance", "running_var"))
    for own, other in ends:
        yield getattr(norm, own), f"{automl}/{own}", f"{effdet}.{other}"


def _separable(layer, automl, effdet):
    yield from _conv(layer.depthwise, automl, f"{effdet}.conv_dw", "depthwise_kernel")
    yield from _conv(layer.pointwise, automl, f"{effdet}.conv_pw", "pointwise_kernel")


def _backbone(model):
    """In the release equal layers of a block are numbered in their order, in effdet norms are."""
    network = model.backbone
    name = f"efficientnet-{'lite' if network.lite else 'b'}{network.number}"
    first = np.cumsum([0, *map(len, network.stages)])
    for conv, stage, block, role in convolutions(network):
        if role == "stem":
            yield from _conv(conv, f"{name}/stem/conv2d", "backbone.conv_stem")
            yield from _norm(conv.norm, f"{name}/stem/tpu_batch_normalization", "backbone.bn1")
            continue
        expands = network.stages[stage][block].expand is not None
        scope, port = f"{name}/blocks_{first[stage] + block}", f"backbone.blocks.{stage}.{block}"
        # Of each role the release's and effdet's name, and the number of its norm.
        layer, other, number = {
            "expand": ("conv2d", "conv_pw", 0),
            "depthwise": ("depthwise_conv2d", "conv_dw", int(expands)),
            "reduce": ("se/conv2d", "se.conv_reduce", None),
            "excite": ("se/conv2d_1", "se.conv_expand", None),
            "project": ("conv2d_1", "conv_pwl", 2) if expands else ("conv2d", "conv_pw", 1),
        }[role]
        kernel = "depthwise_kernel" if role == "depthwise" else "kernel"
        yield from _conv(conv, f"{scope}/{layer}", f"{port}.{other}", kernel)
        if number is not None:
            norm = "tpu_batch_normalization" + (f"_{number}" if number else "")
            yield from _norm(conv.norm, f"{scope}/{norm}", f"{port}.bn{number + 1}")


def _pyramid(model):
    first = model.pyramid.levels[0]
    count = model.pyramid.levels[1] - first + 1
    if model.pyramid.extra is not None:
        port = f"fpn.resample.{6 - first}.conv"
        yield from _conv(model.pyramid.extra, "resample_p6/conv2d", f"{port}.conv")
        yield from _norm(model.pyramid.extra.norm, "resample_p6/bn", f"{port}.bn")
    for c, cell in enumerate(model.pyramid.cells):
        for n, node in enumerate(cell.nodes):
            scope, port = f"fpn_cells/cell_{c}/fnode{n}", f"fpn.cell.{c}.fnode.{n}"
            if node.fusion != "sum":
                yield node.scale, f"{scope}/WSM", f"{port}.combine.edge_weights"
            for place, (source, conv) in enumerate(zip(node.inputs, node.laterals, strict=True)):
                if conv is not None:
                    own, other = f"{scope}/resample_{place}_{source}_{count + n}", f"{port}.combine.resample.{source}"
                    yield from _conv(conv, f"{own}/conv2d", f"{other}.conv.conv")
                    yield from _norm(conv.norm, f"{own}/bn", f"{other}.conv.bn")
            own, other = f"{scope}/op_after_combine{count + n}", f"{port}.after_combine.conv"
            yield from _separable(node.conv, f"{own}/conv", other)
            yield from _norm(node.conv.pointwise.norm, f"{own}/bn", f"{other}.bn")


def _heads(model):
    for head, kind in ((model.class_head, "class"), (model.box_head, "box")):
        scope, port = f"{kind}_net", f"{kind}_net"
        for i, conv in enumerate(head.tower):
            yield from _separable(conv, f"{scope}/{kind}-{i}", f"{port}.conv_rep.{i}")
        for place, level in enumerate(head.norms):
            for i, norm in enumerate(level):
                number = model.pyramid.levels[0] + place
                yield from _norm(norm, f"{scope}/{kind}-{i}-bn-{number}", f"{port}.bn_rep.{i}.{place}.bn")
        yield from _separable(head.predictor, f"{scope}/{kind}-predict", f"{port}.predict")


def _stacked(tensors):
    """The tensors, with the scalars WSM, WSM_1 and WSM_2 of a node as one."""
    found, scalars = {}, {}
    for name in sorted(tensors):
        node, _, number = name.partition("/WSM")
        if "/WSM" in name:
            scalars.setdefault(f"{node}/WSM", []).append(np.reshape(tensors[name], [1]))
        else:
            found[name] = tensors[name]
    return {**found, **{name: np.concatenate(parts) for name, parts in scalars.items()}}


def _ours(name, value, outputs, kept):
    """A tensor of the release in our layout."""
    if name.endswith("depthwise_kernel"):
        return np.transpose(value, (0, 1, 3, 2))
    if name.startswith("box_net/box-predict/"):
        return object_detection.x_first(value)
    if name.startswith("class_net/class-predict/"):
        value = value.reshape(*value.shape[:-1], -1, outputs)[..., kept]
        return value.reshape(*value.shape[:-2], -1)
    return value


def _arguments(tensors, path, form):
    """What the shapes and names of the tensors say of the detector, and the outputs of its class head for an anchor."""

    def numbers(pattern):
        found = [re.fullmatch(pattern, name) for name in tensors]
        return sorted({match[1] for match in found if match}, key=lambda text: (len(text), text))

    backbones = numbers(r"efficientnet-(\w+)/stem/conv2d/kernel")
    needed = ("box_net/box-predict/bias", "class_net/class-predict/bias", "box_net/box-predict/pointwise_kernel")
    lacking = [name for name in needed if name not in tensors]
    if not backbones or lacking:
        what = lacking[0] if lacking else "efficientnet-…/stem/conv2d/kernel"
        raise ValueError(f"{path}: no checkpoint of EfficientDet's release: no tensor '{what}'.")
    levels = [int(one) for one in numbers(r"class_net/class-0-bn-(\d+)/gamma")]
    width = int(tensors["box_net/box-predict/pointwise_kernel"].shape[2])
    form = form or form_of(backbones[0], width, path)
    if form not in PICTURES:
        raise ValueError(f"form must be one of {tuple(PICTURES)}, got {form!r}.")
    side, scale = PICTURES[form]
    lite = backbones[0].startswith("lite")
    arguments = {
        "backbone": f"efficientnet_{backbones[0]}",
        "levels": (levels[0], levels[-1]) if levels else (3, 7),
        "width": width,
        "cells": len(numbers(r"fpn_cells/cell_(\d+)/.*")),
        "depth": len(numbers(r"class_net/class-(\d+)/bias")),
        "fusion": "fast" if any("/WSM" in name for name in tensors) else "sum",
        "scale": scale,
        "resize": ("corner", side, side),
        **({"activation": "relu6", "nms": "hard"} if lite else {}),
    }
    anchors = len(tensors["box_net/box-predict/bias"]) // 4
    return arguments, len(tensors["class_net/class-predict/bias"]) // anchors


def form_of(backbone, width, path):
    """The form by the name of the file or folder, or by its backbone and width."""
    said = re.search(r"efficientdet[-_](d7x|d\d|lite3x|lite\d)", str(path))
    if said:
        return said[1]
    if backbone.startswith("lite"):
        return "lite3x" if (backbone, width) == ("lite3", 200) else backbone
    return {"b7": "d7x"}.get(backbone, f"d{backbone[1:]}")


def _classes(classes, outputs, path):
    """Names of the classes, and their rows among the outputs of an anchor."""
    if classes is not None:
        if len(classes) != outputs:
            raise ValueError(f"{path}: {outputs} classes, but {len(classes)} names are given.")
        return list(classes), list(range(outputs))
    if outputs == len(object_detection.COCO):
        kept = [i for i, name in enumerate(object_detection.COCO) if name]
        return [object_detection.COCO[i] for i in kept], kept
    return [f"class {i}" for i in range(outputs)], list(range(outputs))
