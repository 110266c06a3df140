"""Darknet's cfg files: their text, read and written, and their sections made in Python."""

import math
import re
from typing import NamedTuple

# The largest network of the YOLO line has 110.
MAX_LAYERS = 1000

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
