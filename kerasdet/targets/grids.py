"""Assignment of objects to the cells of a grid: an object is learned where its center lies (YOLOv1, section 2).

A slot is what may learn one object: a cell, or an anchor of a cell.
"""

import numpy as np
import tensorflow as tf

from kerasdet import boxes as box
from kerasdet import ops
from kerasdet.targets import assign


def real(objects):
    """[B, M] bool: the objects with a slot of their own, which are no crowds, no padding and have an area."""
    return (objects["classes"] >= 0) & ~objects["crowds"] & box.is_large(objects["boxes"], 1e-6)


def cells(boxes, grid, size):
    """The cell that the center of each box lies in; on the border of the image the last one.

    Args:
        boxes: [B, M, 4] float32, pixels.
        grid: (rows, columns).
        size: (height, width) of the image, pixels.

    Returns:
        rows and columns [B, M] int32, and where in the cell the center lies, x and y [B, M, 2] in 0...1.
    """
    grid = tf.cast(tf.stack([grid[1], grid[0]]), tf.float32)
    center = box.to_cxcywh(boxes)[..., :2] * grid / tf.cast(tf.stack([size[1], size[0]]), tf.float32)
    corner = tf.clip_by_value(tf.floor(center), 0.0, grid - 1.0)
    columns, rows = tf.unstack(tf.cast(corner, tf.int32), axis=-1)
    return rows, columns, center - corner


def centers(grid, size):
    """Centers of the cells, [rows * columns, 2] x and y in pixels; arguments as in `cells`."""
    rows, columns = (
        (tf.range(count, dtype=tf.float32) + 0.5) * tf.cast(side, tf.float32) / tf.cast(count, tf.float32)
        for count, side in zip(grid, size, strict=True)
    )
    return tf.reshape(tf.stack(tf.meshgrid(columns, rows), axis=-1), [-1, 2])


def hidden(objects, images, grid, size, anchors=1):
    """Which slots lie, by the center of their cell, under a crowd or outside their picture: no background to learn.

    Args:
        objects, images: the dicts of `contract`.
        grid, size: as in `cells`.
        anchors: slots of a cell.

    Returns:
        [B, S] bool.
    """
    of_cells = assign.hidden(centers(grid, size), objects, images["windows"])
    return tf.repeat(of_cells, anchors, axis=1)


def best_shape(boxes, shapes):
    """The shape that overlaps a box most if both have one center; of equal ones the first (YOLOv3, section 2.1).

    Args:
        boxes: [B, M, 4] float32, pixels.
        shapes: [A, 2] widths and heights, pixels, or [B, M, A, 2].

    Returns:
        [B, M] int32.
    """
    sides = (boxes[..., 2:] - boxes[..., :2])[:, :, None]
    shared = tf.reduce_prod(tf.minimum(sides, shapes), axis=-1)
    union = tf.reduce_prod(sides, axis=-1) + tf.reduce_prod(shapes, axis=-1) - shared
    return tf.argmax(tf.math.divide_no_nan(shared, union), axis=-1, output_type=tf.int32)


def owners(slots, count, first=False):
    """Which object each slot learns: of several the last one, as in darknet, or the first one.

    Args:
        slots: [B, M] int32, the slot of each object; -1 for none.
        count: S, the number of slots.
        first: whether the first object stays.

    Returns:
        [B, S] int32, the object's number; -1 for none.
    """
    batch, most = tf.unstack(tf.shape(slots))
    numbers = tf.broadcast_to(tf.range(most), [batch, most])
    chosen = tf.where(slots >= 0, numbers, most if first else -1)
    places = tf.reshape(tf.maximum(slots, 0) + tf.range(batch)[:, None] * count, [-1])
    pick = tf.math.unsorted_segment_min if first else tf.math.unsorted_segment_max
    found = tf.reshape(pick(tf.reshape(chosen, [-1]), places, batch * count), [batch, count])
    return tf.where((found >= 0) & (found < most), found, -1)


def all_classes(slots, classes, count, num_classes):
    """The classes of all objects of each slot, [B, S, K] of 0 and 1; `classes` [B, M], others as in `owners`."""
    batch = tf.shape(slots)[0]
    ones = tf.one_hot(tf.where(slots >= 0, classes, -1), num_classes)
    places = tf.reshape(tf.maximum(slots, 0) + tf.range(batch)[:, None] * count, [-1])
    found = tf.math.unsorted_segment_max(tf.reshape(ones, [-1, num_classes]), places, batch * count)
    return tf.reshape(tf.maximum(found, 0.0), [batch, count, num_classes])


def of_slots(values, owned):
    """Values of objects [B, M, ...] for their slots [B, S, ...]; zeros where a slot is nobody's.

    Args:
        values: [B, M, ...] float32.
        owned: [B, S] int32, of `owners`.
    """
    padded = tf.pad(values, [[0, 0], [0, 1]] + [[0, 0]] * (len(values.shape) - 2))
    return tf.gather(padded, tf.where(owned >= 0, owned, tf.shape(values)[1]), batch_dims=1)


def kinds(objects, owned):
    """The class of each slot's object, [B, S] int32, -1 where it is nobody's; `owned` [B, S] of `owners`."""
    padded = tf.pad(objects["classes"], [[0, 0], [0, 1]], constant_values=-1)
    return tf.gather(padded, tf.where(owned >= 0, owned, tf.shape(padded)[1] - 1), batch_dims=1)


def near_objects(predicted, objects, iou):
    """Which predicted boxes overlap some object by more than a threshold: they are no background to learn.

    Args:
        predicted: [B, S, 4] float32, pixels; no gradient flows through them.
        objects: the objects dict of `contract`.
        iou: the threshold.

    Returns:
        [B, S] bool.
    """
    above = float(np.nextafter(np.float32(iou), np.float32(2)))  # the match asks for "at least", YOLO for "more"
    return ops.match_by_iou(tf.stop_gradient(predicted), objects["boxes"], real(objects), above, above, False) >= 0
