"""YOLOv1: one network that says, for every cell of a grid, a class and a few boxes with their confidence."""

import keras
import numpy as np
import tensorflow as tf

from kerasdet import boxes as box
from kerasdet.backbones import cfg
from kerasdet.backbones.darknet import NETWORKS
from kerasdet.detectors import settings
from kerasdet.detectors.yolo import YOLO
from kerasdet.layers import image_size
from kerasdet.targets import grids as targets

# Arguments of the release's network: batch norm, a local layer in the place of the first fully connected one, three
# boxes a cell, and a confidence that learns the IoU.
RELEASE = {"norm": "batch", "hidden": ("local", 256), "boxes": 3, "rescore": True}

# The release skips objects with a side below this part of the image's.
LEAST = 0.005


class DetectionHead:
    """What the last layer's numbers say, and what they learn (section 2).

    Of a picture they are, in darknet's order, the classes of all cells, then the confidences, then the boxes: x and y
    in the cell, and the square roots of the sides in parts of the image.

    Args:
        values: of the section `detection`.
    """

    def __init__(self, values):
        self.values = values
        self.side, self.num, self.classes = values["side"], values["num"], values["classes"]

    def parts(self, raw):
        """Of [B, 1, 1, N] the classes [B, S, K], confidences [B, S, boxes] and boxes [B, S, boxes, 4], S cells."""
        cells = self.side**2
        flat = tf.reshape(raw, [tf.shape(raw)[0], raw.shape[3]])
        classes, sure, said = tf.split(flat, [cells * self.classes, cells * self.num, cells * self.num * 4], axis=1)
        return (
            tf.reshape(classes, [-1, cells, self.classes]),
            tf.reshape(sure, [-1, cells, self.num]),
            tf.reshape(said, [-1, cells, self.num, 4]),
        )

    def start(self):
        """Biases [N] that say likely things: all classes alike, boxes of a quarter of the image amid their cells."""
        cells = self.side**2
        parts = cells * self.classes * [1 / self.classes], cells * self.num * [0.1], cells * self.num * 4 * [0.5]
        return np.float32(np.concatenate(parts))

    def boxes(self, said, size):
        """Boxes [B, S, boxes, 4] in pixels."""
        grid = (self.side, self.side)
        image = tf.cast(tf.stack([size[1], size[0]]), tf.float32)
        corners = targets.centers(grid, size) / image - 0.5 / self.side
        sides = tf.square(said[..., 2:]) if self.values["sqrt"] else said[..., 2:]
        center = corners[:, None] + said[..., :2] / self.side
        return tf.concat([center - sides / 2, center + sides / 2], axis=-1) * tf.tile(image, [2])

    def decode(self, raw, size):
        classes, sure, said = self.parts(raw)
        # Outputs are linear, so scores may lie a little outside of 0...1 (equation 1).
        scores = tf.reshape(sure[..., None] * classes[:, :, None], [tf.shape(raw)[0], -1, self.classes])
        return tf.reshape(self.boxes(said, size), [tf.shape(raw)[0], -1, 4]), scores

    def sure(self, raw):
        return tf.reshape(self.parts(raw)[1], [tf.shape(raw)[0], -1])

    def terms(self, raw, objects, images, seen):
        """Equation 3, halved as in the release: a cell learns one object, by the box that overlaps it most."""
        values, size, grid = self.values, image_size(images), (self.side, self.side)
        classes, sure, said = self.parts(raw)
        image = tf.cast(tf.stack([size[1], size[0]]), tf.float32)
        rows, columns, offsets = targets.cells(objects["boxes"], grid, size)
        sides = (objects["boxes"][..., 2:] - objects["boxes"][..., :2]) / image
        chosen = targets.real(objects) & tf.reduce_all(sides >= LEAST, axis=-1)
        slots = tf.where(chosen, rows * self.side + columns, -1)
        owned = targets.owners(slots, self.side**2, first=True)
        positive = owned >= 0

        own = targets.of_slots(objects["boxes"], owned)[:, :, None]
        predicted = tf.stop_gradient(self.boxes(said, size))
        overlap = box.matched_iou(predicted, own)
        distance = tf.reduce_sum(tf.square((box.to_cxcywh(predicted) - box.to_cxcywh(own)) / tf.tile(image, [2])), -1)
        # Of boxes that do not touch the object, the one that is nearest.
        touches = tf.reduce_max(overlap, axis=-1, keepdims=True) > 0
        best = tf.argmax(tf.where(touches, overlap, -distance), axis=-1)
        responsible = tf.one_hot(best, self.num) * tf.cast(positive, tf.float32)[..., None]

        wanted = tf.concat([offsets, tf.sqrt(tf.maximum(sides, 0.0)) if values["sqrt"] else sides], axis=-1)
        wanted = targets.of_slots(wanted, owned)[:, :, None]
        square = tf.reduce_sum(tf.square(wanted - said), axis=-1)
        aim = overlap if values["rescore"] else 1.0
        kinds = tf.one_hot(targets.kinds(objects, owned), self.classes)
        free = ~targets.hidden(objects, images, grid, size)
        background = tf.cast(free | positive, tf.float32)[..., None] * (1.0 - responsible)
        wrong = tf.reduce_sum(tf.square(kinds - classes), axis=-1)
        return {
            "box": tf.reduce_sum(responsible * square, axis=[1, 2]) * values["coord_scale"] / 2,
            "objectness": tf.reduce_sum(responsible * tf.square(aim - sure), axis=[1, 2]) * values["object_scale"] / 2,
            "background": tf.reduce_sum(background * tf.square(sure), axis=[1, 2]) * values["noobject_scale"] / 2,
            "class": tf.reduce_sum(tf.where(positive, wrong, 0.0), axis=1) * values["class_scale"] / 2,
        }


