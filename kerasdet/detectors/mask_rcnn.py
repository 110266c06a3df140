"""Mask R-CNN: Faster R-CNN with one branch more, which draws a mask, or keypoints, in every region."""

import keras
import tensorflow as tf

from kerasdet.decoding import keypoints as decode
from kerasdet.detectors.faster_rcnn import FasterRCNN
from kerasdet.layers import Conv
from kerasdet.layers.composite import Composite
from kerasdet.layers.conv import MSRA
from kerasdet.losses import regions as losses
from kerasdet.targets import assign
from kerasdet.targets import keypoints as keypoint_targets
from kerasdet.targets import masks as mask_targets

MASK_SCORES = ("sigmoid", "softmax")

# Arguments of the form on ResNet-C4 (figure 4, left): the branch sees what conv5_x makes of a region.
MASK_C4 = {"mask_convs": 0, "mask_size": 14}

# Arguments that make Keypoint R-CNN of it (section 5), for COCO's 17 keypoints of a person.
KEYPOINT = {"masks": False, "keypoints": 17}


@keras.saving.register_keras_serializable("kerasdet")
class MaskRCNN(FasterRCNN):
    """Mask R-CNN (He et al., ICCV 2017, arXiv:1703.06870), by default on a feature pyramid.

    `MaskRCNN(classes, **KEYPOINT)` is Keypoint R-CNN; masks and keypoints go together too.

    Args:
        classes: names of the classes, or their number.
        masks: whether there is a mask branch.
        keypoints: keypoints of an object, 0 for no keypoint branch.
        mask_size: cells a side of a mask (figure 4).
        mask_convs, mask_width: 3x3 convolutions of the mask branch, and their channels.
        mask_norm: their norm.
        mask_std: deviation of the first weights of the mask predictor: Detectron2's; torchvision has sqrt(2 / (1 + K)).
        mask_scores: "sigmoid" of the class' own mask, or "softmax" over background and classes (table 2b).
        keypoint_size: cells a side of a keypoint's map (section 5).
        keypoint_convs, keypoint_width: 3x3 convolutions of the keypoint branch, and their channels (section 5).
        kwargs: of `FasterRCNN`.
    """

    def __init__(
        self, classes,
        # The mask branch (section 3, figure 4).
        masks=True, mask_size=28, mask_convs=4, mask_width=256, mask_norm=None, mask_scores="sigmoid", mask_std=0.001,
        # The keypoint branch (section 5).
        keypoints=0, keypoint_size=56, keypoint_convs=8, keypoint_width=512, **kwargs,
    ):  # fmt: skip
        super().__init__(classes, **kwargs)
        self.terms = FasterRCNN.terms + ("mask",) * bool(masks) + ("keypoint",) * bool(keypoints)
        if mask_scores not in MASK_SCORES:
            raise ValueError(f"mask_scores must be one of {MASK_SCORES}, got {mask_scores!r}.")
        for name, size, step in (("mask_size", mask_size, 2), ("keypoint_size", keypoint_size, 4)):
            if size < step or size % step:
                raise ValueError(f"{name} must be a multiple of {step}, got {size}.")
        outputs = self.num_classes + 1
        self.mask_head = MaskHead(mask_convs, mask_width, outputs, mask_norm, mask_std) if masks else None
        self.keypoint_head = KeypointHead(keypoint_convs, keypoint_width, keypoints) if keypoints else None
        self.mask_size, self.mask_scores, self.keypoint_size = mask_size, mask_scores, keypoint_size
        self.needs_masks, self.num_keypoints = bool(masks), keypoints

    @property
    def class_heads(self):
        """See `Detector`."""
        return FasterRCNN.class_heads + ("mask_head/predictor",) * self.needs_masks

    def loss_terms(self, outputs, objects, images, training=True):
        regions = self.sampled(outputs, objects, images, training)
        terms = {**self.rpn_terms(outputs, objects, images, training), **self.region_terms(outputs, regions, training)}
        positives = regions.positives()
        if self.mask_head is not None:
            terms["mask"] = self._mask_term(outputs, positives, objects, training)
        if self.keypoint_head is not None:
            terms["keypoint"] = self._keypoint_term(outputs, positives, objects, training)
        return terms

    def mask_logits(self, features, boxes, training=False):
        """The masks of every region for every class, [B * R, S, S, 1 + K] float32."""
        return self.on_regions(self.mask_head, features, boxes, self._bins(self.mask_size // 2), training)

    def keypoint_logits(self, features, boxes, training=False):
        """The map of every keypoint in every region, [B * R, S, S, P] float32."""
        return self.on_regions(self.keypoint_head, features, boxes, self._bins(self.keypoint_size // 4), training)

    def _bins(self, cells):
        """Bins of a region for so many cells in front of a branch; conv5_x halves them."""
        return cells if self.res5 is None else 2 * cells

    def _mask_term(self, outputs, positives, objects, training):
        """Mean over the regions with an object (section 3)."""
        logits = self.mask_logits(outputs["features"], positives.boxes, training)
        size, aligned = self.mask_size, self.roi["aligned"]
        targets = mask_targets.cut(
            objects["masks"], objects["mask_frames"], positives.boxes, positives.objects, size, aligned
        )
        valid = tf.reshape(positives.positive, [-1])
        kinds = tf.where(valid, tf.reshape(positives.classes, [-1]) + 1, 0)
        each = losses.mask(logits, tf.reshape(targets, [-1, size, size]), kinds, self.mask_scores)
        return tf.reduce_sum(tf.where(valid, each, 0.0)) / assign.count(positives.positive)

    def _keypoint_term(self, outputs, positives, objects, training):
        """Mean over the labeled keypoints in regions with their object (section 5)."""
        logits = self.keypoint_logits(outputs["features"], positives.boxes, training)
        known = tf.pad(objects["keypoints"], [[0, 0], [0, 1], [0, 0], [0, 0]])  # never none at all
        own = tf.gather(known, tf.maximum(positives.objects, 0), batch_dims=1)
        cells, valid = keypoint_targets.cells(own, positives.boxes, logits.shape[1])
        valid &= positives.positive[..., None]
        each = losses.keypoints(logits, tf.reshape(cells, [-1, self.num_keypoints]))
        each = tf.where(valid, tf.reshape(each, tf.shape(valid)), 0.0)
        return tf.reduce_sum(each) / assign.count(valid)

    def detections(self, outputs, images):
        found = super().detections(outputs, images)
        count, limit = tf.unstack(tf.shape(found["scores"]))
        if self.mask_head is not None:
            logits = self.mask_logits(outputs["features"], found["boxes"])
            scores = tf.sigmoid(logits) if self.mask_scores == "sigmoid" else tf.nn.softmax(logits)
            own = tf.gather(tf.transpose(scores, [0, 3, 1, 2]), tf.reshape(found["classes"] + 1, [-1]), batch_dims=1)
            found["masks"] = tf.reshape(own, [count, limit, self.mask_size, self.mask_size])
        if self.keypoint_head is not None:
            logits = self.keypoint_logits(outputs["features"], found["boxes"])
            places = decode.peaks(logits, tf.reshape(found["boxes"], [-1, 4]))
            found["keypoints"] = tf.reshape(places, [count, limit, self.num_keypoints, 3])
        return found

    @classmethod
    def tiny(cls):
        """Arguments of a small instance for tests."""
        masks = {"mask_size": 8, "mask_convs": 1, "mask_width": 16}
        keypoints = {"keypoints": 2, "keypoint_size": 16, "keypoint_convs": 1, "keypoint_width": 16}
        return {**super().tiny(), **masks, **keypoints}


@keras.saving.register_keras_serializable("kerasdet")
class MaskHead(Composite):
    """Convolutions, a transposed one of twice the cells, and a mask for every class (figure 4).

    Args:
        depth, width: of the convolutions.
        outputs: K + 1.
        norm: of the convolutions.
        std: deviation of the predictor's first weights.
    """

    def __init__(self, depth, width, outputs, norm=None, std=0.001, **kwargs):
        super().__init__(**kwargs)
        policy = {"dtype": self.dtype_policy}
        self.convs = [Conv(width, 3, norm=norm, activation="relu", initializer=MSRA, **policy) for _ in range(depth)]
        self.deconv = keras.layers.Conv2DTranspose(
            width, 2, 2, activation="relu", kernel_initializer=MSRA.clone(), **policy
        )
        self.predictor = Conv(outputs, 1, initializer=keras.initializers.RandomNormal(stddev=std), **policy)

    def call(self, x, training=False):
        """Draws.

        Args:
            x: [N, S, S, C].

        Returns:
            [N, 2 * S, 2 * S, outputs] float32.
        """
        for conv in self.convs:
            x = conv(x, training=training)
        return tf.cast(self.predictor(self.deconv(x), training=training), tf.float32)


@keras.saving.register_keras_serializable("kerasdet")
class KeypointHead(Composite):
    """Convolutions, a transposed one of twice the cells, and bilinear resizing to twice as many again (section 5).

    Args:
        depth, width: of the convolutions.
        keypoints: P.
    """

    def __init__(self, depth, width, keypoints, **kwargs):
        super().__init__(**kwargs)
        policy = {"dtype": self.dtype_policy}
        self.convs = [Conv(width, 3, activation="relu", initializer=MSRA, **policy) for _ in range(depth)]
        self.deconv = keras.layers.Conv2DTranspose(keypoints, 4, 2, "same", kernel_initializer=MSRA.clone(), **policy)

    def call(self, x, training=False):
        """Draws.

        Args:
            x: [N, S, S, C].

        Returns:
            [N, 4 * S, 4 * S, P] float32.
        """
        for conv in self.convs:
            x = conv(x, training=training)
        x = tf.cast(self.deconv(x), tf.float32)
        return tf.image.resize(x, [2 * side for side in x.shape[1:3]], "bilinear", antialias=False)
