"""Darknet's cfg files: a network as a list of layers, each with the maps that it reads and gives, and its weights.

Nothing is allocated here: a cfg that asks for too much is refused before a model is made of it.
"""

import math
import re
from typing import NamedTuple

# A line is wrong beyond these: the largest network of the line has 110 layers and 270 million weights.
MAX_LAYERS = 1000
MAX_CHANNELS = 2**16
MAX_WEIGHTS = 2**30
MAX_MAP = 2**28

HEADS = ("detection", "region", "yolo")

ACTIVATIONS = ("linear", "leaky", "relu", "relu6", "logistic", "swish", "mish")

# What a section holds, with darknet's defaults, which also say the type; `()` is a list.
KEYS = {
    "net": {"height": 0, "width": 0, "channels": 3, "letter_box": -1},
    "convolutional": {
        "filters": 1, "size": 1, "stride": 1, "pad": 0, "padding": 0, "groups": 1, "batch_normalize": 0,
        "activation": "logistic",
    },
    "local": {"filters": 1, "size": 1, "stride": 1, "pad": 0, "activation": "logistic"},
    "connected": {"output": 1, "batch_normalize": 0, "activation": "logistic"},
    "maxpool": {"stride": 1, "size": -1, "padding": -1},
    "avgpool": {},
    "route": {"layers": (), "groups": 1, "group_id": 0},
    "shortcut": {"from": (), "activation": "linear", "alpha": 1.0, "beta": 1.0},
    "upsample": {"stride": 2, "scale": 1.0},
    "reorg": {"stride": 1, "reverse": 0},
    "reorg3d": {"stride": 1},
    "dropout": {"probability": 0.5},
    "detection": {
        "classes": 1, "coords": 1, "num": 1, "side": 7, "sqrt": 0, "softmax": 0, "rescore": 0, "coord_scale": 1.0,
        "object_scale": 1.0, "noobject_scale": 1.0, "class_scale": 1.0, "jitter": 0.2,
    },
    "region": {
        "classes": 20, "coords": 4, "num": 1, "anchors": (), "softmax": 0, "bias_match": 0, "rescore": 0, "thresh": 0.5,
        "coord_scale": 1.0, "object_scale": 1.0, "noobject_scale": 1.0, "class_scale": 1.0, "jitter": 0.2, "random": 0,
    },
    "yolo": {
        "classes": 20, "num": 1, "mask": (), "anchors": (), "scale_x_y": 1.0, "ignore_thresh": 0.5, "truth_thresh": 1.0,
        "jitter": 0.2, "random": 0,
    },
}  # fmt: skip
ALIASES = {"network": "net", "conv": "convolutional", "conn": "connected", "max": "maxpool", "avg": "avgpool"}

# Keys that change what is computed, and the only value of theirs that is known here.
ONLY = {
    "binary": "0", "xnor": "0", "bin_output": "0", "dilation": "1", "antialiasing": "0", "stride_x": None,
    "stride_y": None, "share_index": None, "assisted_excitation": "0", "maxpool_depth": "0", "out_channels": None,
    "new_coords": "0", "tree": None, "map": None, "background": "0", "weights_type": "none", "flatten": "0",
    "extra": "0", "reorg": "0", "coordconv": "0", "deform": "0", "cbn": "0", "sway": "0", "rotate": "0", "stretch": "0",
    "stretch_sway": "0",
}  # fmt: skip
# Keys of training, of drawing and of bookkeeping, which change no output.
IGNORED = set(
    """absolute angle beta_nms bias burnin_update classfix clip cls_normalizer counters_per_class delta_normalizer
    dont_update dontload dontloadscales dot dropblock dropblock_size_abs dropblock_size_rel embedding_layer flipped
    focal_loss forced grad_centr hue exposure saturation ignore_thresh iou_loss iou_normalizer iou_thresh
    iou_thresh_kind jitter keep_delta_score kmeans label_smooth_eps learning_rate log max max_boxes max_delta nms_kind
    numload obj_normalizer objectness_smooth onlyforward random receptive_field reject resize show_details sim_thresh
    stopbackward stream thresh track_history_size train_only_bn truth_thresh use_giou wait_stream
    weights_normalization""".split()
)


class Section(NamedTuple):
    """A section of a cfg: its kind, its values, and the line that it begins at (0 where none was read)."""

    kind: str
    values: dict
    line: int = 0


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


