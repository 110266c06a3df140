"""Non-maximum suppression."""

import tensorflow as tf

from kerasdet import boxes as box


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
    found = tf.image.combined_non_max_suppression(
        boxes[:, :, None], tf.one_hot(classes, num_classes) * tf.cast(place, tf.float32)[..., None],
        max_output_size_per_class=limit, max_total_size=limit, iou_threshold=iou, score_threshold=0.5, clip_boxes=False,
    )  # fmt: skip
    real = tf.range(limit)[None] < found.valid_detections[:, None]
    ranked = tf.pad(tf.gather(scores, order, batch_dims=1), [[0, 0], [0, 1]])
    return {
        "boxes": found.nmsed_boxes,
        "scores": tf.where(real, tf.gather(ranked, count - tf.cast(found.nmsed_scores, tf.int32), batch_dims=1), 0.0),
        "classes": tf.where(real, tf.cast(found.nmsed_classes, tf.int32), -1),
        "counts": found.valid_detections,
    }


def hard(boxes, scores, classes, iou, above, limit):
    """Greedy suppression that returns indices, by a loop of picks; equal scores go to the lower index.

    Args:
        boxes: [B, N, 4] float32, pixels.
        scores: [B, N] float32.
        classes: [B, N] int32: boxes of different classes do not suppress each other; all alike suppresses across
            classes.
        iou, above, limit: as in `per_class`.

    Returns:
        indices [B, limit] int32, scores [B, limit] and valid [B, limit] bool, by falling score; 0 where not valid.
    """
    batch = tf.shape(scores)[0]
    indices = tf.zeros([batch, 0], tf.int32)
    picked = tf.zeros([batch, 0], scores.dtype)
    boxes, classes = tf.pad(boxes, [[0, 0], [0, 1], [0, 0]]), tf.pad(classes, [[0, 0], [0, 1]], constant_values=-1)
    alive = tf.pad(
        tf.where(scores > above, scores, scores.dtype.min), [[0, 0], [0, 1]], constant_values=scores.dtype.min
    )

    def pick(alive, indices, picked):
        best = tf.argmax(alive, axis=1, output_type=tf.int32)[:, None]
        score = tf.gather(alive, best, batch_dims=1)
        overlap = box.iou(tf.gather(boxes, best, batch_dims=1), boxes)[:, 0]
        same = tf.gather(classes, best, batch_dims=1) == classes
        gone = (same & (overlap > iou)) | (tf.range(tf.shape(alive)[1])[None] == best)
        alive = tf.where(gone, alive.dtype.min, alive)
        return alive, tf.concat([indices, best], axis=1), tf.concat([picked, score], axis=1)

    shapes = (alive.shape, tf.TensorShape([None, None]), tf.TensorShape([None, None]))
    _, indices, picked = tf.while_loop(
        lambda alive, indices, _: (tf.shape(indices)[1] < limit) & tf.reduce_any(alive > alive.dtype.min),
        pick, (alive, indices, picked), shape_invariants=shapes,
    )  # fmt: skip
    short = [[0, 0], [0, limit - tf.shape(indices)[1]]]
    indices, picked = tf.pad(indices, short), tf.pad(picked, short, constant_values=picked.dtype.min)
    valid = tf.ensure_shape(picked > picked.dtype.min, [None, limit])
    return tf.where(valid, indices, 0), tf.where(valid, picked, 0.0), valid
