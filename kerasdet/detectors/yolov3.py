"""YOLOv3: three scales, nine anchors, a logistic classifier for every class."""

import keras
import numpy as np
import tensorflow as tf

from kerasdet import boxes as box
from kerasdet.backbones import cfg
from kerasdet.backbones.darknet import NETWORKS
from kerasdet.decoding import grids as decoding
from kerasdet.detectors import settings
from kerasdet.detectors.yolo import YOLO
from kerasdet.layers import image_size
from kerasdet.targets import grids as targets

# Section 2.3: nine clusters of COCO's boxes, pixels at 416.
ANCHORS = ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326))
MASKS = ((6, 7, 8), (3, 4, 5), (0, 1, 2))

# Arguments of the release's small network; its released weights were trained with these masks.
TINY = {
    "backbone": "darknet_tiny",
    "anchors": ((10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319)),
    "masks": ((3, 4, 5), (1, 2, 3)),
}


class YOLOHead:
    """One scale: what its map says, and what it learns (section 2.1).

    Args:
        values: of the section `yolo`: anchors in pixels of the image, and which of them, `mask`, are of this scale.
    """

    def __init__(self, values):
        self.anchors = np.float32(values["anchors"]).reshape(-1, 2)
        self.mask = list(values["mask"] or range(len(self.anchors)))
        self.ignore, self.scale_x_y = values["ignore_thresh"], values["scale_x_y"]

    def boxes(self, raw, size):
        """Boxes [B, S, 4] in pixels, S = H * W * anchors, of a map [B, H, W, A * (5 + K)]."""
        said = decoding.predictions(raw, len(self.mask))
        # YOLOv4's scale lets a center reach the border of its cell; 1 in YOLOv3.
        centers = tf.sigmoid(said[..., :2]) * self.scale_x_y - (self.scale_x_y - 1) / 2
        return decoding.locations(centers, said[..., 2:4], decoding.grid(raw), size, self.anchors[self.mask])

    def decode(self, raw, size):
        said = decoding.predictions(raw, len(self.mask))
        return self.boxes(raw, size), tf.sigmoid(said[..., 4:5]) * tf.sigmoid(said[..., 5:])

    def sure(self, raw):
        return tf.sigmoid(decoding.predictions(raw, len(self.mask))[..., 4])

    def shapes(self, cell):
        """Widths and heights of the anchors of this scale, pixels."""
        return self.anchors[self.mask]

    def slots(self, objects, grid, size):
        """The slot of each object [B, M], -1 for none, the number of its anchor, and its place in the cell.

        The anchor is the best of all by shape; if it is of another scale, the object is learned there.
        """
        best = targets.best_shape(objects["boxes"], self.anchors)
        places = np.full(len(self.anchors), -1, np.int32)
        places[self.mask] = range(len(self.mask))
        place = tf.gather(places, best)
        rows, columns, offsets = targets.cells(objects["boxes"], grid, size)
        slots = (rows * grid[1] + columns) * len(self.mask) + place
        return tf.where(targets.real(objects) & (place >= 0), slots, -1), best, offsets

    def terms(self, raw, objects, images, seen):
        """Section 2.1: each object has one anchor of one scale; others that overlap it well are ignored."""
        size, grid, anchors = image_size(images), decoding.grid(raw), len(self.mask)
        said, count = decoding.predictions(raw, anchors), grid[0] * grid[1] * anchors
        slots, best, offsets = self.slots(objects, grid, size)
        owned = targets.owners(slots, count)
        positive = owned >= 0

        sides = objects["boxes"][..., 2:] - objects["boxes"][..., :2]
        scales = tf.math.log(tf.maximum(sides, 1e-6) / tf.gather(self.anchors, best))
        area = box.area(objects["boxes"]) / tf.cast(size[0] * size[1], tf.float32)
        # In the release, not in the paper: small boxes weigh up to twice as much.
        weight = tf.where(positive, 2.0 - targets.of_slots(area[..., None], owned)[..., 0], 0.0)
        entropy = tf.nn.sigmoid_cross_entropy_with_logits
        centers = entropy(targets.of_slots(offsets, owned), said[..., :2])
        squares = tf.square(targets.of_slots(scales, owned) - said[..., 2:4]) / 2
        objectness = entropy(tf.cast(positive, tf.float32), said[..., 4])
        classes = targets.all_classes(slots, objects["classes"], count, said.shape[2] - 5)
        ignored = targets.near_objects(self.boxes(raw, size), objects, self.ignore)
        ignored |= targets.hidden(objects, images, grid, size, anchors)

        def summed(losses, where):
            return tf.reduce_sum(tf.where(where, losses, 0.0), axis=1)

        return {
            "box": tf.reduce_sum(tf.reduce_sum(centers + squares, axis=2) * weight, axis=1),
            "objectness": summed(objectness, positive),
            "background": summed(objectness, ~positive & ~ignored),
            "class": summed(tf.reduce_sum(entropy(classes, said[..., 5:]), axis=2), positive),
        }


