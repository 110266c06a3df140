"""Decodes the keypoints of a region from its heat maps."""

import tensorflow as tf

# The parameter of cubic convolution in torch and OpenCV; `tf.image.resize` uses -0.5.
CUBIC = -0.75


@tf.function(autograph=False)  # eagerly, each region would run some twenty operators
def peaks(heatmaps, rois):
    """Finds the maximum of every heat map after resizing it to its region (Mask R-CNN, section 5).

    Args:
        heatmaps: [N, S, S, P] float32 logits.
        rois: [N, 4] float32, pixels.

    Returns:
        [N, P, 3] float32: x and y of the center of the maximum pixel, in pixels, and its logit. In case of a tie, the
        first pixel row by row is taken.
    """
    size = heatmaps.shape[1]

    @tf.autograph.experimental.do_not_convert  # nothing here is control flow by tensors, and it is slow to convert
    def peak(region):
        heatmap, roi = region
        sides = tf.maximum(roi[2:] - roi[:2], 1.0)
        columns, rows = tf.unstack(tf.cast(tf.math.ceil(sides), tf.int32))
        # [rows, S] x [S, S * P], then [columns, S] x [S, rows * P].
        tall = tf.tensordot(cubic(size, rows), heatmap, 1)
        wide = tf.tensordot(tall, cubic(size, columns), [[1], [1]])  # [rows, P, columns]
        flat = tf.reshape(tf.transpose(wide, [1, 0, 2]), [heatmap.shape[-1], rows * columns])
        best = tf.argmax(flat, axis=1, output_type=tf.int32)
        pixel = tf.cast(tf.stack([best % columns, best // columns], axis=1), tf.float32)
        ratio = sides / tf.cast(tf.stack([columns, rows]), tf.float32)
        return tf.concat([(pixel + 0.5) * ratio + roi[:2], tf.gather(flat, best, batch_dims=1)[:, None]], axis=1)

    signature = tf.TensorSpec([heatmaps.shape[-1], 3], tf.float32)
    return tf.map_fn(peak, (heatmaps, rois), fn_output_signature=signature)


def cubic(size, count):
    """The matrix that resizes a row of cells by cubic convolution (Keys, 1981), with repeated borders.

    Args:
        size: number of cells, an int.
        count: number of cells after resizing, an int or scalar tensor.

    Returns:
        [count, size] float32.
    """
    centers = (tf.range(tf.cast(count, tf.float32)) + 0.5) * (size / tf.cast(count, tf.float32)) - 0.5
    left = tf.cast(tf.floor(centers), tf.int32)
    matrix = 0.0
    for offset in range(-1, 3):
        distance = tf.abs(centers - tf.cast(left + offset, tf.float32))
        inner = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance**2 + 1
        outer = CUBIC * (((distance - 5) * distance + 8) * distance - 4)
        weight = tf.where(distance <= 1, inner, outer)
        matrix += weight[:, None] * tf.one_hot(tf.clip_by_value(left + offset, 0, size - 1), size)
    return matrix
