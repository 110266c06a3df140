"""Augmentations of one picture and its objects.

A sample is a dict of `pixels` [H, W, 3] uint8 or float32 and of the unbatched entries of the objects dict. A transform
takes the sample, a seed [2] int32 and its settings, and returns the changed sample; the same seed gives the same
change.
A pipeline names its transforms as tuples: `("flip", 0.5)` calls `flip(sample, seed, 0.5)`.
"""

import tensorflow as tf

from kerasdet import boxes as box

# An object of which less than this share stays in the picture is ignored instead of learned.
VISIBLE = 0.3


def apply(sample, transforms, seed):
    """Runs transforms in order, each with a seed of its own.

    Args:
        sample: the sample dict.
        transforms: tuples of a transform's name and its settings.
        seed: [2] int32.

    Returns:
        The changed sample.

    Raises:
        ValueError: a name is unknown.
    """
    for i, (name, *settings) in enumerate(transforms):
        if name not in TRANSFORMS:
            raise ValueError(f"transforms must be some of {sorted(TRANSFORMS)}, got {name!r}.")
        sample = TRANSFORMS[name](sample, tf.random.fold_in(seed, i), *settings)
    return sample


def flip(sample, seed, probability=0.5):
    """Mirrors left and right. `keypoint_pairs` [P] int32 of the sample names each point's mirror image."""
    return tf.cond(_chance(seed, probability), lambda: _mirror(sample, 1), lambda: sample)


def flip_vertical(sample, seed, probability=0.5):
    """Mirrors top and bottom."""
    return tf.cond(_chance(seed, probability), lambda: _mirror(sample, 0), lambda: sample)


def zoom(sample, seed, low, high, fill=114.0):
    """Scale jitter and crop: cuts a random window whose sides are 1 / s of the picture's, s log-uniform in low...high.

    With s below 1 the window is larger than the picture and is filled up. The model's resize then brings the window to
    the network's size, so that pixels are resampled once.

    Args:
        sample, seed: see the module.
        low, high: range of the magnification s.
        fill: gray value outside the picture, 0...255.
    """
    uniform = tf.random.stateless_uniform([3], seed)
    scale = low * (high / low) ** uniform[0]
    size = tf.cast(tf.shape(sample["pixels"])[:2], tf.float32)
    window = tf.maximum(tf.round(size / scale), 1.0)
    start = tf.cast(tf.round((size - window) * uniform[1:]), tf.int32)
    return crop(sample, start, tf.cast(window, tf.int32), fill)


def color(sample, seed, brightness=0.125, contrast=0.5, saturation=0.5, hue=0.05):
    """Changes brightness, contrast, saturation and hue at random, each by up to its share.

    Args:
        sample, seed: see the module.
        brightness: greatest shift, as a share of 255.
        contrast, saturation: factors are drawn from 1 - x ... 1 + x.
        hue: greatest shift, as a share of the circle.
    """
    shares = tf.unstack(tf.random.stateless_uniform([4], seed, -1.0, 1.0))
    pixels = tf.cast(sample["pixels"], tf.float32) / 255.0 + brightness * shares[0]
    pixels = tf.clip_by_value(tf.image.adjust_contrast(pixels, 1 + contrast * shares[1]), 0.0, 1.0)
    pixels = tf.image.adjust_saturation(pixels, 1 + saturation * shares[2])
    pixels = tf.image.adjust_hue(pixels, hue * shares[3])
    return {**sample, "pixels": tf.clip_by_value(pixels, 0.0, 1.0) * 255.0}


TRANSFORMS = {"flip": flip, "flip_vertical": flip_vertical, "zoom": zoom, "color": color}


def crop(sample, start, size, fill=114.0):
    """Cuts a window, which may reach over the picture's border.

    Objects are clipped to the window. Of those that lose more than 1 - `VISIBLE` of their area, what is left is
    ignored.

    Args:
        sample: the sample dict.
        start: (y, x) of the window's corner, int32 pixels, may be negative.
        size: (height, width) of the window.
        fill: value outside the picture, 0...255.

    Returns:
        The changed sample.
    """
    pixels = tf.cast(sample["pixels"], tf.float32)
    low, high = tf.maximum(start, 0), tf.minimum(start + size, tf.shape(pixels)[:2])
    inside = pixels[low[0] : high[0], low[1] : high[1]]
    before, after = low - start, start + size - high
    pixels = tf.pad(inside, [[before[0], after[0]], [before[1], after[1]], [0, 0]], constant_values=fill)
    shift = tf.cast(tf.stack([start[1], start[0]]), tf.float32)
    shifts = tf.concat([shift, shift], axis=0)
    height, width = tf.unstack(tf.cast(size, tf.float32))
    moved = sample["boxes"] - shifts
    clipped = box.clip(moved, tf.stack([0.0, 0.0, width, height]))
    visible = tf.math.divide_no_nan(box.area(clipped), box.area(moved))
    sample = {
        **sample,
        "pixels": pixels,
        "boxes": clipped,
        "crowds": sample["crowds"] | ((visible < VISIBLE) & (visible > 0)),
    }
    if "mask_frames" in sample:
        sample["mask_frames"] -= shifts
    if "keypoints" in sample:
        points, seen = tf.split(sample["keypoints"], [2, 1], axis=-1)
        points -= shift
        outside = tf.reduce_any((points < 0) | (points > [width, height]), axis=-1, keepdims=True)
        sample["keypoints"] = tf.concat([points, tf.where(outside, 0.0, seen)], axis=-1)
    return _only(sample, visible > 0)


def _only(sample, keep):
    """Keeps the chosen objects; here, unbatched, no shape depends on their number."""
    objects = ("boxes", "classes", "crowds", "masks", "mask_frames", "keypoints")
    return {k: tf.boolean_mask(v, keep) if k in objects else v for k, v in sample.items()}


def _mirror(sample, axis):
    """Mirrors along an axis of the picture: 0 turns it upside down, 1 left to right."""
    side = tf.cast(tf.shape(sample["pixels"])[axis], tf.float32)
    x = 1 - axis

    def mirrored(boxes):
        parts = tf.unstack(boxes, num=4, axis=-1)
        parts[x], parts[x + 2] = side - parts[x + 2], side - parts[x]
        return tf.stack(parts, axis=-1)

    sample = {**sample, "pixels": tf.reverse(sample["pixels"], [axis]), "boxes": mirrored(sample["boxes"])}
    if "masks" in sample:
        sample["masks"] = tf.reverse(sample["masks"], [axis + 1])
        sample["mask_frames"] = mirrored(sample["mask_frames"])
    if "keypoints" in sample:
        parts = tf.unstack(sample["keypoints"], num=3, axis=-1)
        parts[x] = tf.where(parts[2] > 0, side - parts[x], parts[x])
        points = tf.stack(parts, axis=-1)
        sample["keypoints"] = tf.gather(points, sample["keypoint_pairs"], axis=1) if axis == 1 else points
    return sample


def _chance(seed, probability):
    return tf.random.stateless_uniform([], seed) < probability
