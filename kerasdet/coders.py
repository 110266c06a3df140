"""The box coder of the R-CNN family and of SSD: boxes as deltas from their anchors.

For a box with center x, y and size w, h and its anchor xa, ya, wa, ha (Girshick et al., CVPR 2014, appendix C):

    dx = weight_x * (x - xa) / wa          dw = weight_w * log(w / wa)
    dy = weight_y * (y - ya) / ha          dh = weight_h * log(h / ha)

The weights bring the targets to about unit deviation; Fast R-CNN and SSD use `WEIGHTS`, RPN and RetinaNet none.
"""

import math

import tensorflow as tf

from kerasdet.boxes import from_cxcywh, to_cxcywh

# As in Detectron, a decoded box is at most as much larger than its anchor as 1000 pixels are than 16.
LOG_MAX = math.log(1000 / 16)

# Of Fast R-CNN and SSD: one over the deviations 0.1 and 0.2 of the targets, which are SSD's variances.
WEIGHTS = (10.0, 10.0, 5.0, 5.0)

_MIN_SIDE = 1e-6


def encode(anchors, boxes, weights=(1.0, 1.0, 1.0, 1.0)):
    """Encodes boxes as deltas from anchors.

    Args:
        anchors: [..., A, 4] boxes in pixels.
        boxes: [..., A, 4] boxes in pixels; leading dimensions are broadcast.
        weights: the four weights of x, y, w, h.

    Returns:
        [..., A, 4] deltas. Sides below 1e-6 pixels count as 1e-6, so that padding has finite deltas too.
    """
    anchor_center, anchor_size = _center_and_size(anchors)
    center, size = _center_and_size(boxes)
    shift = (center - anchor_center) / anchor_size
    scale = tf.math.log(size / anchor_size)
    return tf.concat([shift, scale], axis=-1) * weights


def decode(anchors, deltas, weights=(1.0, 1.0, 1.0, 1.0), clip=LOG_MAX):
    """Decodes deltas to boxes, the inverse of `encode`.

    Args:
        anchors: [..., A, 4] boxes in pixels.
        deltas: [..., A, 4] of the same anchors; leading dimensions are broadcast.
        weights: the four weights of x, y, w, h.
        clip: largest log(w / wa) and log(h / ha), so that the exponential stays finite; None for no limit.

    Returns:
        [..., A, 4] boxes in pixels, in the anchors' dtype, not clipped to the image.
    """
    anchor_center, anchor_size = tf.split(to_cxcywh(anchors), 2, axis=-1)
    shift, scale = tf.split(tf.cast(deltas, anchors.dtype) / weights, 2, axis=-1)
    if clip is not None:
        scale = tf.minimum(scale, clip)
    center = anchor_center + shift * anchor_size
    size = anchor_size * tf.exp(scale)
    return from_cxcywh(tf.concat([center, size], axis=-1))


def _center_and_size(boxes):
    center, size = tf.split(to_cxcywh(boxes), 2, axis=-1)
    return center, tf.maximum(size, _MIN_SIDE)
