"""Joins several pictures into one and keeps the objects of all.

`another` is a function from a seed [2] int32 to another sample of the data set.
"""

import tensorflow as tf

from kerasdet.data.transforms import geometry


def mosaic(sample, seed, another, size, probability=1.0, bound=0.2, fill=114.0):
    """Joins four pictures around a random point of a square (YOLOv4, arXiv:2004.10934, section 3.3).

    Each picture is scaled so that its longer side is `size`, and a random part as large as its quarter is used.

    Args:
        sample, seed: see `transforms`.
        another: see the module.
        size: side of the square, pixels.
        probability: probability of a mosaic; otherwise the picture is unchanged.
        bound: the point lies at `bound` ... 1 - `bound` of the side; 0.2 in YOLOv4's release.
        fill: gray value around a picture that is smaller than its quarter, 0...255.
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
    """Blends two pictures (mixup for detection, Zhang et al., arXiv:1902.04103, section 3.1).

    Both keep their size and start at the upper left corner of a black canvas that holds them. The weight of the first
    is drawn from Beta(alpha, alpha). The objects of both count fully.

    Args:
        sample, seed: see `transforms`.
        another: see the module.
        alpha: parameter of the Beta distribution.
        probability: probability of mixing; otherwise the picture is unchanged.
    """

    def mixed():
        samples = [sample, another(tf.random.fold_in(seed, 1))]
        size = tf.maximum(*(tf.shape(s["pixels"])[:2] for s in samples))
        start = tf.zeros([2], tf.int32)
        first, second = (tf.cast(geometry.cut(s["pixels"], start, size, 0), tf.float32) for s in samples)
        # X / (X + Y) of two Gamma(alpha, 1) variables is Beta(alpha, alpha), which TensorFlow cannot draw statelessly.
        gammas = tf.random.stateless_gamma([2], tf.random.fold_in(seed, 2), alpha)
        weight = gammas[0] / (gammas[0] + gammas[1])
        return _joined(samples, weight * first + (1 - weight) * second)

    return _perhaps(mixed, sample, seed, probability)


def _part(sample, size, window, uniform, fill):
    """A random window (height, width) of the sample scaled to `size`."""
    picture_size = tf.cast(tf.shape(sample["pixels"])[:2], tf.float32)
    # Crop at the original scale, then resize: only pixels that are used are resampled.
    crop_size = tf.maximum(tf.round(tf.cast(window, tf.float32) * tf.reduce_max(picture_size) / size), 1.0)
    start = tf.round((picture_size - crop_size) * uniform)
    sample = geometry.crop(sample, tf.cast(start, tf.int32), tf.cast(crop_size, tf.int32), fill)
    return geometry.resized(sample, window)


def _joined(samples, pixels):
    """The objects and proposals of all samples on one picture."""
    shared = [key for key in (*geometry.OBJECTS, "proposals") if key in samples[0]]
    objects = {key: tf.concat([sample[key] for sample in samples], 0) for key in shared}
    return {**samples[0], **objects, "pixels": pixels}


def _perhaps(mixed, sample, seed, probability):
    unchanged = {**sample, "pixels": tf.cast(sample["pixels"], tf.float32)}
    return tf.cond(geometry.chance(seed, probability), mixed, lambda: unchanged)
