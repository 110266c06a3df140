"""Targets of the mask branch: the objects' masks, cropped to the regions."""

import tensorflow as tf

from kerasdet import ops


def cut(masks, frames, rois, objects, size, aligned=True):
    """Averages each region's mask over the region's cells (Mask R-CNN, He et al., ICCV 2017, section 3.1).

    Args:
        masks: [B, M, S, T] uint8 or bool: grids of 0/1 over `frames`.
        frames: [B, M, 4] float32: the rectangle that a grid covers, pixels.
        rois: [B, P, 4] float32, pixels.
        objects: [B, P] int32: index of each region's object, -1 for none.
        size: cells per side.
        aligned: as in `ops.roi_align`; False as in torchvision.

    Returns:
        [B, P, size, size] float32 in 0...1, not rounded; 0 if there is no object.
    """
    none = tf.cast(tf.shape(masks)[1] == 0, tf.int32)  # a batch without objects gets a dummy, which no region uses
    masks = tf.pad(masks, [[0, 0], [0, none], [0, 0], [0, 0]])
    frames = tf.pad(frames, [[0, 0], [0, none], [0, 0]])
    count, each = tf.unstack(tf.shape(masks)[:2])
    rows, columns = masks.shape[2:]
    low, high = tf.split(tf.gather(frames, tf.maximum(objects, 0), batch_dims=1), 2, axis=-1)
    scale = tf.math.divide_no_nan(tf.constant([columns, rows], tf.float32), high - low)
    inside = (rois - tf.concat([low, low], axis=-1)) * tf.concat([scale, scale], axis=-1)
    place = tf.where(objects >= 0, objects + each * tf.range(count)[:, None], -1)
    inside = tf.concat([tf.cast(place, tf.float32)[..., None], inside], axis=-1)
    grids = tf.reshape(tf.cast(masks, tf.float32), [count * each, rows, columns, 1])
    cells = ops.roi_align(grids, tf.reshape(inside, [-1, 5]), 1.0, size, sampling_ratio=0, aligned=aligned)
    return tf.reshape(cells, [count, tf.shape(rois)[1], size, size])
