"""EfficientDet: a pyramid that fuses both ways, and one scale for width, depth and size; and its form for phones."""

import keras
import numpy as np
import tensorflow as tf

from kerasdet import anchors, backbones, boxes, clusters, coders
from kerasdet.decoding import candidates, suppress
from kerasdet.detectors.detector import Detector
from kerasdet.layers import BiFPN, ConvHead, Pixels, bifpn, image_size
from kerasdet.losses import boxes as box_losses
from kerasdet.losses import classes as class_losses
from kerasdet.targets import assign


def _scaled(backbone, side, width, cells, depth, **more):
    """Arguments of one row of the table below."""
    size = {"resize": ("corner", side, side), "width": width, "cells": cells, "depth": depth}
    return {"backbone": backbone, **size, **more}


def _deep(number):
    """A backbone that skips blocks in training: from D1 on, in the release."""
    return {"name": f"efficientnet_b{number}", "survival": 0.8}


_LITE = {"fusion": "sum", "activation": "relu6", "nms": "hard", "scale": 3.0}

# Table 1, with the release's form D7x and its Lite forms: backbone, side of the network's image in pixels, channels and
# cells of the BiFPN, convolutions of the heads.
FORMS = {
    "d0": _scaled("efficientnet_b0", 512, 64, 3, 3),
    "d1": _scaled(_deep(1), 640, 88, 4, 3),
    "d2": _scaled(_deep(2), 768, 112, 5, 3),
    "d3": _scaled(_deep(3), 896, 160, 6, 4),
    "d4": _scaled(_deep(4), 1024, 224, 7, 4),
    "d5": _scaled(_deep(5), 1280, 288, 7, 4),
    "d6": _scaled(_deep(6), 1280, 384, 8, 5, fusion="sum"),
    "d7": _scaled(_deep(6), 1536, 384, 8, 5, fusion="sum", scale=5.0),
    "d7x": _scaled(_deep(7), 1536, 384, 8, 5, fusion="sum", levels=(3, 8)),
    "lite0": _scaled("efficientnet_lite0", 320, 64, 3, 3, **_LITE),
    "lite1": _scaled("efficientnet_lite1", 384, 88, 4, 3, **_LITE),
    "lite2": _scaled("efficientnet_lite2", 448, 112, 5, 3, **_LITE),
    "lite3": _scaled("efficientnet_lite3", 512, 160, 6, 4, **{**_LITE, "scale": 4.0}),
    "lite3x": _scaled("efficientnet_lite3", 640, 200, 6, 4, **_LITE),
    "lite4": _scaled("efficientnet_lite4", 640, 224, 7, 4, **{**_LITE, "scale": 4.0}),
}


