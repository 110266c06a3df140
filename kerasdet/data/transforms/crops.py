"""Random windows of a picture, smaller or larger than the picture."""

import tensorflow as tf

from kerasdet import boxes as box
from kerasdet.data.transforms import geometry


def zoom(sample, seed, low, high, fill=114.0):
    """Scale jitter and crop: crops a window whose sides are 1 / s of the picture's, s log-uniform in low...high.

    With s below 1 the window is larger than the picture and is padded. The model's resize then scales the window to
    the network's size, so pixels are resampled only once.

    Args:
        sample, seed: see `transforms`.
        low, high: range of the magnification s.
        fill: gray value outside the picture, 0...255.
    """
    uniform = tf.random.stateless_uniform([3], seed)
    scale = low * (high / low) ** uniform[0]
    size = _size(sample)
    window = tf.maximum(tf.round(size / scale), 1.0)
    return geometry.crop(sample, _whole((size - window) * uniform[1:]), _whole(window), fill)


def jitter(sample, seed, amount=0.3, aspect=1.0, fill=127.5):
    """Darknet's jitter of YOLOv2 and YOLOv3: another aspect ratio, at a random place of a canvas.

    Both sides of the picture change by up to `amount`; what has the ratio of the changed sides is placed on the
    smallest canvas of the network's aspect ratio that holds it.

    Args:
        sample, seed: see `transforms`.
        amount: largest change of the sides, as a fraction of each.
        aspect: width over height of the network's image.
        fill: gray value of the canvas, 0...255.
    """
    uniform = tf.random.stateless_uniform([4], seed)
    height, width = tf.unstack(_size(sample))
    changed = 1 + amount * (2 * uniform[:2] - 1)
    ratio = width * changed[0] / (height * changed[1])
    new = tf.where(ratio < aspect, tf.stack([height, height * ratio]), tf.stack([width / ratio, width]))
    canvas = tf.where(ratio < aspect, tf.stack([height, height * aspect]), tf.stack([width / aspect, width]))
    new, canvas = tf.maximum(_whole(new), 1), tf.maximum(_whole(canvas), 1)
    canvas = tf.maximum(canvas, new)
    start = -_whole(tf.cast(canvas - new, tf.float32) * uniform[2:])
    return geometry.crop(geometry.resized(sample, new), start, canvas, fill)


def jitter_sides(sample, seed, amount=0.2, fill=127.5):
    """Darknet's jitter of YOLOv1: each side of the picture moves in or out on its own (section 2.2 of the paper).

    Args:
        sample, seed: see `transforms`.
        amount: largest move, as a fraction of the picture's side.
        fill: gray value outside the picture, 0...255; the release repeats the border.
    """
    moves = amount * tf.random.stateless_uniform([2, 2], seed, -1.0, 1.0) * _size(sample)
    start, end = _whole(moves[0]), tf.shape(sample["pixels"])[:2] - _whole(moves[1])
    return geometry.crop(sample, start, tf.maximum(end - start, 1), fill, visible=0.0)


def scale_jitter(sample, seed, size, low=0.1, high=2.0, fill=114.0):
    """Large-scale jitter: resizes the longer side to s * size, s uniform in low...high, then crops or pads to a square.

    A larger picture is cropped at random; a smaller one is padded at the right and the bottom. Pixels are resampled
    once, and only those that stay; a model whose `resize` is this size does not resample them. EfficientDet (Tan et
    al., CVPR 2020, section 5.1) and copy-paste (Ghiasi et al., CVPR 2021, section 3) use 0.1...2.

    Args:
        sample, seed: see `transforms`.
        size: side of the result, pixels.
        low, high: range of s.
        fill: gray value outside the picture, 0...255.
    """
    uniform = tf.random.stateless_uniform([3], seed)
    old = _size(sample)
    scale = (low + (high - low) * uniform[0]) * size / tf.reduce_max(old)
    window = tf.minimum(tf.maximum(tf.round(size / scale), 1.0), old)
    new = tf.clip_by_value(tf.round(window * scale), 1.0, float(size))
    sample = geometry.crop(sample, _whole((old - window) * uniform[1:]), _whole(window))
    sample = geometry.resized(sample, _whole(new))
    sample = geometry.crop(sample, tf.zeros([2], tf.int32), tf.constant([size, size]), fill)
    return {**sample, "pixels": tf.ensure_shape(sample["pixels"], [size, size, 3])}


