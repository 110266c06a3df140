"""Losses of heat maps, and of what is regressed in cells of points (CornerNet, Law & Deng, ECCV 2018, section 3.2)."""

import tensorflow as tf

from kerasdet.losses import boxes as box_losses
from kerasdet.losses import widen
from kerasdet.targets.assign import over_replicas

# The releases keep probabilities this far from 0 and 1; beyond there is no gradient.
NEAREST = 1e-4
# The releases add this to the number of objects.
SMALL = 1e-4


def focal(logits, targets, alpha=2.0, beta=4.0):
    """The focal loss of cells, of which those near an object count less (equation 1); only targets of 1 are positive.

    Args:
        logits: [...] float.
        targets: [...] 0...1, of the same shape.
        alpha: focusing exponent.
        beta: exponent of a background cell's weight, 1 - target.

    Returns:
        [...] losses, to be divided by the number of objects.
    """
    logits, targets = widen(logits, targets)
    sure = tf.clip_by_value(tf.sigmoid(logits), NEAREST, 1 - NEAREST)
    unsure = tf.clip_by_value(tf.sigmoid(-logits), NEAREST, 1 - NEAREST)
    positive = tf.math.log(sure) * unsure**alpha
    negative = tf.math.log(unsure) * sure**alpha * (1 - targets) ** beta
    return -tf.where(targets == 1, positive, negative)


def focal_of_stacks(stacks, targets, hidden, ignored=None):
    """The mean over stacks of the focal loss, each divided by the number of peaks of the global batch (equation 1).

    Args:
        stacks: list of logits [B, H, W, K].
        targets: [B, H, W, K] 0...1.
        hidden: [B, H, W] bool: these cells are no background to learn; peaks in them are learned.
        ignored: None, or [B, H, W, K] bool: what is not learned at all. Peaks in it count in the divisor, as in
            CornerNet-Lite's release.

    Returns:
        Scalar.
    """
    peak = targets == 1
    counted = peak | ~hidden[..., None]
    if ignored is not None:
        counted &= ~ignored
    count = tf.maximum(over_replicas(tf.reduce_sum(tf.cast(peak, tf.float32))), 1.0)
    each = [tf.reduce_sum(tf.where(counted, focal(logits, targets), 0.0)) for logits in stacks]
    return tf.add_n(each) / (len(stacks) * count)


def mean_of_stacks(stacks, cells, targets, mask, **options):
    """The mean over stacks of `mean` in the cells of points.

    Args:
        stacks: list of maps [B, H, W, D].
        cells: [B, M, 2] int32, column and row.
        targets, mask, options: as in `mean`.

    Returns:
        Scalar.
    """
    return tf.add_n([mean(at(said, cells), targets, mask, **options) for said in stacks]) / len(stacks)


def summed(parts):
    """Sums dicts of terms, scalars, that have the same names."""
    return {name: tf.add_n([part[name] for part in parts]) for name in parts[0]}


def at(maps, cells):
    """What a map says in the cells of points.

    Args:
        maps: [B, H, W, D].
        cells: [B, M, 2] int32, column and row.

    Returns:
        [B, M, D].
    """
    columns, rows = tf.unstack(cells, axis=-1)
    flat = tf.reshape(maps, [tf.shape(maps)[0], -1, maps.shape[-1]])
    return tf.gather(flat, rows * tf.shape(maps)[2] + columns, batch_dims=1)


def mean(said, targets, mask, beta=0.0, by_object=False):
    """The mean distance of what is regressed in the cells of points, over the global batch.

    Args:
        said, targets: [B, M, D] float32.
        mask: [B, M, D] or [B, M, 1] bool, which of them are learned.
        beta: of smooth L1; 0 for L1.
        by_object: whether it is divided by the number of objects, not by that of numbers.

    Returns:
        Scalar; as in the releases a little less than the mean.
    """
    mask = tf.broadcast_to(mask, tf.shape(said))
    distance = tf.where(mask, box_losses.smooth_l1(said, targets, beta), 0.0)
    counted = mask[..., :1] if by_object else mask
    return tf.reduce_sum(distance) / (over_replicas(tf.reduce_sum(tf.cast(counted, distance.dtype))) + SMALL)
