"""Which picture, and which size, comes when: pure functions of the seed and the place in an endless stream."""

import numpy as np
import tensorflow as tf


def shuffled(place, count, seed):
    """The number of the picture at a place: pass p over the data is the p-th stateless shuffle.

    Args:
        place: scalar int64 tensor, 0 or more.
        count: pictures.
        seed: of the stream.

    Returns:
        Scalar int64 tensor, 0...count - 1.
    """
    order = tf.stack([tf.constant(seed, tf.int64), place // count])
    return tf.random.experimental.index_shuffle(
        place % count, tf.cast(order, tf.int32), tf.constant(count - 1, tf.int64)
    )


class Shuffle:
    """An endless stream of pictures, pass after pass, whose batches hold pictures of one orientation.

    A batch of wide and tall pictures is padded to a square: in batches of 16 of COCO's pictures that is 43 % of all
    pixels, grouped by orientation 15 %. Tall batches are as frequent as tall pictures and evenly spaced: before batch b
    there are floor(b * share) of them, so no batch depends on the previous ones.

    Args:
        tall: [N] bool, which pictures are higher than wide.
        batch_size: pictures per batch. Where an orientation has fewer, pictures are not grouped.
        seed: of the stream.
        factors: None, or [N] of `repeat_factors`.
    """

    def __init__(self, tall, batch_size, seed, factors=None):
        self.batch_size, self.seed, self.factors = batch_size, seed, factors
        tall = np.asarray(tall, bool)
        rows = [np.flatnonzero(~tall), np.flatnonzero(tall)]
        self.groups = rows if min(map(len, rows)) >= batch_size else [np.arange(len(tall))]
        weights = np.ones(len(tall)) if factors is None else factors
        self.share = weights[self.groups[-1]].sum() / weights.sum()

    def __call__(self, place):
        """The number of the picture at a place.

        Args:
            place: scalar int64 tensor, 0 or more.

        Returns:
            Scalar int64 tensor, 0...N - 1.
        """
        if len(self.groups) == 1:
            return self._drawn(0, place)
        batch, offset = place // self.batch_size, place % self.batch_size
        before, after = (tf.cast(tf.floor(tf.cast(b, tf.float64) * self.share), tf.int64) for b in (batch, batch + 1))
        return tf.cond(
            after > before,
            lambda: self._drawn(1, before * self.batch_size + offset),
            lambda: self._drawn(0, (batch - before) * self.batch_size + offset),
        )

    def _drawn(self, group, place):
        rows, seed = self.groups[group], ~self.seed if group else self.seed
        if self.factors is None:
            return tf.gather(tf.constant(rows, tf.int64), shuffled(place, len(rows), seed))
        return tf.gather(tf.constant(rows, tf.int64), repeated(place, self.factors[rows], seed))


def repeat_factors(dataset, threshold):
    """How often a pass shows each picture, so that rare classes are seen (LVIS, arXiv:1908.03195, appendix B).

    A class in a share f of the pictures has r = max(1, sqrt(threshold / f)), a picture the most of its classes. Crowds
    do not count.

    Args:
        dataset: a `Dataset`.
        threshold: share of the pictures below which a class is rare, 0...1.

    Returns:
        [N] float64, 1 or more.
    """
    held = np.zeros([len(dataset), len(dataset.classes)], bool)
    for row, record in zip(held, dataset.records, strict=True):
        row[record.classes[~record.crowds]] = True
    share = held.mean(axis=0)
    factors = np.sqrt(np.maximum(threshold / np.where(share > 0, share, 1.0), 1.0))
    return np.where(held, factors, 1.0).max(axis=1, initial=1.0)


def repeated(place, factors, seed):
    """As `shuffled`, but a pass shows every picture as often as its factor says.

    Each pass rounds a fraction up with a probability of its size, else down: picture i lies on a line from the sum of
    the factors before it to that after it, and is shown once for each step of 1 that ends on its part; where the steps
    begin is drawn for the pass. So all passes have the same length, and no place needs the passes before it.

    Args:
        place: scalar int64 tensor, 0 or more.
        factors: [N] of `repeat_factors`.
        seed: of the stream.

    Returns:
        Scalar int64 tensor, 0...N - 1.
    """
    ends = np.cumsum(factors)
    count = int(np.ceil(ends[-1] - 1e-6))
    ends *= count / ends[-1]  # a whole number of steps a pass; no factor gets smaller
    number = tf.stack([tf.constant(seed, tf.int64), place // count])
    begin = tf.random.stateless_uniform([], number, dtype=tf.float64)
    step = tf.cast(shuffled(place, count, seed), tf.float64) + begin
    return tf.minimum(tf.searchsorted(ends, step[None], side="right", out_type=tf.int64)[0], len(ends) - 1)


def switched(step, every, count, seed):
    """One of `count` sizes for a step, drawn again every `every` steps.

    Args:
        step: scalar int64 tensor.
        every: steps between draws.
        count: sizes.
        seed: of the stream.

    Returns:
        Scalar int32 tensor, 0...count - 1.
    """
    number = tf.stack([tf.constant(seed, tf.int64), step // every])
    return tf.random.stateless_uniform([], number, 0, count, tf.int32)
