"""Changes of color and brightness; objects are not affected."""

import tensorflow as tf


def color(sample, seed, brightness=0.125, contrast=0.5, saturation=0.5, hue=0.05):
    """Changes brightness, contrast, saturation and hue at random, each by up to its setting.

    Args:
        sample, seed: see `transforms`.
        brightness: largest shift, as a fraction of 255.
        contrast, saturation: factors are drawn from 1 - x ... 1 + x.
        hue: largest shift, as a fraction of the color circle.
    """
    shares = tf.unstack(tf.random.stateless_uniform([4], seed, -1.0, 1.0))
    pixels = tf.cast(sample["pixels"], tf.float32) / 255.0 + brightness * shares[0]
    pixels = tf.clip_by_value(tf.image.adjust_contrast(pixels, 1 + contrast * shares[1]), 0.0, 1.0)
    pixels = tf.image.adjust_saturation(pixels, 1 + saturation * shares[2])
    pixels = tf.image.adjust_hue(pixels, hue * shares[3])
    return {**sample, "pixels": tf.clip_by_value(pixels, 0.0, 1.0) * 255.0}


def hsv(sample, seed, hue=0.015, saturation=0.7, value=0.4):
    """Shifts the hue and scales saturation and value, as in the later YOLO releases; the defaults are theirs.

    Args:
        sample, seed: see `transforms`.
        hue: largest shift, as a fraction of the color circle.
        saturation, value: factors are drawn from 1 - x ... 1 + x.
    """
    shares = tf.unstack(tf.random.stateless_uniform([3], seed, -1.0, 1.0))
    # The value has the range of the pixels, 0...255. Channels are split because multiplying by a vector of three takes
    # far longer.
    angle, purity, light = tf.split(tf.image.rgb_to_hsv(tf.cast(sample["pixels"], tf.float32)), 3, axis=-1)
    angle += hue * shares[0]
    angle -= tf.floor(angle)
    purity = tf.minimum(purity * (1 + saturation * shares[1]), 1.0)
    light = tf.minimum(light * (1 + value * shares[2]), 255.0)
    return _with(sample, tf.image.hsv_to_rgb(tf.concat([angle, purity, light], axis=-1)))


def distort(sample, seed, hue=0.1, saturation=1.5, exposure=1.5):
    """Darknet's color changes; the defaults are those of YOLOv2 and YOLOv3 (YOLOv1's are without hue).

    Args:
        sample, seed: see `transforms`.
        hue: largest shift, as a fraction of the color circle.
        saturation, exposure: factors of saturation and value are drawn from 1 ... x, and as often are one over it.
    """
    uniform = tf.unstack(tf.random.stateless_uniform([5], seed))
    factors = [1 + (most - 1) * one for most, one in zip((saturation, exposure), uniform[1:3], strict=True)]
    factors = [tf.where(one < 0.5, factor, 1 / factor) for factor, one in zip(factors, uniform[3:], strict=True)]
    angle, purity, light = tf.split(tf.image.rgb_to_hsv(tf.cast(sample["pixels"], tf.float32)), 3, axis=-1)
    angle += hue * (2 * uniform[0] - 1)
    angle -= tf.floor(angle)
    purity, light = tf.minimum(purity * factors[0], 1.0), tf.minimum(light * factors[1], 255.0)
    return _with(sample, tf.image.hsv_to_rgb(tf.concat([angle, purity, light], axis=-1)))


def photometric(sample, seed, brightness=32.0, contrast=0.5, saturation=0.5, hue=36.0, probability=0.5, shuffle=0.0):
    """SSD's color distortion (arXiv:1512.02325, section 2.2, in the order of its release).

    The order is brightness, contrast, saturation, hue or, with equal probability, contrast last. Each change is applied
    or not.

    Args:
        sample, seed: see `transforms`.
        brightness: largest shift, of 255.
        contrast, saturation: factors are drawn from 1 - x ... 1 + x; contrast scales from black.
        hue: largest turn, degrees. The release counts 18 of OpenCV's 8-bit steps of two degrees.
        probability: probability of each change.
        shuffle: probability that the channels trade places; 0 in the release.
    """
    lots = tf.unstack(tf.random.stateless_uniform([6], seed))
    shares = tf.unstack(tf.random.stateless_uniform([4], tf.random.fold_in(seed, 1), -1.0, 1.0))
    late = tf.where(lots[5] < 0.5, 1.0, 0.0)  # added to a lot, 1 forbids
    steps = (
        (lots[0], lambda pixels: pixels + brightness * shares[0]),
        (lots[1] + late, lambda pixels: pixels * (1 + contrast * shares[1])),
        (lots[2], lambda pixels: tf.image.adjust_saturation(pixels, 1 + saturation * shares[2])),
        (lots[3], lambda pixels: tf.image.adjust_hue(pixels, hue / 360.0 * shares[3])),
        (lots[1] + 1 - late, lambda pixels: pixels * (1 + contrast * shares[1])),
    )
    pixels = tf.cast(sample["pixels"], tf.float32)
    for lot, step in steps:

        def changed(step=step, pixels=pixels):
            return tf.clip_by_value(step(pixels), 0.0, 255.0)

        pixels = tf.cond(lot < probability, changed, lambda pixels=pixels: pixels)
    order = tf.random.experimental.index_shuffle(tf.range(3), tf.random.fold_in(seed, 2), 2)
    pixels = tf.cond(lots[4] < shuffle, lambda: tf.gather(pixels, order, axis=-1), lambda: pixels)
    return _with(sample, pixels)


def _with(sample, pixels):
    """The sample with new pixels in its own dtype: 8-bit pixels stay 8-bit, which makes later transforms faster."""
    dtype = sample["pixels"].dtype
    return {**sample, "pixels": tf.saturate_cast(tf.round(pixels) if dtype.is_integer else pixels, dtype)}
