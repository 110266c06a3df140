"""YOLOv2: batch norm, anchors from clusters, direct location in the cell, a pass-through from the finer map."""

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

# Section 2, "dimension clusters": five clusters of VOC's and of COCO's boxes, in cells of 32 pixels.
VOC = ((1.3221, 1.73145), (3.19275, 4.00944), (5.05587, 8.09892), (9.47112, 4.84053), (11.2364, 10.0071))
COCO = ((0.57273, 0.677385), (1.87446, 2.06253), (3.33843, 5.47434), (7.88282, 3.52778), (9.77052, 9.16828))

# Arguments of the release's small networks: no pass-through, one 3x3 convolution before the outputs.
TINY_VOC = {
    "backbone": "darknet_tiny",
    "tail": (1024,),
    "passthrough": 0,
    "anchors": ((1.08, 1.19), (3.42, 4.41), (6.63, 11.38), (9.42, 5.11), (16.62, 10.52)),
}
TINY_COCO = {**TINY_VOC, "tail": (512,), "anchors": COCO}

REORG = {"darknet": "reorg", "tensorflow": "reorg3d"}

# The release: images during which predictions without an object are drawn to their anchors, and how strongly.
EARLY, PULL = 12800, 0.01


class RegionHead:
    """The map's meaning and its loss (section 2, "direct location prediction"; the loss is the release's).

    Args:
        values: of the section `region`: anchors in cells.
    """

    def __init__(self, values):
        self.anchors = np.float32(values["anchors"]).reshape(-1, 2)
        self.values = values

    def sure(self, raw):
        return tf.sigmoid(decoding.predictions(raw, len(self.anchors))[..., 4])

    def shapes(self, cell):
        """Widths and heights of the anchors, pixels, from those of a cell."""
        return self.anchors * cell

    def slots(self, objects, grid, size, predicted=None):
        """The slot of each object [B, M], -1 for none, the number of its anchor, and its place in the cell.

        The anchor is the best by shape; with `predicted` boxes [B, S, 4] the one whose prediction is.
        """
        rows, columns, offsets = targets.cells(objects["boxes"], grid, size)
        first, candidates = (rows * grid[1] + columns) * len(self.anchors), self.shapes(decoding.cell(grid, size))
        if predicted is not None:
            near = tf.gather(predicted, first[..., None] + tf.range(len(self.anchors)), batch_dims=1)
            candidates = near[..., 2:] - near[..., :2]
        best = targets.best_shape(objects["boxes"], candidates)
        return tf.where(targets.real(objects), first + best, -1), best, offsets

    def boxes(self, raw, size):
        """Boxes [B, S, 4] in pixels, S = H * W * A, of a map [B, H, W, A * (5 + K)]."""
        said = decoding.predictions(raw, len(self.anchors))
        centers, grid = tf.sigmoid(said[..., :2]), decoding.grid(raw)
        return decoding.locations(centers, said[..., 2:4], grid, size, self.shapes(decoding.cell(grid, size)))

    def decode(self, raw, size):
        said = decoding.predictions(raw, len(self.anchors))
        classes = tf.nn.softmax(said[..., 5:]) if self.values["softmax"] else tf.sigmoid(said[..., 5:])
        return self.boxes(raw, size), tf.sigmoid(said[..., 4:5]) * classes

    def terms(self, raw, objects, images, seen):
        """Squared errors as in YOLOv1, now of sigmoids; cross-entropy of the classes."""
        values, size, grid, anchors = self.values, image_size(images), decoding.grid(raw), len(self.anchors)
        said, count = decoding.predictions(raw, anchors), grid[0] * grid[1] * anchors
        predicted, shapes = tf.stop_gradient(self.boxes(raw, size)), self.shapes(decoding.cell(grid, size))
        slots, best, offsets = self.slots(objects, grid, size, None if values["bias_match"] else predicted)
        owned = targets.owners(slots, count)
        positive = owned >= 0
        hidden = targets.hidden(objects, images, grid, size, anchors)
        own_boxes = targets.of_slots(objects["boxes"], owned)

        sides = objects["boxes"][..., 2:] - objects["boxes"][..., :2]
        scales = tf.math.log(tf.maximum(sides, 1e-6) / tf.gather(shapes, best))
        area = box.area(own_boxes) / tf.cast(size[0] * size[1], tf.float32)
        wanted = targets.of_slots(tf.concat([offsets, scales], axis=-1), owned)
        located = tf.concat([tf.sigmoid(said[..., :2]), said[..., 2:4]], axis=-1)
        square = tf.reduce_sum(tf.square(wanted - located), axis=-1) / 2
        # In the release, not in the paper: small boxes weigh up to twice as much.
        losses = tf.where(positive, values["coord_scale"] * (2.0 - area) * square, 0.0)
        pulled = tf.reduce_sum(tf.square(located - [0.5, 0.5, 0.0, 0.0]), axis=-1) / 2 * PULL
        losses += tf.where((seen < EARLY) & ~positive & ~hidden, pulled, 0.0)

        sure = tf.sigmoid(said[..., 4])
        aim = box.matched_iou(predicted, own_boxes) if values["rescore"] else 1.0
        ignored = targets.near_objects(predicted, objects, values["thresh"]) | hidden
        if values["softmax"]:
            kinds = tf.maximum(targets.kinds(objects, owned), 0)
            classes = tf.nn.sparse_softmax_cross_entropy_with_logits(kinds, said[..., 5:])
        else:
            kinds = targets.all_classes(slots, objects["classes"], count, said.shape[2] - 5)
            classes = tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(kinds, said[..., 5:]), axis=-1)

        def summed(losses, where, scale):
            return tf.reduce_sum(tf.where(where, losses, 0.0), axis=1) * scale

        return {
            "box": tf.reduce_sum(losses, axis=1),
            "objectness": summed(tf.square(aim - sure) / 2, positive, values["object_scale"]),
            "background": summed(tf.square(sure) / 2, ~positive & ~ignored, values["noobject_scale"]),
            "class": summed(classes, positive, values["class_scale"]),
        }


