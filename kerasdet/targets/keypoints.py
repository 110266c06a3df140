"""Targets of the keypoint branch: one cell of a region's heat map for every keypoint."""

import tensorflow as tf


def cells(keypoints, rois, size):
    """Finds each keypoint's cell (Mask R-CNN, He et al., ICCV 2017, section 5).

    Args:
        keypoints: [..., P, 3] float32: x, y in pixels and visibility, of each region's object.
        rois: [..., 4] float32, pixels.
        size: cells per side.

    Returns:
        [..., P] int32: row * size + column, 0 if not valid; and [..., P] bool: whether the keypoint is labeled and
        lies in the region. The region's right and lower borders belong to the last cells.
    """
    x1, y1, x2, y2 = tf.unstack(rois[..., None, :], axis=-1)
    x, y, seen = tf.unstack(keypoints, axis=-1)

    def cell(value, low, high):
        place = tf.floor((value - low) * tf.math.divide_no_nan(tf.cast(size, tf.float32), high - low))
        return tf.cast(tf.where(value == high, size - 1.0, place), tf.int32)

    column, row = cell(x, x1, x2), cell(y, y1, y2)
    valid = (column >= 0) & (row >= 0) & (column < size) & (row < size) & (seen > 0)
    return tf.where(valid, row * size + column, 0), valid
