"""Losses of box deltas, and of boxes based on their overlap."""

import tensorflow as tf

from kerasdet import boxes, coders
from kerasdet.losses import widen

BOX_LOSSES = ("smooth_l1", "iou", "giou", "diou", "ciou")

_EPSILON = 1e-7


def smooth_l1(predictions, targets, beta):
    """The smooth L1 loss (Girshick, ICCV 2015, equation 3): d^2 / (2 beta) below beta, |d| - beta / 2 above.

    Args:
        predictions: [...] float.
        targets: [...] of the same shape.
        beta: |d| at which the parabola ends; 0 gives the L1 loss, whose gradient at 0 is 0.

    Returns:
        [...] losses.
    """
    predictions, targets = widen(predictions, targets)
    distance = tf.abs(predictions - targets)
    if beta == 0:
        return distance
    inner = tf.minimum(distance, beta)
    return inner * (distance - inner / 2) / beta


def huber(predictions, targets, delta):
    """The Huber loss: d^2 / 2 up to `delta`, delta * (|d| - delta / 2) above. Arguments as in `smooth_l1`."""
    return delta * smooth_l1(predictions, targets, beta=delta)


def iou(predictions, targets):
    """The IoU loss 1 - IoU, box by box.

    Args:
        predictions: [..., 4] boxes in pixels.
        targets: [..., 4] boxes in pixels.

    Returns:
        [...] losses in 0...1.
    """
    return 1 - boxes.matched_iou(*widen(predictions, targets), _EPSILON)


def giou(predictions, targets):
    """The generalized IoU loss 1 - GIoU, box by box (Rezatofighi et al., CVPR 2019, algorithm 2).

    Args:
        predictions: [..., 4] boxes in pixels.
        targets: [..., 4] boxes in pixels.

    Returns:
        [...] losses in 0...2.
    """
    return 1 - boxes.matched_giou(*widen(predictions, targets), _EPSILON)


def diou(predictions, targets):
    """The distance IoU loss 1 - DIoU, box by box (Zheng et al., AAAI 2020, equation 7).

    Args:
        predictions: [..., 4] boxes in pixels.
        targets: [..., 4] boxes in pixels.

    Returns:
        [...] losses in 0...2.
    """
    return 1 - boxes.matched_diou(*widen(predictions, targets), _EPSILON)


def ciou(predictions, targets):
    """The complete IoU loss 1 - CIoU, box by box (Zheng et al., AAAI 2020, equation 10).

    Args:
        predictions: [..., 4] boxes in pixels.
        targets: [..., 4] boxes in pixels.

    Returns:
        [...] losses in 0...3.
    """
    return 1 - boxes.matched_ciou(*widen(predictions, targets), _EPSILON)


def coded(anchors, deltas, targets, kind, beta, weights=(1.0, 1.0, 1.0, 1.0)):
    """The box loss of anchors or regions by its name.

    Args:
        anchors: [..., 4] float32, pixels.
        deltas: [..., 4] float32, encoded by the coder with `weights`.
        targets: [..., 4] float32: the objects' boxes, pixels.
        kind: one of `BOX_LOSSES`: smooth L1 of the deltas, or a loss of the decoded boxes.
        beta: of smooth L1.
        weights: of the coder.

    Returns:
        [...] losses.
    """
    if kind == "smooth_l1":
        return tf.reduce_sum(smooth_l1(deltas, coders.encode(anchors, targets, weights), beta), axis=-1)
    overlap = {"iou": iou, "giou": giou, "diou": diou, "ciou": ciou}[kind]
    return overlap(coders.decode(anchors, deltas, weights), targets)