@keras.saving.register_keras_serializable("kerasdet")
class YOLOv1(YOLO):
    """YOLOv1 (Redmon et al., CVPR 2016, arXiv:1506.02640); by default the paper's 7x7x30 on 448 x 448.

    `YOLOv1(classes, **RELEASE)` is the network of the release.

    Args:
        classes: names of the classes, or their number.
        network: "full", 24 convolutions (figure 3), or "fast", the release's eight with batch norm.
        norm: kind of `layers.norm`, None for biases as in the paper.
        width: factor of all channels.
        boxes: B of a cell (section 2).
        hidden: the layer before the outputs: ("connected", units) or, with kernels for every place as in the release,
            ("local", channels); None for none, as in the release's fast network.
        dropout: share of its outputs that are dropped in training (section 2.2).
        rescore: whether the confidence learns the IoU, as section 2 defines it, or 1.
        box_scale, background_scale: lambda_coord and lambda_noobj (section 2.2).
        object_scale, class_scale: factors of the other terms.
        above, suppression, version, resize, kwargs: of `YOLO`; a cell has 64 pixels.
    """

    heads = {"detection": DetectionHead}

    def __init__(
        self, classes, network="full", norm=None, width=1.0, boxes=2, hidden=("connected", 4096), dropout=0.5,
        rescore=True, box_scale=5.0, background_scale=0.5, object_scale=1.0, class_scale=1.0, above=0.001,
        suppression=0.5, version=(0, 1, 0),
        resize=("darknet_stretch", 448, 448), **kwargs,
    ):  # fmt: skip
        if network not in ("full", "fast"):
            raise ValueError(f"network must be 'full' or 'fast', got {network!r}.")
        if len(resize) != 3 or resize[1] != resize[2] or resize[1] % 64:
            raise ValueError(f"YOLOv1 takes squares whose side is a multiple of 64 pixels, got resize={resize!r}.")
        classes, side = settings.names(classes), resize[1] // 64
        detection = {
            "rescore": int(rescore), "coord_scale": box_scale, "object_scale": object_scale,
            "noobject_scale": background_scale, "class_scale": class_scale,
        }  # fmt: skip
        listed, cut = sections(len(classes), network, width, boxes, hidden, dropout, side, detection)
        super().__init__(
            classes, listed, cut, norm, above=above, suppression=suppression, version=version, resize=resize,
            multiple=64, **kwargs,
        )  # fmt: skip
        self.head.blocks[-2].initial_bias = self.tops[0].start()
        # The last layer's outputs are the classes of all cells, and then the boxes of all (section 2).
        self.class_heads, self.class_rest = (f"head/blocks/{len(self.head.blocks) - 2}",), side**2 * boxes * 5

    @property
    def class_outputs(self):
        """See `Detector`."""
        return self.classes

    @classmethod
    def tiny(cls):
        """Arguments of a small instance for tests."""
        network = {"network": "fast", "norm": "batch", "width": 1 / 16, "hidden": ("local", 32), "dropout": 0.0}
        return {"classes": ["square", "disc"], **network, "resize": ("darknet_stretch", 128, 128)}


def sections(
    classes, network="full", width=1.0, boxes=2, hidden=("connected", 4096), dropout=0.5, side=7, detection=()
):
    """The network as a list of `cfg.Section`, and the length of its backbone.

    Args:
        classes: number of classes.
        network, width, boxes, hidden, dropout: as in `YOLOv1`.
        side: S, cells of a side.
        detection: more values of the head.
    """
    listed = list(NETWORKS["extraction"].sections(width) if network == "full" else _fast(width))
    cut = len(listed)
    if network == "full":  # four new convolutions (section 2.2)
        listed += [cfg.conv(cfg.wide(1024, width), 3, stride) for stride in (1, 2, 1, 1)]
    if hidden is not None:
        kind, channels = hidden
        form = {"filters": channels, "size": 3, "pad": 1} if kind == "local" else {"output": channels}
        listed += [cfg.section(kind, **form, activation="leaky"), cfg.section("dropout", probability=dropout)]
    listed.append(cfg.section("connected", output=side**2 * (5 * boxes + classes), activation="linear"))
    own = {"coords": 4, "num": boxes, "side": side, "sqrt": 1, **dict(detection)}
    return [*listed, cfg.section("detection", classes=classes, **own)], cut


def _fast(width):
    """The release's fast network."""
    for filters in (16, 32, 64, 128, 256, 512):
        yield cfg.conv(cfg.wide(filters, width), 3)
        yield cfg.maxpool()
    for filters in (1024, 256):
        yield cfg.conv(cfg.wide(filters, width), 3)
