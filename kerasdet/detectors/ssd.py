"""SSD: default boxes on maps of several sizes, hard negatives, no second stage; and its light kin for phones."""

import keras
import numpy as np
import tensorflow as tf

from kerasdet import anchors, backbones, boxes, clusters, coders
from kerasdet.decoding import candidates, suppress
from kerasdet.detectors.detector import Detector
from kerasdet.layers import Extra, L2Norm, MapHeads, Pixels, image_size
from kerasdet.losses import boxes as box_losses
from kerasdet.targets import assign, sample

SCORES = ("softmax", "sigmoid")

# Arguments of the paper's larger network (section 3.3): one map more.
SSD512 = {
    "resize": ("stretch", 512, 512),
    "extras": ((512, 3, 2, 1), (256, 3, 2, 1), (256, 3, 2, 1), (256, 3, 2, 1), (256, 4, 1, 1)),
    "scales": (0.07, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.05),
    "ratios": ((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    "steps": (8, 16, 32, 64, 128, 256, 512),
}

_LITE = {
    "levels": (4, 5),
    "l2_norm": None,
    "extra_norm": "batch",
    "activation": "relu6",
    "separable": True,
    "scales": (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0),
    "ratios": ((2, 3),) * 6,
    "steps": None,
}

# SSDLite (Howard et al., ICCV 2019, section 6.3) on the reduced MobileNetV3-Large, in torchvision's form.
SSDLITE_V3 = {
    **_LITE,
    "resize": ("stretch", 320, 320),
    "backbone": "mobilenet_v3_large_reduced",
    "norm": "batch",
    "extras": ((512, 3, 2, 1), (256, 3, 2, 1), (256, 3, 2, 1), (128, 3, 2, 1)),
    "clip_boxes": True,
    "above": 0.001,
    "per_class": 300,
    "suppression": 0.55,
    "limit": 300,
}

# SSDLite (Sandler et al., CVPR 2018, section 6.2) on MobileNetV2, in the form of TensorFlow's Object Detection API.
SSDLITE_V2 = {
    **_LITE,
    "backbone": "mobilenet_v2",
    "norm": "frozen",
    "extras": ((512, 3, 2, "same"), (256, 3, 2, "same"), (256, 3, 2, "same"), (128, 3, 2, "same")),
    "ratios": ((2,), *((2, 3),) * 5),
    "tensorflow_boxes": 0.1,
    "scores": "sigmoid",
    "per_class": None,
    "suppression": 0.6,
    "limit": 100,
}


def mobilenet_v1(alpha=1.0):
    """Arguments of SSD on MobileNetV1 with a depth multiplier, in the form of TensorFlow's Object Detection API."""
    extras = tuple((round(alpha * channels), 3, 2, "same") for channels in (512, 256, 256, 128))
    backbone = {"name": "mobilenet_v1", "alpha": alpha}
    return {**SSDLITE_V2, "backbone": backbone, "extras": extras, "separable": False, "head_size": 1}


@keras.saving.register_keras_serializable("kerasdet")
class SSD(Detector):
    """SSD (Liu et al., ECCV 2016, arXiv:1512.02325); by default SSD300 on VGG16 for Pascal VOC.

    `SSD(classes, **SSD512)`, `**SSDLITE_V2`, `**SSDLITE_V3` and `**mobilenet_v1(0.75)` are its other published forms.

    Args:
        classes: names of the classes, or their number; the background has an output of its own.
        backbone: a key of `backbones.BACKBONES`, or a dict of its `name` and arguments (section 3).
        backbone_weights: None, "imagenet" or a path, loaded into the backbone when the model is first made.
        norm: norm of the backbone, see `layers.norm`.
        levels: first and last level of the backbone that boxes are predicted from.
        l2_norm: initial scale of the L2 norm of the first map, or None (section 3.1: 20 for conv4_3).
        extras: extra layers (figure 2), each as channels, kernel, stride and padding, as in `Conv`; a 1x1 convolution
            to half of the channels precedes each.
        extra_norm: norm of the extra layers and of separable heads.
        activation: of the extra layers and of separable heads.
        separable: extra layers and heads as a depthwise and a 1x1 convolution (SSDLite); "extras" for the layers alone.
        head_size: kernel of heads that are not separable.
        scales, ratios, clip_boxes: see `anchors.default_shapes` (section 2.2).
        steps: see `anchors.DefaultBoxes`.
        tensorflow_boxes: None, or boxes in the form of TensorFlow: the `least` of `anchors.default_shapes_tf`.
        box_grid: the `grid` of `anchors.DefaultBoxes`.
        scores: "softmax" over background and classes (equation 3), or "sigmoid" of each.
        positive: IoU of positive boxes (section 2.2).
        negatives: hard negatives for every positive of an image (section 2.2); an image without any counts as one with
            one.
        box_weight: factor of the box loss, alpha of equation 1.
        above: least score of a detection (section 3.5).
        per_class: candidates a class, 400 in the release; None for all, as in TensorFlow's Object Detection API.
        suppression: IoU above which the weaker of two boxes of a class is dropped (section 3.5).
        limit: detections an image (section 3.5).
        resize, multiple: of `Detector`.
        kwargs: of `Detector`.
    """

    terms = ("class", "box")

    def __init__(
        self, classes,
        # The network (section 2.1, figure 2).
        backbone="vgg16_atrous", backbone_weights=None, norm=None, levels=(3, 4), l2_norm=20.0,
        extras=((512, 3, 2, 1), (256, 3, 2, 1), (256, 3, 1, 0), (256, 3, 1, 0)), extra_norm=None, activation="relu",
        separable=False, head_size=3, scores="softmax",
        # Default boxes (section 2.2).
        scales=(0.1, 0.2, 0.37, 0.54, 0.71, 0.88, 1.05), ratios=((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
        clip_boxes=False, steps=(8, 16, 32, 64, 100, 300), tensorflow_boxes=None, box_grid=None,
        # What they learn (section 2.2).
        positive=0.5, negatives=3, box_weight=1.0,
        # Detections (section 3.5).
        above=0.01, per_class=400, suppression=0.45, limit=200,
        # Pictures (section 3).
        resize=("stretch", 300, 300), multiple=1, **kwargs,
    ):  # fmt: skip
        super().__init__(classes, resize=resize, multiple=multiple, **kwargs)
        if scores not in SCORES:
            raise ValueError(f"scores must be one of {SCORES}, got {scores!r}.")
        if separable not in (False, True, "extras"):
            raise ValueError(f"separable must be False, True or 'extras', got {separable!r}.")
        maps = levels[1] - levels[0] + 1 + len(extras)
        for name, value, count in (("scales", scales, maps + 1), ("ratios", ratios, maps), ("steps", steps, maps)):
            if value is not None and len(value) != count:
                raise ValueError(f"{name} must have {count} entries for {maps} maps, got {len(value)}: {value}.")
        self.backbone = backbones.build(backbone, levels=tuple(levels), norm=norm, weights=backbone_weights)
        self.pixels = Pixels(self.backbone.normalization)
        self.l2_norm = L2Norm(l2_norm) if l2_norm is not None else None
        conv = {"norm": extra_norm, "activation": activation, "epsilon": 1e-3, "initializer": "glorot_uniform"}
        self.extras = [Extra(*extra, bool(separable), conv) for extra in extras]
        if tensorflow_boxes is not None:
            shapes = anchors.default_shapes_tf(scales, ratios, tensorflow_boxes)
        else:
            shapes = anchors.default_shapes(scales, ratios, clip_boxes)
        self.anchors = anchors.DefaultBoxes(self._cells, shapes, steps, box_grid)
        self.scales, self.ratios = scales, ratios
        self.tensorflow_boxes, self.clip_boxes = tensorflow_boxes, clip_boxes
        head = {"cells": self.anchors.per_cell, "size": head_size, "separable": separable is True, "conv": conv}
        self.class_head = MapHeads(outputs=self.num_classes + 1, **head)
        self.box_head = MapHeads(outputs=4, **head)
        self.scores, self.negatives = scores, negatives
        self.positive_iou = positive
        self.box_weight, self.above, self.per_class = box_weight, above, per_class
        self.suppression, self.limit = suppression, limit

    @property
    def class_heads(self):
        """See `Detector`."""
        return tuple(f"class_head/predictors/{i}" for i in range(len(self.anchors.per_cell)))

    @property
    def class_outputs(self):
        """See `Detector`; the background comes first."""
        return ("background", *self.classes)

    def _cells(self, side):
        """Cells of every map along a side of the network's image."""
        cells = [-(-side // stride) for stride in self.backbone.strides]
        for extra in self.extras:
            cells.append(extra.cells(cells[-1]))
        return cells

    def features(self, images, training=False):
        """The maps that boxes are predicted from (figure 2), a list of [B, H, W, C]."""
        maps = self.backbone(self.pixels(images), training=training)
        x = maps[-1]
        if self.l2_norm is not None:
            maps = [self.l2_norm(maps[0]), *maps[1:]]
        for extra in self.extras:
            x = extra(x, training=training)
            maps = [*maps, x]
        return maps

    def network(self, images, training=False):
        maps = self.features(images, training)
        return {
            "logits": self.class_head(maps, training=training),  # [B, A, 1 + K], the background first
            "deltas": self.box_head(maps, training=training),  # [B, A, 4]
        }

    def match(self, objects, images):
        height, width = image_size(images)
        grid = self.anchors((height, width))
        match = assign.one_to_one(grid, objects, self.positive_iou, images["windows"])
        # The release learns from boxes that reach over the picture's border; those that lie in padding teach nothing.
        seen = boxes.clip(grid, tf.cast(tf.stack([0, 0, width, height]), tf.float32))
        return grid, match.without(~assign.inside(seen, images["windows"]))

    def loss_terms(self, outputs, objects, images, training=True):
        grid, match = self.match(objects, images)
        real = (images["ids"] >= 0)[:, None]
        positive, negative = match.positive & real, match.counted & ~match.positive & real
        entropy = self._entropy(outputs["logits"], match.classes + 1)
        count = tf.reduce_sum(tf.cast(positive, tf.int32), axis=1)
        hard = sample.hard_negatives(entropy, negative, self.negatives * tf.maximum(count, 1))
        targets = coders.encode(grid, match.boxes, coders.WEIGHTS)
        box = tf.reduce_sum(box_losses.smooth_l1(outputs["deltas"], targets, beta=1.0), axis=-1)
        total = assign.positives(match, images)  # N of equation 1
        return {
            "class": tf.reduce_sum(tf.where(positive | hard, entropy, 0.0)) / total,
            "box": tf.reduce_sum(tf.where(positive, box, 0.0)) / total * self.box_weight,
        }

    def _entropy(self, logits, targets):
        """Cross-entropy [B, A] with targets of which 0 is the background."""
        if self.scores == "softmax":
            return tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        wanted = tf.one_hot(targets, logits.shape[-1])
        return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(wanted, logits), axis=-1)

    def detections(self, outputs, images):
        decoded = coders.decode(self.anchors(image_size(images)), outputs["deltas"], coders.WEIGHTS)
        decoded = boxes.clip(decoded, images["windows"])
        logits = outputs["logits"]
        scores = (tf.nn.softmax(logits) if self.scores == "softmax" else tf.sigmoid(logits))[..., 1:]
        scores = tf.where((images["ids"] >= 0)[:, None, None], scores, 0.0)
        of_classes = decoded[:, :, None]
        if self.per_class is not None:
            scores, rows = candidates.top_of_classes(scores, self.per_class)
            of_classes = tf.gather(decoded, rows, batch_dims=1)
        return suppress.within_classes(of_classes, scores, self.suppression, self.above, self.limit, self.nms)

    def fitted(self, boxes, sizes):
        at_hand = {name: getattr(self, name) for name in ("scales", "ratios", "tensorflow_boxes")}
        cells = [self.anchors.grids(size) for size in sizes.tolist()]
        cells = np.reshape(cells, [len(sizes), len(self.anchors.per_cell), 2])
        parts = boxes / np.tile(sizes[:, ::-1], 2)  # default boxes are parts of the picture
        return clusters.fit_scales(parts, cells, **at_hand, positive=self.positive_iou, clip=self.clip_boxes)

    @classmethod
    def tiny(cls):
        """Arguments of a small instance for tests."""
        network = {"backbone": {"name": "resnet10", "width": 16}, "norm": "batch", "extras": ((64, 3, 2, 1),)}
        default_boxes = {"scales": (0.2, 0.4, 0.7, 1.0), "ratios": ((2,),) * 3, "steps": None}
        return {"classes": ["square", "disc"], **network, **default_boxes, "resize": ("keep",), "multiple": 32}