@keras.saving.register_keras_serializable("kerasdet")
class EfficientDet(Detector):
    """EfficientDet (Tan et al., CVPR 2020, arXiv:1911.09070), as released; by default D0.

    `EfficientDet(classes, **FORMS["d3"])` is another row of table 1. Padding beside the picture counts as background.

    Args:
        classes: names of the classes, or their number.
        backbone: a key of `backbones.BACKBONES`, or a dict of its `name` and arguments (section 4.2).
        backbone_weights: None, "imagenet" or a path, loaded into the backbone when the model is first made.
        norm: norm of the backbone, see `layers.norm`.
        levels: first and last level of the pyramid.
        width, cells: channels and repetitions of the BiFPN (equation 1).
        depth: convolutions in each head's tower (equation 2).
        fusion: of the BiFPN, "fast", "softmax" or "sum" (section 3.3).
        activation: of BiFPN and heads (section 5.1).
        pyramid_norm, norm_momentum: norm of BiFPN and heads; every level of a head has its own. In a training of some
            hundred steps, statistics must follow faster than in the release: 0.9.
        prior: initial score of every class.
        octaves, ratios, scale: anchors of a cell: sizes per octave, heights over widths, smallest size in strides.
        positive: IoU of positive anchors; all others are background, but for the best of each object.
        alpha, gamma: of the focal loss (section 5.1).
        smoothing: of its targets, see `losses.classes.focal`.
        delta: where the box loss turns from square to line.
        box_weight: factor of the box loss.
        pairs: (anchor, class) pairs that suppression sees; None for every anchor with its best class alone, as in the
            release but for its published scores.
        across_classes: whether suppression knows no classes; as in the release, if asked for.
        above: least score of a detection, also after Soft-NMS has lowered it.
        suppression: IoU above which `nms="hard"` drops the weaker of two boxes of a class.
        limit: detections per image.
        clip: whether detections end at the picture's border; the release lets them pass it.
        nms, resize, multiple: of `Detector`.
        kwargs: of `Detector`.
    """

    terms = ("class", "box")
    class_heads = ("class_head/predictor/pointwise",)

    def __init__(
        self, classes,
        # The network (sections 3 and 4).
        backbone="efficientnet_b0", backbone_weights=None, norm="batch", levels=(3, 7), width=64, cells=3, depth=3,
        fusion="fast", activation="silu", pyramid_norm="batch", norm_momentum=0.99, prior=0.01,
        # Anchors and what they learn.
        octaves=3, ratios=(1.0, 0.5, 2.0), scale=4.0, positive=0.5,
        # The loss (section 5.1).
        alpha=0.25, gamma=1.5, smoothing=0.0, delta=0.1, box_weight=50.0,
        # Detections (section 5.1).
        pairs=5000, across_classes=False, above=0.001, suppression=0.5, limit=100, clip=True, nms="soft",
        # Pictures.
        resize=("corner", 512, 512), multiple=1, **kwargs,
    ):  # fmt: skip
        super().__init__(classes, resize=resize, multiple=multiple, nms=nms, **kwargs)
        self.backbone = backbones.build(backbone, levels=(levels[0], 5), norm=norm, weights=backbone_weights)
        self.pixels = Pixels(self.backbone.normalization)
        norms = {"norm": pyramid_norm, "momentum": norm_momentum}
        self.pyramid = BiFPN(width, cells, self.backbone.channels, levels, fusion, activation, **norms)
        strides = self.pyramid.strides(self.backbone.strides)
        # Size by size, and ratio by ratio in each.
        sizes = anchors.octaves(strides, scale, octaves)
        shapes = [np.concatenate(anchors.shapes([[size] for size in level], ratios)) for level in sizes]
        self.anchors = anchors.Anchors(shapes, strides, fitted="exact")
        head = {"anchors": octaves * len(ratios), "levels": len(strides), "epsilon": bifpn.EPSILON, **norms}
        head |= {"separable": True, "activation": activation}
        self.class_head = ConvHead(depth, width, outputs=self.num_classes, prior=prior, **head)
        self.box_head = ConvHead(depth, width, outputs=4, **head)
        self.levels, self.octaves, self.ratios, self.scale = levels, octaves, ratios, scale
        self.positive_iou = positive
        self.alpha, self.gamma, self.smoothing = alpha, gamma, smoothing
        self.delta, self.box_weight = delta, box_weight
        self.pairs, self.across_classes, self.clip = pairs, across_classes, clip
        self.above, self.suppression, self.limit = above, suppression, limit

    def network(self, images, training=False):
        maps = self.backbone(self.pixels(images), training=training)
        pyramid = self.pyramid(maps, training=training)
        return {
            "logits": self.class_head(pyramid, training=training),  # [B, A, K]
            "deltas": self.box_head(pyramid, training=training),  # [B, A, 4]
        }

    def match(self, objects, images):
        height, width = image_size(images)
        grid = self.anchors((height, width))
        whole = tf.cast(tf.stack([0, 0, width, height]), tf.float32)
        # As in the release: objects end at the last row and column of pixels.
        seen = boxes.clip(objects["boxes"], whole - [0.0, 0.0, 1.0, 1.0])
        seen = tf.where(objects["crowds"][..., None], objects["boxes"], seen)
        objects = {**objects, "boxes": seen, "classes": tf.where(boxes.area(seen) > 0, objects["classes"], -1)}
        windows = tf.broadcast_to(whole, tf.shape(images["windows"]))
        return grid, assign.with_best(grid, objects, self.positive_iou, windows)

    def loss_terms(self, outputs, objects, images, training=True):
        grid, match = self.match(objects, images)
        real = (images["ids"] >= 0)[:, None]
        count = tf.reduce_sum(tf.cast(match.positive & real, tf.float32))
        count = assign.over_replicas(count) + 1.0
        targets = tf.one_hot(match.classes, self.num_classes)
        entropy = class_losses.focal(outputs["logits"], targets, self.alpha, self.gamma, self.smoothing)
        entropy = tf.where(match.counted & real, tf.reduce_sum(entropy, axis=-1), 0.0)
        wanted = coders.encode(grid, match.boxes)
        distance = box_losses.huber(outputs["deltas"], wanted, self.delta)
        # As in the release, a number that is right from the start does not count, whatever is predicted.
        learning = (match.positive & real)[..., None] & (wanted != 0)
        return {
            "class": tf.reduce_sum(entropy) / count,
            "box": tf.reduce_sum(tf.where(learning, distance, 0.0)) / (4.0 * count) * self.box_weight,
        }

    def detections(self, outputs, images):
        size = image_size(images)
        if self.pairs is None:
            logits, classes = tf.reduce_max(outputs["logits"], -1), tf.argmax(outputs["logits"], -1, tf.int32)
            found = coders.decode(self.anchors(size), outputs["deltas"])
        else:
            every = tf.shape(outputs["logits"])[1]
            logits, rows, classes = candidates.top(outputs["logits"], [every], self.pairs)
            deltas = tf.gather(outputs["deltas"], rows, batch_dims=1)
            found = coders.decode(tf.gather(self.anchors(size), rows), deltas)
        scores = tf.where((images["ids"] >= 0)[:, None], tf.sigmoid(logits), 0.0)
        kinds, count, riders = classes, self.num_classes, {}
        if self.across_classes:
            kinds, count, riders = tf.zeros_like(classes), 1, {"own": classes}
        hard = self.nms == "hard"
        if self.clip and hard:
            found = boxes.clip(found, images["windows"])
        kept = suppress.per_class(
            found, scores, kinds, count, self.suppression, self.above, self.limit, self.nms, **riders
        )
        if self.across_classes:
            kept["classes"] = tf.where(kept["classes"] >= 0, kept.pop("own"), -1)
        if self.clip and not hard:
            # Soft-NMS sees boxes as they were predicted.
            real = (kept["classes"] >= 0)[..., None]
            kept["boxes"] = tf.where(real, boxes.clip(kept["boxes"], images["windows"]), 0.0)
        return kept

    def fitted(self, boxes, sizes):
        at_hand = {name: getattr(self, name) for name in ("levels", "octaves", "ratios", "scale")}
        return clusters.fit_octaves(boxes, **at_hand, positive=self.positive_iou)

    @classmethod
    def tiny(cls):
        """Arguments of a small instance for tests."""
        network = {"backbone": {"name": "resnet10", "width": 16}, "levels": (3, 6), "width": 32, "cells": 1, "depth": 1}
        small = {"octaves": 2, "ratios": (1.0,), "norm_momentum": 0.9, "nms": "hard", "resize": ("keep",)}
        return {"classes": ["square", "disc"], **network, **small}
