"""Features of regions, by any of the RoI layers."""

import math

import tensorflow as tf

from kerasdet.ops import roi

REGION_LAYERS = ("align", "align_max", "pool", "precise")


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
    batch, count = tf.unstack(tf.shape(boxes)[:2])
    low, high = tf.split(boxes, 2, axis=-1)
    real = tf.reduce_all(high > low, axis=-1)
    image = tf.where(real, tf.cast(tf.range(batch), boxes.dtype)[:, None], -1.0)
    rois = tf.reshape(tf.concat([image[..., None], boxes], axis=-1), [batch * count, 5])
    scales = tuple(1 / stride for stride in strides)
    levels = None
    if len(maps) > 1:
        levels = roi.pyramid_levels(rois, *(round(math.log2(stride)) for stride in (strides[0], strides[-1])))
    if layer == "pool":
        return roi.roi_pool(maps, rois, scales, size, levels=levels)
    if layer == "precise":
        return roi.prroi_pool(maps, rois, scales, size, levels=levels)
    if layer == "align":
        return roi.roi_align(maps, rois, scales, size, sampling_ratio, aligned, levels)
    samples = roi.roi_align(maps, rois, scales, size * sampling_ratio, 1, aligned, levels)
    return tf.nn.max_pool2d(samples, sampling_ratio, sampling_ratio, "VALID")