def expand(sample, seed, ratio=4.0, probability=0.5, fill=(123, 117, 104)):
    """Places the picture at random on a canvas up to `ratio` times as wide and high (SSD, arXiv:1512.02325, 3.6).

    Args:
        sample, seed: see `transforms`.
        ratio: the sides of the canvas over those of the picture are uniform in 1...ratio.
        probability: probability of a canvas.
        fill: red, green and blue of the canvas, 0...255; the mean of ImageNet in SSD's release.
    """

    def expanded():
        uniform = tf.random.stateless_uniform([3], tf.random.fold_in(seed, 1))
        size = _size(sample)
        canvas = tf.floor(size * (1 + (ratio - 1) * uniform[0]))
        return geometry.crop(sample, _whole((size - canvas) * uniform[1:]), _whole(canvas), fill)

    return tf.cond(geometry.chance(seed, probability), expanded, lambda: sample)


def sample_crop(sample, seed, overlaps=(0.1, 0.3, 0.5, 0.7, 0.9), scale=(0.3, 1.0), aspect=(0.5, 2.0), trials=50):
    """SSD's sampler (arXiv:1512.02325, section 2.2): the whole picture, or a window that overlaps an object enough.

    For each minimum IoU with some object, and for no minimum at all, the first of `trials` random windows that reaches
    it is a candidate. One of the candidates and the whole picture is chosen with equal probability. Objects whose
    center lies outside are dropped, the others clipped. As in SSD's release, a picture without objects is not cropped.

    Args:
        sample, seed: see `transforms`.
        overlaps: minimum IoU of a window with some object.
        scale: range of the square root of the window's share of the picture.
        aspect: range of width over height, relative to the picture's.
        trials: number of windows tried for each overlap.
    """
    size = _size(sample)
    least = tf.constant([0.0, *overlaps])
    windows = _windows(size, tf.random.stateless_uniform([len(overlaps) + 1, trials, 4], seed), scale, aspect)
    # Every window passes the minimum of 0, except in a picture without objects, where the maximum is minus infinity.
    best = tf.reduce_max(box.iou(windows, sample["boxes"]), -1)
    enough = best >= least[:, None]
    first = tf.gather(windows, tf.argmax(tf.cast(enough, tf.int32), axis=1), batch_dims=1)
    whole = tf.stack([0.0, 0.0, size[1], size[0]])
    choices = tf.concat([whole[None], first], 0)
    found = tf.concat([[True], tf.reduce_any(enough, axis=1)], 0)
    lots = tf.random.stateless_uniform([len(overlaps) + 2], tf.random.fold_in(seed, 1))
    window = choices[tf.argmax(tf.where(found, lots, -1.0))]

    centers = box.to_cxcywh(sample["boxes"])[:, :2]
    inside = tf.reduce_all((centers > window[:2]) & (centers < window[2:]), axis=-1)
    sample = geometry.only(sample, inside | sample["crowds"])
    start, end = _whole(tf.reverse(window[:2], [0])), _whole(tf.reverse(window[2:], [0]))
    return geometry.crop(sample, start, end - start, visible=0.0)


def _windows(size, uniform, scale, aspect):
    """Random windows [..., 4] of whole pixels inside a picture, from `uniform` [..., 4] in 0...1."""
    share = scale[0] + (scale[1] - scale[0]) * uniform[..., 0]
    # Bounded as in SSD's release, so that a window is never wider or higher than the picture.
    narrow, wide = tf.maximum(aspect[0], share**2), tf.minimum(aspect[1], share**-2)
    root = tf.sqrt(narrow + (wide - narrow) * uniform[..., 1])
    sides = tf.clip_by_value(tf.round(tf.stack([share / root, share * root], -1) * size), 1.0, size)
    start = tf.round((size - sides) * uniform[..., 2:])
    return tf.concat([tf.reverse(start, [-1]), tf.reverse(start + sides, [-1])], -1)


def _size(sample):
    """(height, width), float32."""
    return tf.cast(tf.shape(sample["pixels"])[:2], tf.float32)


def _whole(numbers):
    return tf.cast(tf.round(numbers), tf.int32)
