"""RefineDet: one stage in two steps, of which the first moves and filters the anchors of the second."""

import keras
import tensorflow as tf

from kerasdet import anchors, backbones, boxes, clusters, coders
from kerasdet.decoding import candidates, suppress
from kerasdet.detectors.detector import Detector
from kerasdet.layers import Conv, Extra, L2Norm, MapHeads, Pixels, image_size
from kerasdet.layers.composite import Composite
from kerasdet.losses import boxes as box_losses
from kerasdet.targets import assign, sample

# Backbone of the paper's larger networks (section 4.3): its maps need no L2 norm.
RESNET101 = {"backbone": "resnet101_keras", "norm": "frozen", "l2_norm": ()}


@keras.saving.register_keras_serializable("kerasdet")
class Doubled(keras.layers.Layer):
    """A transposed 2x2 convolution of stride 2: a 1x1 convolution to four neighbors, whatever the map's size."""

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, shape):
        weight = {"dtype": "float32", "autocast": False}
        shape = (2, 2, self.filters, shape[-1])
        self.kernel = self.add_weight(shape=shape, name="kernel", initializer="glorot_uniform", **weight)
        self.bias = self.add_weight(shape=(self.filters,), name="bias", initializer="zeros", **weight)

    def call(self, x):
        kernel = tf.reshape(tf.transpose(self.kernel, [3, 0, 1, 2]), [1, 1, x.shape[-1], 4 * self.filters])
        x = tf.nn.depth_to_space(tf.nn.conv2d(x, tf.cast(kernel, x.dtype), 1, "VALID"), 2)
        return tf.nn.bias_add(x, tf.cast(self.bias, x.dtype))


@keras.saving.register_keras_serializable("kerasdet")
class Transfer(Composite):
    """A transfer connection block (section 3.1, figure 2): what the second step sees of a map of the first."""

    def __init__(self, width, top, norm, dtype):
        super().__init__(dtype=dtype)
        conv = {"norm": norm, "initializer": "glorot_uniform", "dtype": self.dtype_policy}
        self.convs = [Conv(width, 3, activation="relu", **conv), Conv(width, 3, **conv)]
        self.up = None if top else Doubled(width, dtype=self.dtype_policy)
        self.last = Conv(width, 3, activation="relu", **conv)

    def call(self, x, coarser=None, training=False):
        """Transfers a map [B, H, W, C], with what the next coarser block gave, to [B, H, W, width]."""
        for conv in self.convs:
            x = conv(x, training=training)
        if self.up is not None:
            x = x + self.up(coarser)
        return self.last(tf.nn.relu(x), training=training)


