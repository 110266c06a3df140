"""Boxes of predictions on a grid of cells (YOLO9000, Redmon & Farhadi, CVPR 2017, section 2: direct location)."""

import tensorflow as tf

from kerasdet import ops

# exp of a larger number makes boxes of no use, and soon infinite ones.
MOST = 10.0


def across_classes(boxes, objectness, scores, iou, above, limit):
    """Suppresses by objectness whatever the class; what stays keeps the scores of all of its classes.

    Args:
        boxes: [B, N, 4] float32, pixels.
        objectness: [B, N] float32.
        scores: [B, N, K] float32.
        iou: boxes that overlap one of greater objectness by more are dropped.
        above: only boxes with an objectness above this are candidates.
        limit: boxes per image.

    Returns:
        boxes [B, limit, 4] and scores [B, limit, K], 0 where there is none.
    """
    rows, _, valid = ops.nms(boxes, objectness, None, iou, above, limit)
    scores = tf.where(valid[..., None], tf.gather(scores, rows, batch_dims=1), 0.0)
    return tf.gather(boxes, rows, batch_dims=1), scores


def predictions(raw, anchors):
    """A head's map by slots: row, column, anchor.

    Args:
        raw: [B, H, W, A * (5 + K)] float32; of every anchor x, y, w, h, objectness, classes.
        anchors: A.

    Returns:
        [B, H * W * A, 5 + K].
    """
    return tf.reshape(raw, [tf.shape(raw)[0], -1, raw.shape[3] // anchors])


def grid(raw):
    """(rows, columns) of a map [B, H, W, C]: ints if static, else scalar tensors."""
    return [raw.shape[axis] or tf.shape(raw)[axis] for axis in (1, 2)]


def cell(grid, size):
    """Width and height of a cell, [2] float32 pixels.

    Args:
        grid: (rows, columns), ints or scalar tensors.
        size: (height, width) of the image, pixels.
    """
    return tf.stack([tf.cast(size[i], tf.float32) / tf.cast(grid[i], tf.float32) for i in (1, 0)])


def locations(centers, scales, grid, size, shapes):
    """Boxes from their place in their cell and their size relative to their anchor (YOLOv3, section 2.1).

    Args:
        centers: [B, S, 2] float32, x and y in their cells, 0...1.
        scales: [B, S, 2] float32, the logarithm of the sides over those of the anchor.
        grid: (rows, columns).
        size: (height, width) of the image, pixels.
        shapes: [A, 2] float32, widths and heights of the anchors, pixels.

    Returns:
        [B, S, 4] float32, pixels.
    """
    shapes = tf.convert_to_tensor(shapes)
    rows, columns = grid
    x, y = tf.meshgrid(tf.range(columns, dtype=tf.float32), tf.range(rows, dtype=tf.float32))
    corners = tf.repeat(tf.reshape(tf.stack([x, y], axis=-1), [-1, 2]), shapes.shape[0], axis=0)
    sides = tf.tile(shapes, [rows * columns, 1]) * tf.exp(tf.minimum(scales, MOST))
    center = (centers + corners) * cell(grid, size)
    return tf.concat([center - sides / 2, center + sides / 2], axis=-1)
