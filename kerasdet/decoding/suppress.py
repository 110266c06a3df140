"""Suppression of a batch of candidates to detections; `ops.nms` and `ops.soft_nms` return indices instead."""

import tensorflow as tf

from kerasdet import ops


def per_class(boxes, scores, classes, num_classes, iou, above, limit):
    """Greedy suppression class by class; equal scores go to the lower index.

    Args:
        boxes: [B, N, 4] float32, pixels.
        scores: [B, N] float32, 0...1.
        classes: [B, N] int32.
        num_classes: K.
        iou: boxes of one class that overlap a better one by more are dropped.
        above: candidates need a score above this.
        limit: detections per image.

    Returns:
        The detections dict.
    """
    rows, scores, valid = ops.nms(boxes, scores, classes, iou, above, limit, kinds=num_classes)
    rows = tf.where(valid, rows, tf.shape(classes)[1])
    return {
        "boxes": tf.gather(tf.pad(boxes, [[0, 0], [0, 1], [0, 0]]), rows, batch_dims=1),
        "scores": scores,
        "classes": tf.gather(tf.pad(classes, [[0, 0], [0, 1]], constant_values=-1), rows, batch_dims=1),
        "counts": tf.reduce_sum(tf.cast(valid, tf.int32), axis=1),
    }


def within_classes(boxes, scores, iou, above, limit):
    """As `per_class`, where every class has candidates of its own, by `tf.image.combined_non_max_suppression`.

    Args:
        boxes: [B, N, K, 4] float32, pixels; [B, N, 1, 4] where classes share them.
        scores: [B, N, K] float32, 0...1.
        iou, above, limit: as in `per_class`.

    Returns:
        The detections dict.
    """
    boxes, scores, classes, counts = ops.combined_nms(
        boxes, tf.where(scores > above, scores, -1.0), iou, 0.0, limit
    )  # fmt: skip
    real = tf.range(limit)[None] < counts[:, None]
    return {"boxes": boxes, "scores": scores, "classes": tf.where(real, classes, -1), "counts": counts}