@keras.saving.register_keras_serializable("kerasdet")
class YOLOv2(YOLO):
    """YOLOv2 (YOLO9000, Redmon & Farhadi, CVPR 2017, arXiv:1612.08242); by default for Pascal VOC at 416 x 416.

    `YOLOv2(classes, anchors=COCO)` is the release's form for COCO; `**TINY_VOC` and `**TINY_COCO` its small ones.

    Args:
        classes: names of the classes, or their number.
        backbone: "darknet19" (section 3) or "darknet_tiny".
        norm: of all convolutions but the outputs, see `layers.norm`.
        width: factor of all channels.
        anchors: (width, height) in cells (section 2, "dimension clusters").
        tail: channels of the 3x3 convolutions behind the backbone.
        passthrough: channels that the finer map is brought to before it is joined (section 2, "fine-grained features";
            the convolution is the release's), 0 for none; a 3x3 convolution of 1024 channels follows.
        reorg: how that map gets the size of the coarser one: "darknet", or "tensorflow" for space-to-depth.
        softmax: whether classes exclude each other.
        rescore: whether the objectness learns the IoU, or 1.
        ignore: IoU with an object above which a prediction is no background.
        object_scale, background_scale, class_scale, box_scale: factors of the loss terms, in the release 5, 1, 1 and 1.
        version, kwargs: of `YOLO`.
    """

    heads = {"region": RegionHead}
    in_cells = True

    def __init__(
        self, classes, backbone="darknet19", norm="batch", width=1.0, anchors=VOC, tail=(1024, 1024), passthrough=64,
        reorg="darknet", softmax=True, rescore=True, ignore=0.6, object_scale=5.0, background_scale=1.0,
        class_scale=1.0, box_scale=1.0, version=(0, 1, 0), **kwargs,
    ):  # fmt: skip
        if backbone not in ("darknet19", "darknet_tiny"):
            raise ValueError(f"backbone must be 'darknet19' or 'darknet_tiny', got {backbone!r}.")
        if reorg not in REORG:
            raise ValueError(f"reorg must be one of {tuple(REORG)}, got {reorg!r}.")
        classes = settings.names(classes)
        region = {
            "softmax": int(softmax), "bias_match": 1, "rescore": int(rescore), "thresh": ignore,
            "object_scale": object_scale, "noobject_scale": background_scale, "class_scale": class_scale,
            "coord_scale": box_scale,
        }  # fmt: skip
        listed = sections(len(classes), backbone, width, anchors, tail, passthrough, reorg, region)
        super().__init__(classes, listed, NETWORKS[backbone].length, norm, version=version, **kwargs)

    @classmethod
    def tiny(cls):
        """Arguments of a small instance for tests."""
        network = {**TINY_VOC, "width": 1 / 32, "tail": (512,), "anchors": ((1.0, 1.0), (2.0, 2.0))}
        return {"classes": ["square", "disc"], **network, "resize": ("keep",)}


def sections(
    classes, backbone="darknet19", width=1.0, anchors=VOC, tail=(1024, 1024), passthrough=64, reorg="darknet", region=()
):
    """The network as a list of `cfg.Section`, for a number of classes; `region` has more values of the head."""
    listed = list(NETWORKS[backbone].sections(width))
    listed += [cfg.conv(cfg.wide(filters, width), 3) for filters in tail]
    if passthrough:
        main, finer = len(listed) - 1, NETWORKS[backbone].ends[4]
        listed += [cfg.section("route", layers=(finer,)), cfg.conv(cfg.wide(passthrough, width), 1)]
        listed += [cfg.section(REORG[reorg], stride=2), cfg.section("route", layers=(-1, main))]
        listed.append(cfg.conv(cfg.wide(1024, width), 3))
    listed.append(cfg.conv(len(anchors) * (5 + classes), 1, norm=False, activation="linear"))
    own = {"num": len(anchors), "anchors": cfg.flat(anchors), **dict(region)}
    return [*listed, cfg.section("region", classes=classes, **own)]
