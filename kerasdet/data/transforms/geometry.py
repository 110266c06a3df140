"""Crops, flips and turns: pixels move without resampling, and boxes, masks and keypoints move with them."""

import tensorflow as tf

from kerasdet import boxes as box
from kerasdet import images as image

# An object is ignored instead of learned if less than this share of it stays in the picture.
VISIBLE = 0.3

OBJECTS = ("boxes", "classes", "crowds", "masks", "mask_frames", "keypoints")
# Entries that hold boxes. Proposals are never dropped; those outside the picture get zero area.
BOXES = {"boxes", "mask_frames", "proposals"}


def flip(sample, seed, probability=0.5):
    """Mirrors left and right. `keypoint_pairs` [P] int32 of the sample names each point's mirror image."""
    return tf.cond(chance(seed, probability), lambda: _reflected(sample, 1), lambda: sample)


def flip_vertical(sample, seed, probability=0.5):
    """Mirrors top and bottom; like any mirroring, this turns a left ear into a right one."""
    return tf.cond(chance(seed, probability), lambda: _reflected(sample, 0), lambda: sample)


def rotate(sample, seed):
    """Turns counterclockwise by 0, 90, 180 or 270 degrees with equal probability."""
    turns = tf.random.stateless_uniform([], seed, 0, 4, tf.int32)
    steps = (
        (turns % 2 == 1, _transposed),
        ((turns == 1) | (turns == 2), lambda sample: _mirrored(sample, 0)),
        (turns >= 2, lambda sample: _mirrored(sample, 1)),
    )
    for needed, step in steps:
        sample = tf.cond(needed, lambda step=step, sample=sample: step(sample), lambda sample=sample: sample)
    return sample


def window(sample, seed, x1, y1, x2, y2, fill=114.0):
    """Crops the window x1, y1, x2, y2, whole pixels, which may extend beyond the border; see `crop`."""
    del seed
    return crop(sample, tf.constant([y1, x1]), tf.constant([y2 - y1, x2 - x1]), fill)


def crop(sample, start, size, fill=114.0, visible=VISIBLE):
    """Crops a window, which may extend beyond the picture's border.

    Objects are clipped to the window. Those that lose more than 1 - `visible` of their area become crowds, so they are
    ignored.

    Args:
        sample: the sample dict.
        start: (y, x) of the window's corner, int32 pixels, may be negative.
        size: (height, width) of the window.
        fill: value outside the picture, 0...255, or one each for red, green and blue.
        visible: minimum share of an object's area, 0...1.

    Returns:
        The changed sample; pixels keep their dtype.
    """
    left, top = tf.unstack(-tf.cast(tf.reverse(start, [0]), tf.float32))
    sample = moved({**sample, "pixels": cut(sample["pixels"], start, size, fill)}, tf.stack([1.0, 1.0, left, top]))
    height, width = tf.unstack(tf.cast(size, tf.float32))
    clipped = box.clip(sample["boxes"], tf.stack([0.0, 0.0, width, height]))
    share = tf.math.divide_no_nan(box.area(clipped), box.area(sample["boxes"]))
    sample["boxes"] = clipped
    if "proposals" in sample:
        sample["proposals"] = box.clip(sample["proposals"], tf.stack([0.0, 0.0, width, height]))
    sample["crowds"] |= (share < visible) & (share > 0)
    if "keypoints" in sample:
        points, seen = tf.split(sample["keypoints"], [2, 1], axis=-1)
        outside = tf.reduce_any((points < 0) | (points > [width, height]), axis=-1, keepdims=True)
        sample["keypoints"] = tf.concat([points, tf.where(outside, 0.0, seen)], axis=-1)
    return only(sample, share > 0)


