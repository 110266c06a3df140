"""Boxes: other formats, clipping, areas and overlaps.

A box is x1, y1, x2, y2 in continuous pixel coordinates: its width is x2 - x1. All functions take float32 or float64 and
return the same dtype. A negative side counts as 0, so a reversed box has no area, and no overlap is ever NaN.

`iou`, `giou`, `diou` and `ciou` compare every box of one set with every box of another. The functions named `matched_`
compare two sets box by box.
"""

import math

import tensorflow as tf

_EPSILON = 1e-7


def to_cxcywh(boxes):
    """Converts [..., 4] boxes to center x, center y, width, height."""
    low, high = tf.split(boxes, 2, axis=-1)
    return tf.concat([(low + high) / 2, high - low], axis=-1)


def from_cxcywh(boxes):
    """Converts [..., 4] center x, center y, width, height to boxes."""
    center, size = tf.split(boxes, 2, axis=-1)
    return tf.concat([center - size / 2, center + size / 2], axis=-1)


def to_xywh(boxes):
    """Converts [..., 4] boxes to x1, y1, width, height, the format of COCO."""
    low, high = tf.split(boxes, 2, axis=-1)
    return tf.concat([low, high - low], axis=-1)


def from_xywh(boxes):
    """Converts [..., 4] x1, y1, width, height to boxes."""
    low, size = tf.split(boxes, 2, axis=-1)
    return tf.concat([low, low + size], axis=-1)


def to_yxyx(boxes):
    """Converts [..., 4] boxes to y1, x1, y2, x2, the format of `tf.image`."""
    x1, y1, x2, y2 = tf.split(boxes, 4, axis=-1)
    return tf.concat([y1, x1, y2, x2], axis=-1)


def from_yxyx(boxes):
    """Converts [..., 4] y1, x1, y2, x2 to boxes."""
    return to_yxyx(boxes)


def clip(boxes, windows):
    """Moves corners outside a window to the window's border.

    Args:
        boxes: [..., N, 4] boxes.
        windows: [..., 4] boxes, one per set of N; x2 and y2 belong to the window.

    Returns:
        [..., N, 4] boxes.
    """
    low, high = tf.split(tf.expand_dims(windows, -2), 2, axis=-1)
    return tf.minimum(tf.maximum(boxes, tf.concat([low, low], -1)), tf.concat([high, high], -1))


def area(boxes):
    """Returns the areas [...] in square pixels of [..., 4] boxes."""
    width, height = _sides(boxes)
    return width * height


def is_large(boxes, min_size):
    """Returns a mask [...] of the [..., 4] boxes whose sides are both at least `min_size` pixels."""
    low, high = tf.split(boxes, 2, axis=-1)
    return tf.reduce_all(high - low >= min_size, axis=-1)


def intersection(a, b):
    """Returns the areas [..., N, M] in square pixels that boxes a [..., N, 4] and b [..., M, 4] share."""
    return _intersection(*_pairs(a, b))


def ioa(a, b):
    """Returns the shares [..., N, M] in 0...1 of each box a [..., N, 4] that each box b [..., M, 4] covers.

    COCO uses it to compare detections with crowd regions.
    """
    return tf.math.divide_no_nan(intersection(a, b), tf.expand_dims(area(a), -1))


def iou(a, b):
    """Returns the intersections over unions [..., N, M] in 0...1 of boxes a [..., N, 4] and b [..., M, 4]."""
    return matched_iou(*_pairs(a, b))


def giou(a, b):
    """Returns the generalized IoUs [..., N, M] of boxes a [..., N, 4] and b [..., M, 4]; see `matched_giou`."""
    return matched_giou(*_pairs(a, b))


def diou(a, b):
    """Returns the distance IoUs [..., N, M] of boxes a [..., N, 4] and b [..., M, 4]; see `matched_diou`."""
    return matched_diou(*_pairs(a, b))


def ciou(a, b):
    """Returns the complete IoUs [..., N, M] of boxes a [..., N, 4] and b [..., M, 4]; see `matched_ciou`."""
    return matched_ciou(*_pairs(a, b))


