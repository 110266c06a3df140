"""Sampling of anchors and regions to learn from: balanced at random, in order, or the hardest."""

from typing import NamedTuple

import tensorflow as tf

from kerasdet import boxes as box
from kerasdet.targets import assign

ORDERS = ("random", "first")

# What is drawn in a step. Folded in with twice the seed: the last one lies far from all others.
ANCHORS, REGIONS, JITTER = 0, 1, 2**30


def keys(order, ids, step, count, kind=ANCHORS, seed=0):
    """Numbers by which `balanced` chooses, greatest first.

    Args:
        order: "random" draws them from the seed, the image's id and the step alone, so that a step can be repeated and
            two replicas draw like one; "first" prefers lower places.
        ids: [B] int64, of the images.
        step: scalar integer, of the training.
        count: A, places per image, an int or scalar tensor.
        kind: `ANCHORS`, `REGIONS` or `JITTER`, which draw different numbers in one step.
        seed: of the run, an int.

    Returns:
        [B, A] float32.
    """
    if order == "first":
        places = tf.cast(count, tf.float32) - tf.range(tf.cast(count, tf.float32))
        return tf.broadcast_to(places, [tf.shape(ids)[0], count])
    seeds = tf.stack([tf.cast(ids % 2**31, tf.int32), tf.fill(tf.shape(ids), tf.cast(step % 2**31, tf.int32))], axis=1)

    def draw(picture):
        folded = tf.random.experimental.stateless_fold_in(picture, 2 * seed + kind)
        return tf.random.stateless_uniform([count], folded)

    return tf.map_fn(draw, seeds, fn_output_signature=tf.float32)


def balanced(positive, negative, keys, count, fraction):
    """Chooses positives up to a share of the sample, and fills it with negatives (Faster R-CNN, section 3.1.3).

    Args:
        positive, negative: [B, A] bool: what to choose from.
        keys: [B, A] float32, at least 0: see `keys`.
        count: size of an image's sample at most, but for equal keys, which are taken together.
        fraction: greatest share of positives, 0...1.

    Returns:
        Two masks [B, A] bool: the chosen positives and negatives.
    """
    positive = _greatest(positive, keys, tf.fill(tf.shape(keys)[:1], int(count * fraction)), int(count * fraction))
    taken = tf.reduce_sum(tf.cast(positive, tf.int32), axis=1)
    return positive, _greatest(negative, keys, count - taken, count)


def _greatest(mask, keys, counts, most):
    """Of the masked places the `counts` [B] with the greatest keys, `most` of them at most."""
    values = tf.math.top_k(tf.where(mask, keys, -1.0), tf.minimum(most, tf.shape(keys)[1])).values
    values = tf.pad(values, [[0, 0], [0, 1]], constant_values=-1.0)
    least = tf.gather(values, tf.clip_by_value(counts - 1, 0, tf.shape(values)[1] - 1), batch_dims=1)[:, None]
    return mask & (keys >= least) & (counts > 0)[:, None]


def hard_negatives(losses, allowed, counts):
    """Chooses each image's anchors of greatest loss, of equal ones the first (SSD, section 2.2).

    Args:
        losses: [B, A] float32.
        allowed: [B, A] bool: anchors to choose from.
        counts: [B] int32: how many; where fewer are allowed, all of them.

    Returns:
        [B, A] bool.
    """
    losses = tf.stop_gradient(tf.where(allowed, losses, -1.0))
    order = tf.argsort(losses, axis=1, direction="DESCENDING", stable=True)
    return allowed & (tf.argsort(order, axis=1) < counts[:, None])


class Regions(NamedTuple):
    """Regions that the second stage learns from, positives first; by loss in OHEM.

    boxes: [B, N, 4] float32, pixels; zeros where padded.
    objects: [B, N] int32: the object's number, or -1 for background.
    targets: [B, N, 4] float32: the object's box, or the region itself where there is none.
    classes: [B, N] int32: the object's class, or -1.
    valid: [B, N] bool: False where padded.
    """

    boxes: tf.Tensor
    objects: tf.Tensor
    targets: tf.Tensor
    classes: tf.Tensor
    valid: tf.Tensor

    @property
    def positive(self):
        """[B, N] bool: regions with an object."""
        return self.valid & (self.objects >= 0)

    def taken(self, rows, valid):
        """The regions of some rows.

        Args:
            rows: [B, n] int32.
            valid: [B, n] bool.

        Returns:
            `Regions` of n rows per image.
        """
        parts = (tf.gather(part, rows, batch_dims=1) for part in self)
        boxes, objects, targets, classes, there = parts
        return Regions(tf.where(valid[..., None], boxes, 0.0), objects, targets, classes, there & valid)

    def positives(self):
        """The regions with an object, as many rows an image as the image with most of them has, and one at least."""
        count = tf.reduce_max(tf.reduce_sum(tf.cast(self.positive, tf.int32), axis=1))
        values, rows = tf.math.top_k(
            tf.cast(self.positive, tf.int32), tf.minimum(tf.maximum(count, 1), tf.shape(self.valid)[1])
        )
        return self.taken(rows, values > 0)


def candidates(proposals, objects, images, positive, negative=0.0):
    """Matches proposals, and the objects themselves, with objects (Fast R-CNN, section 2.3).

    Args:
        proposals: [B, R, 4] float32, pixels, zero area where padded.
        objects, images: the dicts of `contract`.
        positive: least IoU of a region with its object, 0...1.
        negative: least IoU of background with some object; 0.1 in Fast R-CNN, which so takes the harder ones.

    Returns:
        `Regions`: R + M of them. Padding, regions under a crowd, and background below `negative` are not valid.
    """
    real = (objects["classes"] >= 0) & ~objects["crowds"]
    boxes = tf.concat([proposals, tf.where(real[..., None], objects["boxes"], 0.0)], axis=1)
    match = assign.by_iou(boxes, objects, positive, positive, low_quality=False, windows=images["windows"])
    valid = match.counted & (box.area(boxes) > 0) & (images["ids"] >= 0)[:, None]
    if negative > 0:
        near = assign.by_iou(boxes, objects, negative, negative, low_quality=False)
        valid &= near.positive
    return Regions(boxes, tf.maximum(match.indices, -1), match.boxes, match.classes, valid)


def regions(given, keys, count, fraction):
    """Draws a balanced sample of regions (Fast R-CNN, section 2.3: 64 an image, a quarter of them with an object).

    Args:
        given: `Regions` to draw from, as `candidates` gives them.
        keys: see `keys`.
        count, fraction: as in `balanced`.

    Returns:
        `Regions`: at most `count`, the positives first, each kind in its order.
    """
    positive, negative = balanced(given.positive, given.valid & ~given.positive, keys, count, fraction)
    order = 2 * tf.cast(positive, tf.int32) + tf.cast(negative, tf.int32)
    values, rows = tf.math.top_k(order, tf.minimum(count, tf.shape(order)[1]))
    return given.taken(rows, values > 0)
