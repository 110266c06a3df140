"""Losses of embeddings, by which corners find each other (CornerNet, Law & Deng, ECCV 2018, section 3.3)."""

import tensorflow as tf

from kerasdet.losses import widen
from kerasdet.losses.heatmaps import SMALL


def pull(first, second, real):
    """Draws the two corners of an object together (equation 4).

    Args:
        first, second: [B, M] float, what the two corners say.
        real: [B, M] bool.

    Returns:
        [B] losses, means over the objects of each image.
    """
    first, second = widen(first, second)
    middle = (first + second) / 2
    distance = tf.square(first - middle) + tf.square(second - middle)
    count = tf.reduce_sum(tf.cast(real, first.dtype), axis=1) + SMALL
    return tf.reduce_sum(tf.where(real, distance, 0.0), axis=1) / count


def push(first, second, real, margin=1.0):
    """Drives the objects of an image apart (equation 5).

    As in the release each object also meets itself, whose constant share is taken off again: of a single object,
    whose pairs are none, 1 is left, without a gradient.

    Args:
        first, second, real: as in `pull`.
        margin: distance from which two objects are far enough apart.

    Returns:
        [B] losses, means over the pairs of each image.
    """
    first, second = widen(first, second)
    middle = (first + second) / 2
    count = tf.reduce_sum(tf.cast(real, first.dtype), axis=1)[:, None, None]
    lacking = tf.nn.relu(margin - tf.abs(middle[:, :, None] - middle[:, None]))
    lacking = (lacking - margin / (count + SMALL)) / ((count - 1) * count + SMALL)
    return tf.reduce_sum(tf.where(real[:, :, None] & real[:, None], lacking, 0.0), axis=[1, 2])
