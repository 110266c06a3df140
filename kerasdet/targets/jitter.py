"""Boxes around the objects, spread evenly over their overlap, for what learns to judge a box (IoU-Net)."""

import tensorflow as tf

from kerasdet import boxes as box

# Least overlap of a box with its object (IoU-Net, Jiang et al., ECCV 2018, section 3.1), and parts that the rest of the
# range is cut into. The paper says only that boxes are spread evenly; parts, and how boxes are moved, are our own.
LEAST, PARTS = 0.5, 10
# Furthest that a corner is moved, in sides of the box: far enough for every overlap from `LEAST` on.
FURTHEST = 0.5
# Numbers that a box is made of.
DRAWS = 6


def around(objects, windows, draws):
    """Moves the corners of objects drawn at random, each box as far as it draws.

    Args:
        objects: the objects dict of `contract`.
        windows: [B, 4] float32, to which the boxes are clipped, pixels.
        draws: [B, N, DRAWS] float32, uniform in 0...1.

    Returns:
        boxes [B, N, 4] float32, pixels; the objects' numbers [B, N] int32; and the overlaps [B, N] float32, -1 where an
        image has no object. Crowds and padding are no objects.
    """
    real = (objects["classes"] >= 0) & ~objects["crowds"]
    count = tf.reduce_sum(tf.cast(real, tf.int32), axis=1)[:, None]
    # The real ones first; one row more, because there may be none.
    order = tf.pad(tf.argsort(tf.cast(~real, tf.int32), axis=1, stable=True), [[0, 0], [0, 1]])
    place, reach, *moves = tf.unstack(draws, axis=-1)
    place = tf.minimum(tf.cast(place * tf.cast(count, tf.float32), tf.int32), tf.maximum(count - 1, 0))
    numbers = tf.gather(order, place, batch_dims=1)
    own = tf.gather(tf.pad(objects["boxes"], [[0, 0], [0, 1], [0, 0]]), numbers, batch_dims=1)
    low, high = tf.split(own, 2, axis=-1)
    shift = FURTHEST * reach[..., None] * (2.0 * tf.stack(moves, axis=-1) - 1.0)
    moved = box.clip(own + shift * tf.concat([high - low] * 2, axis=-1), windows)
    return moved, numbers, tf.where(count > 0, box.matched_iou(moved, own), -1.0)


def evenly(overlaps, draws):
    """Draws boxes uniformly by their overlap: one of the parts of `LEAST`...1 that have any, then one of its boxes.

    Args:
        overlaps: [B, N] float; boxes below `LEAST` are left out.
        draws: [B, n, 2] float, uniform in 0...1: of the part, and of the box in it.

    Returns:
        rows [B, n] int32 of the boxes, and valid [B] bool: whether an image has any.
    """
    part = tf.cast(tf.minimum(tf.floor((overlaps - LEAST) / (1 - LEAST) * PARTS), PARTS - 1), tf.int32)
    part = tf.where(overlaps >= LEAST, part, PARTS)
    sizes = tf.reduce_sum(tf.one_hot(part, PARTS, dtype=tf.int32), axis=1)
    filled = tf.cast(sizes > 0, tf.int32)
    some = tf.reduce_sum(filled, axis=1, keepdims=True)
    which, member = tf.unstack(draws, axis=-1)
    which = tf.minimum(_floor(which, some), tf.maximum(some - 1, 0))
    # The part that has so many filled ones before it.
    before = tf.where(filled > 0, tf.cumsum(filled, axis=1, exclusive=True), -1)
    chosen = tf.argmax(tf.cast(before[:, None] == which[..., None], tf.int32), axis=2, output_type=tf.int32)
    size, start = (tf.gather(v, chosen, batch_dims=1) for v in (sizes, tf.cumsum(sizes, axis=1, exclusive=True)))
    member = tf.minimum(_floor(member, size), tf.maximum(size - 1, 0))
    order = tf.argsort(part, axis=1, stable=True)
    return tf.gather(order, tf.minimum(start + member, tf.shape(order)[1] - 1), batch_dims=1), some[:, 0] > 0


def _floor(share, count):
    return tf.cast(share * tf.cast(count, share.dtype), tf.int32)
