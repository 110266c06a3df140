"""What YOLOv1, v2, v3 and imported cfgs share: a list of layers, heads on it, and what becomes of their outputs."""

import numpy as np
import tensorflow as tf

from kerasdet import anchors, boxes, clusters
from kerasdet import images as image
from kerasdet.backbones import cfg, cfg_layers, darknet_file
from kerasdet.backbones.darknet import CfgNetwork, needs
from kerasdet.decoding import candidates, grids, suppress
from kerasdet.detectors.detector import Detector
from kerasdet.layers import Pixels, image_size
from kerasdet.targets import assign
from kerasdet.targets import grids as targets

# Whatever the overlap, the best anchor learns an object; one with less than this of its shape learns it badly.
SHAPE = 0.5


class YOLO(Detector):
    """A list of darknet's layers as a detector; a paper's class makes the list, and its head learns and decodes.

    A head is made of the values of its section and has `terms(raw, objects, images, seen)`, the loss of each image by
    the names of `YOLO.terms`, `decode(raw, size)`, boxes [B, N, 4] in pixels and scores [B, N, K], and `sure(raw)`,
    their objectness [B, N].

    Args:
        classes: names of the classes, or their number.
        sections: list of `cfg.Section` without the `net`.
        cut: number of the first layer of the head; those before are the backbone.
        norm: kind of `layers.norm` where the list has batch norm.
        above: least score of a detection.
        suppression: IoU above which the weaker of two boxes of a class is dropped.
        across_classes: whether a box drops weaker ones of all classes, ranked by objectness.
        candidates: (box, class) pairs of a picture that suppression sees; darknet takes all.
        limit: detections per image.
        clip: whether detections end at the picture's border; darknet clips them only where it draws.
        version: of darknet's files of weights, see `weights.darknet`; the releases wrote 0.1.0 before YOLOv3.
        seen: number of images that the weights have learned from.
        backbone_weights: None, or the path of a `.weights` file of darknet that holds the first layers, such as
            `darknet53.conv.74`; loaded when the model is first made.
        resize, multiple: of `Detector`.
        kwargs: of `Detector`.
    """

    terms = ("box", "objectness", "background", "class")
    # The class of each kind of head.
    heads = {}
    # Whether `anchors` are measured in cells instead of pixels.
    in_cells = False
    # Whether it has the text of its cfg.
    keeps_cfg = False

    def __init__(
        self, classes, sections, cut, norm="batch", above=0.005, suppression=0.45, across_classes=False,
        candidates=1000, limit=100, clip=True, version=(0, 2, 0), seen=0, backbone_weights=None,
        resize=("darknet_letterbox", 416, 416), multiple=32, **kwargs,
    ):  # fmt: skip
        self.fixed = any(one.kind in ("local", "connected") for one in sections)
        super().__init__(classes, resize=resize, multiple=multiple, **kwargs)
        sides = resize[1:] if resize[0] in image.ONE_SIZE else (13 * multiple, 13 * multiple)
        height, width = (-(-side // multiple) * multiple for side in sides)
        if norm is None:
            sections = [one._replace(values={**one.values, **_plain(one)}) for one in sections]
        self.sections = [cfg.section("net", height=height, width=width), *sections]
        placed = cfg_layers.layers(self.sections)
        ends = [i for i, layer in enumerate(placed) if layer.kind in cfg.HEADS]
        if not ends:
            raise ValueError(f"{type(self).__name__}: the cfg has no head, one of {cfg.HEADS}.")
        self.tops = [self.heads[placed[i].kind](placed[i].values) for i in ends]
        self.pixels = Pixels("unit", outside=127.5)
        # The backbone first: a file of weights holds the layers in the order in which the model does.
        self.backbone = CfgNetwork(placed, needs(placed, cut), end=cut, norm=norm)
        self.head = CfgNetwork(placed, ends, start=cut, norm=norm)
        # Rows of classes with equal names can be kept where a map holds all of an anchor's outputs together.
        self.class_heads = tuple(f"head/blocks/{i - 1 - cut}" for i in ends if placed[i].kind != "detection")
        self.strides = [height // placed[i].shape[0] for i in ends]
        if all(placed[i].kind != "detection" for i in ends):
            cells = [np.float32([stride, stride]) for stride in self.strides]
            shapes = [top.shapes(cell) for top, cell in zip(self.tops, cells, strict=True)]
            self.anchors, self.positive_iou = anchors.Anchors(shapes, self.strides), SHAPE
        self.above, self.suppression, self.across_classes = above, suppression, across_classes
        self.candidates, self.limit = candidates, limit
        self.clip, self.version, self.seen_before = clip, version, seen
        if backbone_weights:
            self.network(self.example())
            blocks = [*self.backbone.blocks, *self.head.blocks]
            darknet_file.load_first(blocks, backbone_weights)

    @property
    def class_outputs(self):
        return ("box x", "box y", "box w", "box h", "objectness of", *self.classes)

    def network(self, images, training=False):
        kept = self.backbone([self.pixels(images)], training=training)
        maps = self.head(kept, training=training)
        return {"maps": [tf.cast(raw, tf.float32) for raw in maps]}

    def match(self, objects, images):
        """As the loss assigns; an anchor that learns lies on its object's center, because only its shape counts."""
        if self.anchors is None:
            return None
        size = image_size(images)
        grid, owned = self.anchors(size), []
        for top, cells, count in zip(self.tops, self.anchors.grids(size), self.anchors.counts(size), strict=True):
            owned.append(targets.owners(top.slots(objects, cells, size)[0], count))
        match = assign.match_from_indices(tf.concat(owned, axis=1), grid, objects)
        placed = boxes.to_cxcywh(match.boxes)[..., :2]
        grid = tf.concat([placed, tf.broadcast_to(boxes.to_cxcywh(grid)[..., 2:], tf.shape(placed))], axis=-1)
        grid = boxes.from_cxcywh(grid)
        return grid, match.without(assign.hidden(grid, objects, images["windows"]))

    def fitted(self, boxes, sizes):
        at_hand = self.arguments.get("anchors")
        unit = self.strides[0] if self.in_cells else 1
        better = None if at_hand is None else clusters.fit_shapes(boxes, at_hand, self.positive_iou, unit)
        return None if better is None else {"anchors": better}

    def loss_terms(self, outputs, objects, images, training=True):
        """Sums within an image, means over images, as darknet divides its steps by the batch."""
        objects = {**objects, "boxes": boxes.clip(objects["boxes"], images["windows"])}
        real = images["ids"] >= 0
        count = tf.maximum(assign.over_replicas(tf.reduce_sum(tf.cast(real, tf.float32))), 1.0)
        seen = self.seen_by(count) if training else tf.constant(2**31 - 1, tf.int64)
        found = [top.terms(raw, objects, images, seen) for top, raw in zip(self.tops, outputs["maps"], strict=True)]
        return {
            name: tf.add_n([tf.reduce_sum(tf.where(real, terms[name], 0.0)) for terms in found]) / count
            for name in self.terms
        }

    def seen_by(self, count):
        """Images seen up to and with this step, if all had `count` images."""
        return self.seen_before + (self.step() + 1) * tf.cast(count, tf.int64) * self.accumulate

    def images_seen(self):
        """Number of images that the weights have learned from by now."""
        if "batch" not in self.__dict__:
            return self.seen_before
        parts = self.distribute_strategy.experimental_local_results(self.batch[0]["ids"])
        return self.seen_before + int(self.step()) * sum(len(part) for part in parts)

    def compile(self, *args, **kwargs):
        # The optimizer counts its steps from 0.
        self.seen_before = self.images_seen()
        self.__dict__.pop("batch", None)
        super().compile(*args, **kwargs)

    def get_config(self):
        return {**super().get_config(), "seen": self.images_seen()}

    def detections(self, outputs, images):
        size = image_size(images)
        found = [top.decode(raw, size) for top, raw in zip(self.tops, outputs["maps"], strict=True)]
        decoded, scores = (tf.concat(parts, axis=1) for parts in zip(*found, strict=True))
        scores = tf.where((images["ids"] >= 0)[:, None, None], scores, 0.0)
        iou = self.suppression
        if self.across_classes:
            sure = tf.concat([top.sure(raw) for top, raw in zip(self.tops, outputs["maps"], strict=True)], axis=1)
            decoded, scores = grids.across_classes(decoded, sure, scores, iou, self.above, self.candidates)
            iou = 1.0  # no box is dropped any more
        scores, rows, classes = candidates.top(scores, [tf.shape(scores)[1]], self.candidates)
        decoded = tf.gather(decoded, rows, batch_dims=1)
        kept = suppress.per_class(decoded, scores, classes, self.num_classes, iou, self.above, self.limit, self.nms)
        if self.clip:
            real = (kept["classes"] >= 0)[..., None]
            kept["boxes"] = tf.where(real, boxes.clip(kept["boxes"], images["windows"]), 0.0)
        return kept


def _plain(section):
    return {"batch_normalize": 0} if "batch_normalize" in section.values else {}