def cut(pixels, start, size, fill):
    """The window of `crop` from pixels [H, W, 3]; pixels are copied without conversion."""
    low, high = tf.maximum(start, 0), tf.minimum(start + size, tf.shape(pixels)[:2])
    before, after = low - start, start + size - high
    inside = pixels[low[0] : high[0], low[1] : high[1]]

    def bar(height, width):
        return tf.broadcast_to(tf.cast(fill, pixels.dtype), [height, width, 3])

    def surrounded():
        rows = tf.concat([bar(high[0] - low[0], before[1]), inside, bar(high[0] - low[0], after[1])], 1)
        return tf.concat([bar(before[0], size[1]), rows, bar(after[0], size[1])], 0)

    return tf.cond(tf.reduce_any(before + after > 0), surrounded, lambda: inside)


def resized(sample, size):
    """Resamples a sample bilinearly to (height, width), int32 pixels."""
    old = tf.cast(tf.shape(sample["pixels"])[:2], tf.float32)
    scale_y, scale_x = tf.unstack(tf.cast(size, tf.float32) / old)
    pixels = tf.image.resize(sample["pixels"], size, "bilinear", antialias=False)
    return moved({**sample, "pixels": pixels}, tf.stack([scale_x, scale_y, 0.0, 0.0]))


def moved(sample, frame):
    """Maps boxes, mask frames, proposals and keypoints.

    Args:
        sample: the sample dict.
        frame: [4] float32, scale x, scale y, offset x, offset y, as in `contract`.

    Returns:
        The changed sample, with its pixels unchanged.
    """
    sample = {**sample}
    for key in BOXES & sample.keys():
        sample[key] = image.to_frames(sample[key], frame)
    if "keypoints" in sample:
        points, seen = tf.split(sample["keypoints"], [2, 1], axis=-1)
        sample["keypoints"] = tf.concat([points * frame[:2] + frame[2:], seen], axis=-1)
    return sample


def only(sample, keep):
    """Keeps the chosen objects, [M] bool; samples are unbatched, so their number need not be static."""
    return {key: tf.boolean_mask(value, keep) if key in OBJECTS else value for key, value in sample.items()}


def chance(seed, probability):
    """True with this probability."""
    return tf.random.stateless_uniform([], seed) < probability


def _reflected(sample, axis):
    """Mirrors, and swaps keypoints with their mirror images."""
    sample = _mirrored(sample, axis)
    if "keypoints" in sample:
        sample["keypoints"] = tf.gather(sample["keypoints"], sample["keypoint_pairs"], axis=1)
    return sample


def _mirrored(sample, axis):
    """Mirrors along an axis of the picture: 0 turns it upside down, 1 left to right."""
    side = tf.cast(tf.shape(sample["pixels"])[axis], tf.float32)
    x = 1 - axis

    def mirrored(boxes):
        parts = tf.unstack(boxes, num=4, axis=-1)
        parts[x], parts[x + 2] = side - parts[x + 2], side - parts[x]
        return tf.stack(parts, axis=-1)

    sample = {**sample, "pixels": tf.reverse(sample["pixels"], [axis])}
    sample.update({key: mirrored(sample[key]) for key in BOXES & sample.keys()})
    if "masks" in sample:
        sample["masks"] = tf.reverse(sample["masks"], [axis + 1])
    if "keypoints" in sample:
        parts = tf.unstack(sample["keypoints"], num=3, axis=-1)
        parts[x] = tf.where(parts[2] > 0, side - parts[x], parts[x])
        sample["keypoints"] = tf.stack(parts, axis=-1)
    return sample


def _transposed(sample):
    """Swaps rows and columns."""
    sample = {**sample, "pixels": tf.transpose(sample["pixels"], [1, 0, 2])}
    sample.update({key: tf.gather(sample[key], [1, 0, 3, 2], axis=-1) for key in BOXES & sample.keys()})
    if "masks" in sample:
        sample["masks"] = tf.transpose(sample["masks"], [0, 2, 1])
    if "keypoints" in sample:
        sample["keypoints"] = tf.gather(sample["keypoints"], [1, 0, 2], axis=-1)
    return sample
