"""Features of regions, by any of the RoI layers."""

import math

import tensorflow as tf

from kerasdet.ops import roi

REGION_LAYERS = ("align", "align_max", "pool", "precise")


def rois(boxes):
    """The regions of a batch in the form that the operators take.

    Args:
        boxes: [B, R, 4] float32, pixels; those without area give zeros and get no gradient.

    Returns:
        [B * R, 5] float32: image, -1 for a box without area, and the corners.
    """
    batch, count = tf.unstack(tf.shape(boxes)[:2])
    # Stacked, not concatenated, whose gradient TFLite lacks: IoU-Net moves boxes along it.
    x1, y1, x2, y2 = tf.unstack(boxes, axis=-1)
    image = tf.where((x2 > x1) & (y2 > y1), tf.expand_dims(tf.cast(tf.range(batch), boxes.dtype), 1), -1.0)
    return tf.reshape(tf.stack([image, x1, y1, x2, y2], axis=-1), [batch * count, 5])


def region_features(maps, boxes, strides, size, layer="align", sampling_ratio=2, aligned=True):
    """Extracts every region from the map of its size (FPN, Lin et al., CVPR 2017, equation 1).

    Args:
        maps: list of [B, H, W, C]: a pyramid whose strides double, or a single map.
        boxes: [B, R, 4] float32, pixels; those without area give zeros and get no gradient.
        strides: strides of the maps, pixels.
        size: bins per side.
        layer: "align" averages samples, "align_max" takes their maximum (Mask R-CNN, table 2c), "pool" is Fast R-CNN's
            and "precise" IoU-Net's.
        sampling_ratio, aligned: arguments of `roi_align`.

    Returns:
        [B * R, size, size, C], dtype of the maps.
    """
    regions = rois(boxes)
    scales = tuple(1 / stride for stride in strides)
    levels = None
    if len(maps) > 1:
        levels = roi.pyramid_levels(regions, *(round(math.log2(stride)) for stride in (strides[0], strides[-1])))
    if layer == "pool":
        return roi.roi_pool(maps, regions, scales, size, levels=levels)
    if layer == "precise":
        return roi.prroi_pool(maps, regions, scales, size, levels=levels)
    if layer == "align":
        return roi.roi_align(maps, regions, scales, size, sampling_ratio, aligned, levels)
    samples = roi.roi_align(maps, regions, scales, size * sampling_ratio, 1, aligned, levels)
    return tf.nn.max_pool2d(samples, sampling_ratio, sampling_ratio, "VALID")
