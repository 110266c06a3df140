"""Darknet's own files, `.cfg` and `.weights`: in as a `PlainDetector`, and out again byte for byte."""

import os

from kerasdet.backbones import cfg as cfgs
from kerasdet.backbones import cfg_layers, darknet_file
from kerasdet.weights import names, object_detection, tensors
from kerasdet.weights.plain import PlainDetector

COCO = [name for name in object_detection.COCO if name]
VOC = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep "
    "sofa train tvmonitor"
).split()

# How the pictures of a cfg are brought to its size.
RESIZE = {"letterbox": "darknet_letterbox", "stretch": "darknet_stretch", "squeeze": "squeeze"}

# A cfg is text of some thousand bytes; a larger file is something else.
_LONGEST = 2**20


def load(cfg, weights, classes=None, resize=None):
    """Reads a network.

    Args:
        cfg: path of the cfg.
        weights: path of its weights.
        classes: names of the classes, or the path of a text file with a name in each line; None for COCO's if there are
            80 and VOC's if there are 20.
        resize: "letterbox" or "stretch", as darknet's programs resize, or "squeeze" for a stretch with antialias, as
            Pillow resizes. None for what the program that wrote the file does:
            pjreddie's takes a letterbox, except for YOLOv1, and AlexeyAB's, which writes version 0.2.5, stretches.

    Returns:
        A `PlainDetector`, a Darknet.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: one line; the cfg has what is not known here, or the file of weights does not fit it.
    """
    text = _text(cfg)
    sections = cfgs.parse(text, str(cfg))
    placed = cfg_layers.layers(sections, str(cfg))
    heads = [layer for layer in placed if layer.kind in cfgs.HEADS]
    if not heads:
        raise ValueError(f"{cfg}: no detector: it has none of the heads {', '.join(cfgs.HEADS)}.")
    if len({layer.values["classes"] for layer in heads}) > 1:
        raise ValueError(f"{cfg}: its heads have different numbers of classes.")
    header, numbers = darknet_file.read(weights)
    darknet_file.check_count(weights, len(numbers), sum(map(cfg_layers.weight_count, placed)))
    net = sections[0].values
    if resize is None:
        stretched = heads[0].kind == "detection" or header.version == (0, 2, 5)
        resize = "stretch" if stretched and net["letter_box"] < 1 else "letterbox"
    if resize not in RESIZE:
        raise ValueError(f"resize must be one of {tuple(RESIZE)}, got {resize!r}.")
    arguments = {
        "cfg": text,
        "resize": (RESIZE[resize], net["height"], net["width"]),
        "version": header.version,
        "seen": header.seen,
    }
    known = _classes(classes, heads[0].values["classes"])
    return PlainDetector("Darknet", arguments, known, in_order(weights), str(weights))


def yolov3_tiny(path):
    """The released YOLOv3-tiny, trained on COCO, from its `.weights` file.

    Its second head has the anchors 1, 2 and 3: with 0, 1 and 2, as in later copies of the cfg, AP50 falls by 0.17.
    """
    header, _ = darknet_file.read(path)
    arguments = {
        "backbone": "darknet_tiny",
        "anchors": ((10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319)),
        "masks": ((3, 4, 5), (1, 2, 3)),
        "version": header.version,
        "seen": header.seen,
    }
    return PlainDetector("YOLOv3", arguments, COCO, in_order(path), str(path))


def in_order(path):
    """A function that copies the tensors of a file of weights, which knows no names, only an order, into a model.

    Args:
        path: of the `.weights` file.
    """

    def fill(model):
        found = darknet_file.taken(names.layers(model), path)[1]
        tensors.assign([(variable, name) for name, variable in names.weights(model).items()], found, path)

    return fill


def write(model, path):
    """Writes a model's cfg and weights as darknet reads them: `path`.cfg and `path`.weights.

    Args:
        model: a detector of the YOLO line.
        path: of both files, without ending.

    Returns:
        Their two paths.

    Raises:
        ValueError: the model is no list of darknet's layers.
    """
    if not hasattr(model, "sections"):
        raise ValueError(f"{type(model).__name__} is no network of darknet's; only the YOLO line is written so.")
    header = darknet_file.Header(tuple(model.version), model.images_seen())
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(f"{path}.cfg", "w", encoding="utf-8") as file:
        file.write(model.arguments.get("cfg") if model.keeps_cfg else cfgs.text(model.sections))
    arrays = (
        darknet_file.to_file(layer, name, variable.numpy(), header.turned)
        for layer in names.layers(model).values()
        if darknet_file.is_weighted(layer)
        for name, variable in darknet_file.variables(layer).items()
    )
    darknet_file.write(f"{path}.weights", header, arrays)
    return f"{path}.cfg", f"{path}.weights"


def _text(path):
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such cfg.")
    if os.path.getsize(path) > _LONGEST:
        raise ValueError(f"{path}: {os.path.getsize(path)} bytes are no cfg of darknet, which has some thousand.")
    with open(path, "rb") as file:
        try:
            return file.read().decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{path}: no cfg of darknet, which is text.") from None


def _classes(classes, count):
    """Names of the classes of a cfg that has `count` of them."""
    if classes is None:
        return {80: COCO, 20: VOC}.get(count) or [f"class {i}" for i in range(count)]
    if isinstance(classes, (str, os.PathLike)):
        if not os.path.isfile(classes):
            raise FileNotFoundError(f"{classes}: no such file of names.")
        with open(classes, encoding="utf-8") as file:
            known = [line.strip() for line in file if line.strip()]
        if len(known) != count:
            raise ValueError(f"{classes}: {len(known)} names, but the cfg has {count} classes.")
        return known
    return list(classes)
