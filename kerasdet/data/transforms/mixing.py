"""One picture of several: the objects of all are kept.

`another` is a function from a seed [2] int32 to one more sample of the data set.
"""

import tensorflow as tf

from kerasdet.data.transforms import geometry


def mosaic(sample, seed, another, size, probability=1.0, bound=0.2, fill=114.0):
    """Four pictures around a random point of a square (YOLOv4, arXiv:2004.10934, section 3.3).

    Each is scaled so that its longer side is `size`; of each a random part as large as its quarter is seen.

    Args:
        sample, seed: see `transforms`.
        another: see the module.
        size: side of the square, pixels.
        probability: of a mosaic; else the picture stays as it is.
        bound: the point lies at `bound` ... 1 - `bound` of the side; 0.2 in YOLOv4's release.
        fill: gray value beside a picture that is smaller than its quarter, 0...255.
    """

    def mixed():
        samples = [sample, *(another(tf.random.fold_in(seed, i)) for i in (1, 2, 3))]
        uniform = tf.random.stateless_uniform([5, 2], tf.random.fold_in(seed, 4))
        low = tf.cast(tf.round(size * (bound + (1 - 2 * bound) * uniform[4])), tf.int32)
        high = size - low
        parts = []
        for i, (row, column) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            quarter = tf.stack([(low, high)[row][0], (low, high)[column][1]])
            part = _part(samples[i], size, quarter, uniform[i], fill)
            corner = tf.cast(tf.stack([low[1] * column, low[0] * row]), tf.float32)
            parts.append(geometry.moved(part, tf.concat([[1.0, 1.0], corner], 0)))
        rows = [tf.concat([part["pixels"] for part in pair], 1) for pair in (parts[:2], parts[2:])]
        return _joined(parts, tf.concat(rows, 0))

    return _perhaps(mixed, sample, seed, probability)


def mixup(sample, seed, another, alpha=1.5, probability=1.0):
    """Two pictures laid over each other (mixup for detection, Zhang et al., arXiv:1902.04103, section 3.1).

    Both keep their size and start at the upper left corner of a black canvas that holds them. The weight of the first
    is drawn from Beta(alpha, alpha); objects of both count fully.

    Args:
        sample, seed: see `transforms`.
        another: see the module.
        alpha: of the Beta distribution.
        probability: of a mixture; else the picture stays as it is.
    """

    def mixed():
        samples = [sample, another(tf.random.fold_in(seed, 1))]
        size = tf.maximum(*(tf.shape(one["pixels"])[:2] for one in samples))
        start = tf.zeros([2], tf.int32)
        one, two = (tf.cast(geometry.cut(s["pixels"], start, size, 0), tf.float32) for s in samples)
        gammas = tf.random.stateless_gamma([2], tf.random.fold_in(seed, 2), alpha)
        weight = gammas[0] / (gammas[0] + gammas[1])
        return _joined(samples, weight * one + (1 - weight) * two)

    return _perhaps(mixed, sample, seed, probability)


def _part(sample, size, window, uniform, fill):
    """A random window (height, width) of the sample scaled to `size`."""
    old = tf.cast(tf.shape(sample["pixels"])[:2], tf.float32)
    own = tf.maximum(tf.round(tf.cast(window, tf.float32) * tf.reduce_max(old) / size), 1.0)
    start = tf.round((old - own) * uniform)
    sample = geometry.crop(sample, tf.cast(start, tf.int32), tf.cast(own, tf.int32), fill)
    return geometry.resized(sample, window)


def _joined(samples, pixels):
    """The objects and proposals of all samples on one picture."""
    shared = [key for key in (*geometry.OBJECTS, "proposals") if key in samples[0]]
    objects = {key: tf.concat([sample[key] for sample in samples], 0) for key in shared}
    return {**samples[0], **objects, "pixels": pixels}


def _perhaps(mixed, sample, seed, probability):
    plain = {**sample, "pixels": tf.cast(sample["pixels"], tf.float32)}
    return tf.cond(geometry.chance(seed, probability), mixed, lambda: plain)
