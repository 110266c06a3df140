"""The layers of a cfg in their places: the maps that each reads and gives, its weights, and its operations.

Nothing is allocated here: a cfg that asks for too much is refused before a model is made of it.
"""

import math
from typing import NamedTuple

from kerasdet.backbones.cfg import HEADS

# A cfg is wrong beyond these: the largest network of the YOLO line has 270 million weights.
MAX_CHANNELS = 2**16
MAX_WEIGHTS = 2**30
MAX_MAP = 2**28


class Layer(NamedTuple):
    """A layer in its place.

    kind, values, line: of its `Section`; a maxpool's `size` and `padding`, a convolution's `padding` and a shortcut's
        `ratio` of the two maps' sides are filled in.
    inputs: numbers of the layers that it reads, -1 for the picture.
    before, shape: (height, width, channels) of what it reads first, and of what it gives.
    """

    kind: str
    values: dict
    line: int
    inputs: tuple
    before: tuple
    shape: tuple


class _Fault(ValueError):
    """What is wrong in a section; the message gets the file and line."""


def layers(sections, name="cfg"):
    """Puts the layers in their places.

    Args:
        sections: list of `Section`, the first being `net`, whose size the shapes are of.
        name: of the file, for messages.

    Returns:
        List of `Layer`.

    Raises:
        ValueError: one line; a layer reads what there is not, maps do not fit, or the network is beyond all bounds.
    """
    net, *rest = sections
    size = tuple(net.values[key] for key in ("height", "width", "channels"))
    if not all(0 < side <= MAX_CHANNELS for side in size) or size[2] != 3:
        raise ValueError(
            f"{name}, line {net.line}: [net] needs a height and a width above 0 and 3 channels, got {size}."
        )
    placed, total = [], 0
    for number, one in enumerate(rest):
        try:
            layer = _placed(one, number, placed, size)
            _check(layer)
        except _Fault as fault:
            raise ValueError(f"{name}, line {one.line}: layer {number}, [{one.kind}]: {fault}") from None
        total += weight_count(layer)
        if total > MAX_WEIGHTS:
            raise ValueError(f"{name}, line {one.line}: layer {number}, [{one.kind}]: over {MAX_WEIGHTS} weights.")
        placed.append(layer)
    return placed