def matched_iou(a, b, epsilon=0.0):
    """Intersection over union, box by box.

    Args:
        a: [..., 4] boxes.
        b: [..., 4] boxes; the shapes are broadcast.
        epsilon: added to the union, in square pixels.

    Returns:
        [...] in 0...1; 0 if the union is 0.
    """
    shared, union = _overlap(a, b)
    return tf.math.divide_no_nan(shared, union + epsilon)


def matched_giou(a, b, epsilon=0.0):
    """Generalized IoU, box by box (Rezatofighi et al., CVPR 2019, algorithm 1): IoU - (hull - union) / hull.

    Args:
        a: [..., 4] boxes.
        b: [..., 4] boxes; the shapes are broadcast.
        epsilon: added to the union and to the area of the hull, in square pixels.

    Returns:
        [...] in -1...1; a ratio whose denominator is 0 counts as 0.
    """
    shared, union = _overlap(a, b)
    width, height = _hull_sides(a, b)
    hull = width * height
    return tf.math.divide_no_nan(shared, union + epsilon) - tf.math.divide_no_nan(hull - union, hull + epsilon)


def matched_diou(a, b, epsilon=0.0):
    """Distance IoU, box by box (Zheng et al., AAAI 2020, equation 7): IoU - (center distance / diagonal of hull)^2.

    Args:
        a: [..., 4] boxes.
        b: [..., 4] boxes; the shapes are broadcast.
        epsilon: added to the union, in square pixels.

    Returns:
        [...] in -1...1.
    """
    return matched_iou(a, b, epsilon) - _center_distance(a, b)


def matched_ciou(a, b, epsilon=0.0):
    """Complete IoU, box by box (Zheng et al., AAAI 2020, equations 8 to 11): DIoU - alpha * v.

    v = 4 / pi^2 * (atan(w / h) - atan(w' / h'))^2 compares the aspect ratios. Its weight alpha = v / (1 - IoU + v) is
    treated as a constant in the gradient.

    Args:
        a: [..., 4] boxes.
        b: [..., 4] boxes; the shapes are broadcast.
        epsilon: added to the union, in square pixels.

    Returns:
        [...] in -2...1.
    """
    overlap = matched_iou(a, b, epsilon)
    v = 4 / math.pi**2 * tf.square(_aspect(a) - _aspect(b))
    alpha = tf.stop_gradient(tf.math.divide_no_nan(v, 1 - overlap + v + _EPSILON))
    return overlap - _center_distance(a, b) - alpha * v


def _pairs(a, b):
    return tf.expand_dims(a, -2), tf.expand_dims(b, -3)


def _sides(boxes):
    x1, y1, x2, y2 = tf.unstack(boxes, axis=-1)
    return tf.maximum(x2 - x1, 0), tf.maximum(y2 - y1, 0)


def _intersection(a, b):
    ax1, ay1, ax2, ay2 = tf.unstack(a, axis=-1)
    bx1, by1, bx2, by2 = tf.unstack(b, axis=-1)
    width = tf.maximum(tf.minimum(ax2, bx2) - tf.maximum(ax1, bx1), 0)
    height = tf.maximum(tf.minimum(ay2, by2) - tf.maximum(ay1, by1), 0)
    return width * height


def _overlap(a, b):
    shared = _intersection(a, b)
    return shared, area(a) + area(b) - shared


def _hull_sides(a, b):
    """The sides of the smallest boxes that enclose both."""
    ax1, ay1, ax2, ay2 = tf.unstack(a, axis=-1)
    bx1, by1, bx2, by2 = tf.unstack(b, axis=-1)
    width = tf.maximum(tf.maximum(ax2, bx2) - tf.minimum(ax1, bx1), 0)
    height = tf.maximum(tf.maximum(ay2, by2) - tf.minimum(ay1, by1), 0)
    return width, height


def _center_distance(a, b):
    """The squared distance of the centers over the squared diagonal of the hull."""
    ax, ay, _, _ = tf.unstack(to_cxcywh(a), axis=-1)
    bx, by, _, _ = tf.unstack(to_cxcywh(b), axis=-1)
    width, height = _hull_sides(a, b)
    return (tf.square(ax - bx) + tf.square(ay - by)) / (tf.square(width) + tf.square(height) + _EPSILON)


def _aspect(boxes):
    """The angle whose tangent is width / height; 0 for a box without width."""
    width, height = _sides(boxes)
    return tf.atan2(width, tf.where(width > _EPSILON, height, 1))
