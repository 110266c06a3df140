"""Softer-NMS: Faster R-CNN that also predicts how sure it is of every side of a box, and lets boxes vote by that."""

import keras
import tensorflow as tf

from kerasdet.decoding import regions as decode
from kerasdet.decoding import suppress
from kerasdet.detectors.faster_rcnn import FasterRCNN
from kerasdet.layers import FC
from kerasdet.losses import boxes as losses
from kerasdet.losses import regions as region_losses

# Weight of all four offsets (KL-Loss' release).
WEIGHT = 10.0
# Furthest that a decoded side lies from the proposal's, in its own sides: as far as `coders.LOG_MAX` lets a box grow.
FURTHEST = 1000 / 16


@keras.saving.register_keras_serializable("kerasdet")
class SofterNMS(FasterRCNN):
    """Softer-NMS (He et al., CVPR 2019, arXiv:1809.08545), by default on ResNet-50-FPN.

    A box is four offsets of its sides, each a normal distribution of a predicted variance.

    Args:
        classes: names of the classes, or their number.
        nms: of `Detector`: "soft_voting", variance voting after Soft-NMS, or "voting" after greedy suppression
            (section 3.3, algorithm 1).
        above: least score of a box that takes part; the floor of Soft-NMS is the option `floor` of `nms`.
        kwargs: of `FasterRCNN`, whose `box_loss` and `beta` play no part.
    """

    class_heads = (*FasterRCNN.class_heads, "deviations")

    def __init__(self, classes, nms="soft_voting", above=0.05, **kwargs):
        super().__init__(classes, nms=nms, above=above, **kwargs)
        # Section 3.2: so small that the loss begins as smooth L1.
        start = keras.initializers.RandomNormal(stddev=1e-4)
        self.deviations = FC(4 * (self.num_classes + 1), kernel_initializer=start)

    def head(self, features, boxes, training=False):
        """As in `FastRCNN`, with `alphas` [B, R, 1 + K, 4] float32: the logarithms of the offsets' variances."""
        x = self.described(features, boxes, training)
        # Classes fastest, as in all heads whose rows are kept by class name.
        alphas = tf.reshape(
            tf.cast(self.deviations(x), tf.float32), [tf.shape(x)[0], tf.shape(x)[1], 4, self.num_classes + 1]
        )
        return {**self.predictor(x), "alphas": tf.transpose(alphas, [0, 1, 3, 2])}

    def multi_task(self, head, regions):
        """As in `FastRCNN`, with the KL loss of the true class' offsets."""
        offsets, alphas = (region_losses.of_class(head[name], regions) for name in ("deltas", "alphas"))
        distance = tf.reduce_sum(kl(offsets, alphas, encode(regions.boxes, regions.targets)), axis=-1)
        return region_losses.entropy(head["logits"], regions), tf.where(regions.positive, distance, 0.0)

    def detections(self, outputs, images):
        proposals = tf.expand_dims(outputs["proposals"], 2)
        head = self.head(outputs["features"], outputs["proposals"])
        boxes, scores = decode.classified(
            decode_sides(proposals, head["deltas"][:, :, 1:]), head["logits"], outputs["proposals"],
            decode.windows(images),
        )  # fmt: skip
        # From offsets to square pixels, in which boxes of different proposals compare.
        variances = tf.exp(head["alphas"][:, :, 1:]) * tf.square(_sides(proposals) / WEIGHT)
        return suppress.within_classes(
            boxes, scores, self.suppression, self.above, self.limit, self.nms, variances=variances
        )


def kl(offsets, alphas, targets):
    """The Kullback-Leibler loss of a normal distribution and a target without spread (section 3.2, equations 6 and 9).

    exp(-alpha) * smooth L1 + alpha / 2, whose parabola ends at 1.

    Args:
        offsets, alphas: [...] float: means, and logarithms of variances.
        targets: [...] float.

    Returns:
        [...] losses.
    """
    return tf.exp(-alphas) * losses.smooth_l1(offsets, targets, beta=1.0) + alphas / 2


def encode(proposals, boxes):
    """Encodes boxes as offsets of their sides from a proposal's, in its own sides (section 3.1, equation 1).

    Args:
        proposals, boxes: [..., 4] float, pixels.

    Returns:
        [..., 4] offsets of x1, y1, x2, y2, times `WEIGHT`. Sides of less than 1e-6 pixels count as 1e-6.
    """
    return WEIGHT * (boxes - proposals) / tf.maximum(_sides(proposals), 1e-6)


def decode_sides(proposals, offsets):
    """Decodes offsets to boxes, the inverse of `encode`; arguments and result as there."""
    return proposals + tf.clip_by_value(offsets / WEIGHT, -FURTHEST, FURTHEST) * _sides(proposals)


def _sides(boxes):
    """Width, height, width, height of boxes [..., 4]."""
    low, high = tf.split(boxes, 2, axis=-1)
    return tf.concat([high - low, high - low], axis=-1)