def _placed(one, number, placed, size):
    values = dict(one.values)
    inputs = _inputs(one, number)
    before = size if inputs[0] < 0 else placed[inputs[0]].shape
    height, width, channels = before
    _bounded(values)
    if one.kind == "convolutional":
        values["padding"] = values["size"] // 2 if values["pad"] else values["padding"]
        if channels % values["groups"] or values["filters"] % values["groups"]:
            raise _Fault(f"groups={values['groups']} do not divide {channels} and {values['filters']} channels.")
        shape = (*_slid(before, values, 2 * values["padding"]), values["filters"])
    elif one.kind == "maxpool":
        values["size"] = values["stride"] if values["size"] < 0 else values["size"]
        values["padding"] = values["size"] - 1 if values["padding"] < 0 else values["padding"]
        shape = (*_slid(before, values, values["padding"]), channels)
    elif one.kind == "local":
        shape = (*_slid(before, values, values["size"] - 1 if values["pad"] else 0), values["filters"])
    elif one.kind == "connected":
        shape = (1, 1, values["output"])
    elif one.kind == "avgpool":
        shape = (1, 1, channels)
    elif one.kind == "route":
        parts = [placed[i].shape for i in inputs]
        if len({part[:2] for part in parts}) > 1:
            raise _Fault(f"it joins maps of different sizes: {', '.join(map(str, parts))}.")
        if any(part[2] % values["groups"] for part in parts) or not 0 <= values["group_id"] < values["groups"]:
            raise _Fault(f"group_id={values['group_id']} of groups={values['groups']} is no part of the channels.")
        shape = (height, width, sum(part[2] for part in parts) // values["groups"])
    elif one.kind == "upsample":
        shape = (height * values["stride"], width * values["stride"], channels)
    elif one.kind in ("reorg", "reorg3d"):
        shape = _reorganized(before, values)
    else:
        shape = before
    if one.kind == "shortcut":
        values["ratio"] = _ratio(before, placed[inputs[1]].shape)
    return Layer(one.kind, values, one.line, inputs, before, shape)


def _bounded(values):
    for key in ("filters", "output", "size", "stride", "groups", "classes", "num", "side"):
        least = -1 if key == "size" else 1
        if key in values and not least <= values[key] <= MAX_CHANNELS:
            raise _Fault(f"{key} must be {max(least, 1)} to {MAX_CHANNELS}, got {values[key]}.")
    if not 0 <= values.get("probability", 0) < 1 or not -1 <= values.get("padding", 0) <= MAX_CHANNELS:
        raise _Fault("its probability or padding makes no sense.")


def _inputs(one, number):
    """Numbers of the layers that a layer reads."""
    if one.kind not in ("route", "shortcut"):
        return (number - 1,)
    key = "layers" if one.kind == "route" else "from"
    named = [i if i >= 0 else number + i for i in one.values[key]]
    if not named or any(not (isinstance(i, int) and 0 <= i < number) for i in named):
        raise _Fault(f"{key} must name layers before it, got {list(one.values[key])[:8]}.")
    if one.kind == "shortcut" and len(named) > 1:
        raise _Fault("it adds several layers, which is not known here.")
    return tuple(named) if one.kind == "route" else (number - 1, *named)


def _slid(before, values, padding):
    return tuple((side + padding - values["size"]) // values["stride"] + 1 for side in before[:2])


def _reorganized(before, values):
    height, width, channels = before
    stride = values["stride"]
    if values.get("reverse"):
        if channels % stride**2:
            raise _Fault(f"{channels} channels have no {stride} x {stride} blocks.")
        return height * stride, width * stride, channels // stride**2
    if height % stride or width % stride or channels % stride**2:
        raise _Fault(f"stride {stride} does not divide a map of {before}.")
    return height // stride, width // stride, channels * stride**2


def _ratio(shape, other):
    """Sides of a map over those of another that is added to it."""
    for a, b in ((shape, other), (other, shape)):
        if a[0] * b[1] == a[1] * b[0] and a[0] % b[0] == 0:
            return shape[0] / other[0]
    raise _Fault(f"it adds maps of {shape} and {other}, of which none is a multiple of the other.")


def _check(layer):
    height, width, channels = layer.shape
    if min(layer.shape) < 1:
        raise _Fault(f"a map of {layer.before} leaves nothing: {layer.shape}.")
    if channels > MAX_CHANNELS or height * width * channels > MAX_MAP:
        raise _Fault(f"a map of {layer.shape} is beyond all bounds.")
    if layer.kind in HEADS:
        _check_head(layer)


def _check_head(layer):
    values = layer.values
    classes = values["classes"]
    if layer.kind == "detection":
        if values["softmax"]:
            raise _Fault("softmax=1 is not known here; no released cfg has it.")
        needed = values["side"] ** 2 * (5 * values["num"] + classes)
        if values["coords"] != 4 or layer.before[:2] != (1, 1) or layer.before[2] != needed:
            raise _Fault(f"it needs coords=4 and {needed} outputs of a [connected] before it, got {layer.before}.")
        return
    if values.get("coords", 4) != 4:
        raise _Fault("coords must be 4.")
    anchors = values["anchors"]
    if len(anchors) != 2 * values["num"] or not all(side > 0 for side in anchors):
        raise _Fault(f"num={values['num']} needs {2 * values['num']} anchors' sides above 0, got {len(anchors)}.")
    mask = values.get("mask") or tuple(range(values["num"]))
    if any(not (isinstance(i, int) and 0 <= i < values["num"]) for i in mask):
        raise _Fault(f"mask names anchors that there are not: {mask}.")
    if layer.before[2] != len(mask) * (5 + classes):
        raise _Fault(
            f"{len(mask)} anchors and {classes} classes need {len(mask) * (5 + classes)} filters before it, "
            f"got {layer.before[2]}."
        )


def weight_shapes(layer):
    """What a `.weights` file holds of a layer, in its order: dict of name to shape.

    Kernels are (out, in, height, width); those of a connected layer (out, in), of a local one (places, out, in, height,
    width).
    """
    values, (height, width, channels), (rows, columns, filters) = layer.values, layer.before, layer.shape
    if layer.kind == "convolutional":
        norm = ("beta", "gamma", "moving_mean", "moving_variance") if values["batch_normalize"] else ("bias",)
        kernel = (filters, channels // values["groups"], values["size"], values["size"])
        return {**dict.fromkeys(norm, (filters,)), "kernel": kernel}
    if layer.kind == "connected":
        kernel, n = (filters, height * width * channels), (filters,)
        if values["batch_normalize"]:
            return {"beta": n, "kernel": kernel, **dict.fromkeys(("gamma", "moving_mean", "moving_variance"), n)}
        return {"bias": n, "kernel": kernel}
    if layer.kind == "local":
        size = values["size"]
        return {"bias": (filters, rows, columns), "kernel": (rows * columns, filters, channels, size, size)}
    return {}


def weight_count(layer):
    """How many numbers a `.weights` file holds of a layer."""
    return sum(math.prod(shape) for shape in weight_shapes(layer).values())


def operations(placed):
    """Multiplications and additions of one picture as darknet counts them: of kernels alone.

    Args:
        placed: list of `Layer`.

    Returns:
        int.
    """
    total = 0
    for layer in placed:
        kernel = weight_shapes(layer).get("kernel")
        if kernel is not None:
            places = 1 if layer.kind == "local" else layer.shape[0] * layer.shape[1]
            total += 2 * math.prod(kernel) * places
    return total
