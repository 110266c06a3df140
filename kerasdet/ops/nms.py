"""Greedy non-maximum suppression and Soft-NMS (Bodla et al., ICCV 2017, arXiv:1704.04503)."""

import tensorflow as tf

from kerasdet import boxes as box
from kerasdet.ops import inputs, library

METHODS = ("gaussian", "linear")


def nms(boxes, scores, classes, iou, above, limit):
    """Keeps the best boxes of each class; equal scores go to the lower index.

    Args:
        boxes: [B, N, 4] float32 or float64, pixels. A box with a coordinate that is not finite is never kept.
        scores: [B, N] of the same type.
        classes: [B, N] int32: boxes of different classes do not suppress each other; None suppresses across classes.
        iou: boxes that overlap a better one of their class by more are dropped.
        above: candidates need a score above this.
        limit: boxes an image.

    Returns:
        indices [B, limit] int32, scores [B, limit] and valid [B, limit] bool, by falling score; 0 where not valid.

    Raises:
        InvalidArgumentError: a shape does not fit.
    """
    boxes, scores, classes = _checked(boxes, scores, classes)
    if native := library.native():
        thresholds = {name: tf.constant(value, boxes.dtype) for name, value in (("iou", iou), ("above", above))}
        return tuple(native.kerasdet_nms(boxes=boxes, scores=scores, classes=classes, limit=limit, **thresholds))
    lowest = scores.dtype.min

    def rescore(alive, overlap):
        return tf.where(overlap > iou, lowest, alive)

    return _by_picks(boxes, tf.where(scores > above, scores, lowest), classes, limit, rescore)


def soft_nms(boxes, scores, classes, limit, method="gaussian", sigma=0.5, iou=0.3, above=0.001):
    """Takes the best box, rescores all others of its class by how much it overlaps them, and goes on (section 3).

    Args:
        boxes, scores, classes: as in `nms`.
        limit: boxes an image.
        method: "gaussian" multiplies by exp(-IoU^2 / sigma) (equation 3), "linear" by 1 - IoU where that exceeds `iou`
            (equation 2).
        sigma, iou: of the two methods.
        above: boxes whose score falls below are dropped.

    Returns:
        indices [B, limit] int32, rescored scores [B, limit] and valid [B, limit] bool, by falling score; 0 where not
        valid.

    Raises:
        ValueError: the method is unknown.
        InvalidArgumentError: a shape does not fit.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}.")
    boxes, scores, classes = _checked(boxes, scores, classes)
    if native := library.native():
        values = {"sigma": sigma if method == "gaussian" else 0.0, "iou": iou, "above": above}
        thresholds = {name: tf.constant(value, boxes.dtype) for name, value in values.items()}
        return tuple(native.kerasdet_soft_nms(boxes=boxes, scores=scores, classes=classes, limit=limit, **thresholds))

    def kept(scores):
        return tf.where(scores >= above, scores, scores.dtype.min)

    def rescore(alive, overlap):
        if method == "gaussian":
            return kept(tf.where(overlap > 0, alive * tf.exp(-tf.square(overlap) / sigma), alive))
        return kept(tf.where(overlap > iou, alive * (1 - overlap), alive))

    return _by_picks(boxes, kept(scores), classes, limit, rescore)


def _checked(boxes, scores, classes):
    boxes, scores = tf.convert_to_tensor(boxes), tf.convert_to_tensor(scores)
    inputs.check_shape("boxes", boxes, [None, None, 4])
    inputs.check_shape("scores", scores, boxes.shape[:2])
    classes = tf.zeros(tf.shape(scores), tf.int32) if classes is None else tf.convert_to_tensor(classes)
    inputs.check_shape("classes", classes, boxes.shape[:2])
    return boxes, scores, classes


def _by_picks(boxes, scores, classes, limit, rescore):
    """The twins: a loop that picks the best box alive and rescores those of its class; the lowest score is dead."""
    batch, lowest = tf.shape(scores)[0], scores.dtype.min
    finite = tf.reduce_all(tf.math.is_finite(boxes), axis=-1)
    one_more = [[0, 0], [0, 1]]  # so that there is something to pick from no boxes
    alive = tf.pad(tf.where(finite, scores, lowest), one_more, constant_values=lowest)
    boxes = tf.pad(tf.where(finite[..., None], boxes, 0), [*one_more, [0, 0]])
    classes = tf.pad(classes, one_more)

    places = tf.range(limit)[None]

    def pick(k, alive, indices, picked):
        best = tf.expand_dims(tf.argmax(alive, axis=1, output_type=tf.int32), 1)
        score = tf.gather(alive, best, batch_dims=1)
        overlap = tf.squeeze(box.iou(tf.gather(boxes, best, batch_dims=1), boxes), 1)
        same = tf.gather(classes, best, batch_dims=1) == classes
        left = tf.where(same & (alive > lowest), rescore(alive, overlap), alive)
        left = tf.where(tf.range(tf.shape(alive)[1])[None] == best, lowest, left)
        return k + 1, left, tf.where(places == k, best, indices), tf.where(places == k, score, picked)

    state = (0, alive, tf.zeros([batch, limit], tf.int32), tf.fill([batch, limit], lowest))
    _, _, indices, picked = tf.while_loop(lambda k, alive, *_: (k < limit) & tf.reduce_any(alive > lowest), pick, state)
    valid = picked > lowest
    return tf.where(valid, indices, 0), tf.where(valid, picked, 0), valid