def parse(text, name="cfg"):
    """Reads a cfg.

    As in darknet, blanks mean nothing and the first of two equal keys counts. Comments may also follow a value.

    Args:
        text: of the file.
        name: of the file, for messages.

    Returns:
        List of `Section`, the first being `net`, with every key that `KEYS` knows.

    Raises:
        ValueError: one line that names the line of the file.
    """
    sections, lines = [], {}
    for number, line in enumerate(text.splitlines(), 1):
        line = re.sub(r"\s|[#;].*", "", line)
        if not line:
            continue
        if line.startswith("["):
            kind = ALIASES.get(line.strip("[]"), line.strip("[]"))
            if kind not in KEYS or not line.endswith("]"):
                raise ValueError(f"{name}, line {number}: {line} is no layer that is known here: {', '.join(KEYS)}.")
            if (kind == "net") == bool(sections):
                raise ValueError(f"{name}, line {number}: a cfg begins with one [net], and then has layers.")
            if len(sections) > MAX_LAYERS:
                raise ValueError(f"{name}, line {number}: more than {MAX_LAYERS} layers.")
            sections.append(Section(kind, {}, number))
            continue
        key, equals, value = line.partition("=")
        if not sections or not equals:
            raise ValueError(f"{name}, line {number}: neither a [section] nor key=value: {line[:60]!r}.")
        if key not in sections[-1].values:
            sections[-1].values[key] = value
            lines[len(sections) - 1, key] = number
    if len(sections) < 2:
        raise ValueError(f"{name}: no cfg of darknet, which has a [net] and layers.")
    return [_typed(section, i, lines, name) for i, section in enumerate(sections)]


def _typed(section, place, lines, name):
    """The section with its values as numbers, and darknet's defaults for the others."""
    known, values = KEYS[section.kind], dict(KEYS[section.kind])
    for key, text in section.values.items():
        where = f"{name}, line {lines[place, key]}"
        if key in known:
            try:
                values[key] = _value(text, known[key])
            except (ValueError, OverflowError):
                kind = {int: "a whole number", float: "a number", tuple: "numbers with commas"}[type(known[key])]
                raise ValueError(f"{where}: {key} must be {kind}, got {text[:60]!r}.") from None
        elif section.kind != "net" and key in ONLY:
            if ONLY[key] != text:
                raise ValueError(f"{where}: {key}={text[:60]} of [{section.kind}] is not known here.")
        elif section.kind != "net" and key not in IGNORED:
            raise ValueError(f"{where}: [{section.kind}] has no key {key[:60]!r} that is known here.")
    if values.get("activation", "linear") not in ACTIVATIONS:
        where = f"{name}, line {lines[place, 'activation']}"
        raise ValueError(f"{where}: activation must be one of {ACTIVATIONS}, got {values['activation']!r}.")
    return Section(section.kind, values, section.line)


def _value(text, default):
    if isinstance(default, tuple):
        return tuple(_number(part) for part in text.split(",") if part)
    if isinstance(default, str):
        return text
    number = _number(text)
    if isinstance(default, int) and number != int(number):
        raise ValueError
    return type(default)(number)


def _number(text):
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return int(number) if number == int(number) else number


def section(kind, **values):
    """Makes a section in Python; what is not named has darknet's default."""
    assert set(values) <= set(KEYS[kind]), values
    return Section(kind, {**KEYS[kind], **values})


def conv(filters, size, stride=1, norm=True, activation="leaky"):
    """A convolution as in darknet's own cfgs: padded, with batch norm and the leaky ReLU."""
    return section(
        "convolutional", filters=filters, size=size, stride=stride, pad=1, batch_normalize=int(norm),
        activation=activation,
    )  # fmt: skip


def wide(filters, width):
    """Channels times the factor `width`, at least one."""
    return max(round(filters * width), 1)


def flat(anchors):
    """Pairs (width, height) in one row, as a cfg lists them."""
    return tuple(side for anchor in anchors for side in anchor)


def maxpool(size=2, stride=2):
    """A max pool."""
    return section("maxpool", size=size, stride=stride)


def text(sections):
    """Writes sections as a cfg that `parse` and darknet read.

    Args:
        sections: list of `Section`, the first being `net`.

    Returns:
        str.
    """
    lines = []
    for kind, values, _ in sections:
        lines.append(f"[{kind}]")
        for key, value in values.items():
            if value != KEYS[kind][key] or (kind, key) in (("net", "channels"), ("maxpool", "stride")):
                lines.append(f"{key}={','.join(map(str, value)) if isinstance(value, (tuple, list)) else value}")
        lines.append("")
    return "\n".join(lines)


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


def with_classes(sections, classes):
    """The cfg for another number of classes: its heads, and the layers before them.

    Args:
        sections: list of `Section`.
        classes: K.

    Returns:
        List of `Section`; the same where the number is the same.
    """
    changed = list(sections)
    for i, (kind, values, line) in enumerate(sections):
        if kind in HEADS and values["classes"] != classes:
            changed[i] = Section(kind, {**values, "classes": classes}, line)
            if kind == "detection":
                key, count = "output", values["side"] ** 2 * (5 * values["num"] + classes)
            else:
                key, count = "filters", len(values.get("mask") or range(values["num"])) * (5 + classes)
            before = sections[i - 1]
            if key not in before.values:
                raise ValueError(f"cfg, line {line}: [{kind}] can have other classes only behind a layer with {key}.")
            changed[i - 1] = Section(before.kind, {**before.values, key: count}, before.line)
    return changed