@keras.saving.register_keras_serializable("kerasdet")
class RefineDet(Detector):
    """RefineDet (Zhang et al., CVPR 2018, arXiv:1711.06897), as released; by default RefineDet320 on VGG16.

    `RefineDet(classes, resize=("stretch", 512, 512))` is RefineDet512, with the same weights. Sides of the network's
    image are multiples of 64, so that each map is twice as large as the next.

    Args:
        classes: names of the classes, or their number; the background has an output of its own.
        backbone: a key of `backbones.BACKBONES`, or a dict of its `name` and arguments (section 3.4).
        backbone_weights: None, "imagenet" or a path, loaded into the backbone when the model is first made.
        norm: norm of the backbone, see `layers.norm`.
        levels: first and last level of the backbone that anchors are laid on.
        l2_norm: initial scales of the L2 norms of the first maps (section 3.4: conv4_3 and conv5_3).
        extras: extra layers, as in `SSD`.
        width: channels of the transfer connection blocks.
        extra_norm: norm of the extra layers and of the transfer connection blocks.
        sizes, ratios: of the anchors: for every map their sides in pixels; heights over widths (section 3.4).
        positive: IoU of positive anchors, in both steps (section 3.4).
        filter: least objectness of a negative that the second step learns, and of an anchor that it detects with
            (section 3.2: a confidence of the background up to 0.99).
        negatives: hard negatives for every positive of an image (section 3.4).
        empty_negatives: hard negatives of an image without positives; 0 in the release.
        box_weight: factor of the box losses.
        above: least score of a detection.
        per_class: candidates a class; 1000 in the release, 400 in the paper (section 3.4).
        suppression: IoU above which the weaker of two boxes of a class is dropped (section 3.4).
        limit: detections an image; 500 in the release, 200 in the paper.
        clip: whether detections end at the picture's border; the release lets them pass it.
        resize, multiple: of `Detector`.
        kwargs: of `Detector`.
    """

    terms = ("anchor_class", "anchor_box", "class", "box")

    def __init__(
        self, classes,
        # The network (sections 3.1 and 3.4, figure 1).
        backbone="vgg16_atrous_strided", backbone_weights=None, norm=None, levels=(3, 5), l2_norm=(10.0, 8.0),
        extras=((512, 3, 2, 1),), width=256, extra_norm=None,
        # Anchors and what they learn (sections 3.2 to 3.4).
        sizes=((32,), (64,), (128,), (256,)), ratios=(1.0, 0.5, 2.0), positive=0.5, filter=0.01, negatives=3,
        empty_negatives=3, box_weight=1.0,
        # Detections (section 3.4).
        above=0.01, per_class=1000, suppression=0.45, limit=500, clip=True,
        # Pictures (section 3.4).
        resize=("stretch", 320, 320), multiple=64, **kwargs,
    ):  # fmt: skip
        super().__init__(classes, resize=resize, multiple=multiple, **kwargs)
        self.backbone = backbones.build(backbone, levels=tuple(levels), norm=norm, weights=backbone_weights)
        strides = list(self.backbone.strides)
        for _, _, stride, _ in extras:
            strides.append(strides[-1] * stride)
        if len(sizes) != len(strides):
            raise ValueError(f"sizes must have {len(strides)} entries, one for every map, got {len(sizes)}: {sizes}.")
        if multiple % strides[-1]:
            raise ValueError(f"multiple must be one of the last map's stride, {strides[-1]}, got {multiple}.")
        self.pixels = Pixels(self.backbone.normalization)
        self.l2_norms = [L2Norm(scale, added=1e-10) for scale in l2_norm]
        conv = {"norm": extra_norm, "activation": "relu", "initializer": "glorot_uniform"}
        self.extras = [Extra(*extra, False, conv) for extra in extras]
        self.anchors = anchors.Anchors(anchors.shapes(sizes, ratios), strides)
        head = {"cells": self.anchors.per_cell, "size": 3, "separable": False, "conv": conv}
        self.anchor_class_head = MapHeads(outputs=2, **head)
        self.anchor_box_head = MapHeads(outputs=4, **head)
        inner = {"norm": extra_norm, "dtype": self.dtype_policy}
        self.transfers = [Transfer(width, i == len(strides) - 1, **inner) for i in range(len(strides))]
        self.class_head = MapHeads(outputs=self.num_classes + 1, **head)
        self.box_head = MapHeads(outputs=4, **head)
        self.sizes, self.ratios = sizes, ratios
        self.positive_iou, self.filter = positive, filter
        self.negatives, self.empty_negatives, self.box_weight = negatives, empty_negatives, box_weight
        self.above, self.per_class, self.suppression, self.limit = above, per_class, suppression, limit
        self.clip = clip

    @property
    def class_heads(self):
        """See `Detector`."""
        return tuple(f"class_head/predictors/{i}" for i in range(len(self.anchors.per_cell)))

    @property
    def class_outputs(self):
        """See `Detector`; the background comes first."""
        return ("background", *self.classes)

    def features(self, images, training=False):
        """The maps of the first step and those of the second (figure 1), two lists of [B, H, W, C]."""
        maps = list(self.backbone(self.pixels(images), training=training))
        for extra in self.extras:
            maps.append(extra(maps[-1], training=training))
        for i, norm in enumerate(self.l2_norms):
            maps[i] = norm(maps[i])
        transferred = [None] * len(maps)
        coarser = None
        for i in reversed(range(len(maps))):
            transferred[i] = coarser = self.transfers[i](maps[i], coarser=coarser, training=training)
        return maps, transferred

    def network(self, images, training=False):
        maps, transferred = self.features(images, training)
        return {
            "objectness": self.anchor_class_head(maps, training=training),  # [B, A, 2], the background first
            "refinements": self.anchor_box_head(maps, training=training),  # [B, A, 4]
            "logits": self.class_head(transferred, training=training),  # [B, A, 1 + K], the background first
            "deltas": self.box_head(transferred, training=training),  # [B, A, 4]
        }

    def refined(self, outputs, images):
        """What the first step says: the anchors as it moves them [B, A, 4], pixels, and their objectness [B, A]."""
        moved = coders.decode(self.anchors(image_size(images)), outputs["refinements"], coders.WEIGHTS)
        return moved, tf.nn.softmax(outputs["objectness"])[..., 1]

    def match(self, objects, images):
        grid = self.anchors(image_size(images))
        return grid, self._assigned(grid, objects, images)

    def _assigned(self, grid, objects, images):
        """The match of SSD; what lies in padding teaches nothing."""
        match = assign.one_to_one(grid, objects, self.positive_iou, images["windows"])
        height, width = image_size(images)
        seen = boxes.clip(grid, tf.cast(tf.stack([0, 0, width, height]), tf.float32))
        return match.without(~assign.inside(seen, images["windows"]))

    def loss_terms(self, outputs, objects, images, training=True):
        """Equation 1; no gradient reaches the first step by the anchors that it gives the second."""
        grid, first = self.match(objects, images)
        moved, sure = map(tf.stop_gradient, self.refined(outputs, images))
        second = self._assigned(moved, objects, images)
        every = tf.ones_like(first.positive)
        kinds = tf.cast(first.positive, tf.int32)
        anchor = self._step(outputs["objectness"], outputs["refinements"], kinds, grid, first, every, images)
        kinds = second.classes + 1
        own = self._step(outputs["logits"], outputs["deltas"], kinds, moved, second, sure >= self.filter, images)
        return dict(zip(self.terms, (*anchor, *own), strict=True))

    def _step(self, logits, deltas, kinds, grid, match, allowed, images):
        """Class and box loss of a step, with hard negatives among the anchors that are allowed to be some."""
        real = (images["ids"] >= 0)[:, None]
        positive, negative = match.positive & real, match.counted & ~match.positive & real & allowed
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(kinds, logits)
        count = tf.reduce_sum(tf.cast(positive, tf.int32), axis=1)
        wanted = tf.where(count > 0, self.negatives * count, self.empty_negatives)
        hard = sample.hard_negatives(entropy, negative, wanted)
        targets = coders.encode(grid, match.boxes, coders.WEIGHTS)
        box = tf.reduce_sum(box_losses.smooth_l1(deltas, targets, beta=1.0), axis=-1)
        total = assign.positives(match, images)
        return (
            tf.reduce_sum(tf.where(positive | hard, entropy, 0.0)) / total,
            tf.reduce_sum(tf.where(positive, box, 0.0)) / total * self.box_weight,
        )

    def detections(self, outputs, images):
        moved, sure = self.refined(outputs, images)
        decoded = coders.decode(moved, outputs["deltas"], coders.WEIGHTS)
        kept = (sure >= self.filter) & (images["ids"] >= 0)[:, None]
        scores = tf.where(tf.expand_dims(kept, -1), tf.nn.softmax(outputs["logits"])[..., 1:], 0.0)
        of_classes = tf.expand_dims(decoded, 2)
        if self.per_class is not None:
            scores, rows = candidates.top_of_classes(scores, self.per_class)
            of_classes = tf.gather(decoded, rows, batch_dims=1)
        found = suppress.within_classes(of_classes, scores, self.suppression, self.above, self.limit, self.nms)
        if self.clip:
            real = tf.expand_dims(found["classes"] >= 0, -1)
            found["boxes"] = tf.where(real, boxes.clip(found["boxes"], images["windows"]), 0.0)
        return found

    def fitted(self, boxes, sizes):
        at_hand = {"sizes": self.sizes, "ratios": self.ratios, "positive": self.positive_iou}
        return clusters.fit_sizes(boxes, self.anchors.strides, **at_hand)

    @classmethod
    def tiny(cls):
        """Arguments of a small instance for tests."""
        network = {"backbone": {"name": "resnet10", "width": 16}, "norm": "batch", "l2_norm": (10.0,), "levels": (3, 4)}
        small = {"extras": ((32, 3, 2, 1),), "width": 32, "sizes": ((16,), (32,), (64,)), "multiple": 32}
        return {"classes": ["square", "disc"], **network, **small, "resize": ("keep",)}