@keras.saving.register_keras_serializable("kerasdet")
class YOLOv3(YOLO):
    """YOLOv3 (Redmon & Farhadi, arXiv:1804.02767); by default on Darknet-53 at 416 x 416.

    `YOLOv3(classes, **TINY)` is its small form, `YOLOv3(classes, spp=(5, 9, 13))` the one with spatial pyramid pooling.

    Args:
        classes: names of the classes, or their number.
        backbone: "darknet53" or "darknet_tiny" (section 2.4).
        norm: of all convolutions but the outputs, see `layers.norm`.
        width: factor of all channels.
        anchors: (width, height) of all scales, pixels (section 2.3).
        masks: for every scale, the coarsest first, the numbers of its anchors.
        spp: sizes of the max pools whose outputs are joined before the first head; in the release's SPP form 5, 9, 13.
        ignore: IoU with an object above which a prediction is no background: 0.5 in the paper, 0.7 in the release.
        kwargs: of `YOLO`.
    """

    heads = {"yolo": YOLOHead}

    def __init__(
        self, classes, backbone="darknet53", norm="batch", width=1.0, anchors=ANCHORS,
        masks=MASKS, spp=(), ignore=0.7, **kwargs,
    ):  # fmt: skip
        if backbone not in ("darknet53", "darknet_tiny"):
            raise ValueError(f"backbone must be 'darknet53' or 'darknet_tiny', got {backbone!r}.")
        classes = settings.names(classes)
        listed = sections(len(classes), backbone, width, anchors, masks, spp, ignore)
        super().__init__(classes, listed, NETWORKS[backbone].length, norm, **kwargs)

    @classmethod
    def tiny(cls):
        """Arguments of a small instance for tests."""
        network = {**TINY, "width": 1 / 16, "anchors": ((16, 16), (32, 32), (48, 48), (64, 64))}
        return {"classes": ["square", "disc"], **network, "masks": ((2, 3), (0, 1)), "resize": ("keep",)}


def sections(classes, backbone="darknet53", width=1.0, anchors=ANCHORS, masks=MASKS, spp=(), ignore=0.7):
    """The network as a list of `cfg.Section`, for a number of classes; other arguments as in `YOLOv3`."""
    listed, tiny = list(NETWORKS[backbone].sections(width)), backbone == "darknet_tiny"
    for scale, mask in enumerate(masks):
        if scale:
            # From before the last 3x3 convolution up to the next finer map of the backbone (section 2.3).
            filters, finer = (256 if tiny else 512) // 2**scale, NETWORKS[backbone].ends[5 - scale]
            listed += [cfg.section("route", layers=(-4,)), cfg.conv(cfg.wide(filters, width), 1)]
            listed += [cfg.section("upsample"), cfg.section("route", layers=(-1, finer))]
        listed += _tiny_block(scale, width) if tiny else _block(scale, width, () if scale else spp)
        listed.append(cfg.conv(len(mask) * (5 + classes), 1, norm=False, activation="linear"))
        own = {"num": len(anchors), "anchors": cfg.flat(anchors), "mask": tuple(mask), "ignore_thresh": ignore}
        listed.append(cfg.section("yolo", classes=classes, **own))
    return listed


def _block(scale, width, spp):
    """The convolutions of a scale: 1x1 and 3x3 in turns."""
    filters = cfg.wide(512 // 2**scale, width)
    for i in range(3):
        yield cfg.conv(filters, 1)
        if i == 1 and spp:
            # The pools of the same map, the widest first, and the map itself; then a convolution back to its channels.
            for j, size in enumerate(spp):
                if j:
                    yield cfg.section("route", layers=(-2 * j,))
                yield cfg.maxpool(size, 1)
            yield cfg.section("route", layers=(*range(-1, -2 * len(spp), -2), -2 * len(spp)))
            yield cfg.conv(filters, 1)
        yield cfg.conv(2 * filters, 3)


def _tiny_block(scale, width):
    if not scale:
        yield cfg.conv(cfg.wide(256, width), 1)
    yield cfg.conv(cfg.wide(512 // 2**scale, width), 3)
