"""Suppression of a batch of candidates to detections; `ops.nms` and `ops.soft_nms` return indices instead."""

import tensorflow as tf

from kerasdet import ops


def per_class(boxes, scores, classes, num_classes, iou, above, limit):
    """Greedy suppression class by class, by `tf.image.combined_non_max_suppression`.

    Args:
        boxes: [B, N, 4] float32, pixels.
        scores: [B, N] float32, 0...1.
        classes: [B, N] int32.
        num_classes: K.
        iou: boxes of one class that overlap a better one by more are dropped.
        above: candidates need a score above this.
        limit: detections an image.

    Returns:
        The detections dict.
    """
    count = tf.shape(scores)[1]
    order = tf.argsort(scores, axis=1, direction="DESCENDING", stable=True)
    # Places from the end instead of scores: whole numbers, no two alike, since the operator picks any of equal scores.
    place = tf.where(scores > above, count - tf.argsort(order, axis=1), 0)
    by_class = tf.one_hot(classes, num_classes) * tf.expand_dims(tf.cast(place, tf.float32), -1)
    boxes, places, classes, counts = ops.combined_nms(tf.expand_dims(boxes, 2), by_class, iou, 0.5, limit)
    real = tf.range(limit)[None] < counts[:, None]
    ranked = tf.pad(tf.gather(scores, order, batch_dims=1), [[0, 0], [0, 1]])
    return {
        "boxes": boxes,
        "scores": tf.where(real, tf.gather(ranked, count - tf.cast(places, tf.int32), batch_dims=1), 0.0),
        "classes": tf.where(real, classes, -1),
        "counts": counts,
    }


def within_classes(boxes, scores, iou, above, limit):
    """As `per_class`, where every class has candidates of its own.

    Args:
        boxes: [B, N, K, 4] float32, pixels.
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
