"""Greedy non-maximum suppression and Soft-NMS (Bodla et al., ICCV 2017, arXiv:1704.04503)."""

import math

import numpy as np
import tensorflow as tf

from kerasdet import boxes as box
from kerasdet.ops import inputs, library

METHODS = ("gaussian", "linear")

# The least sigma of the Gaussian: below it, whatever overlap float32 can hold drops a box, as in greedy suppression.
SMALLEST_SIGMA = 1e-6


def nms(boxes, scores, classes, iou, above, limit, kinds=None):
    """Keeps the best boxes of each class; equal scores go to the lower index.

    Args:
        boxes: [B, N, 4] of a floating dtype, pixels; half precision is widened. A box with a coordinate that is not
            finite is never kept.
        scores: [B, N] of the same dtype.
        classes: [B, N] integers: boxes of different classes do not suppress each other; None suppresses across classes.
        iou: boxes that overlap a better box of their class by more than this are dropped, 0...1.
        above: only boxes with a score above this are candidates.
        limit: maximum number of boxes per image.
        kinds: number of classes, if known; this makes exports faster. Boxes of other classes than 0...kinds - 1 are
            then dropped.

    Returns:
        indices [B, D] int32, scores [B, D] and valid [B, D] bool, by descending score; 0 if not valid. D is the lesser
        of `limit` and N; in an export to TFLite that does not know N, `limit`.

    Raises:
        InvalidArgumentError: a shape or dtype does not fit.
        ValueError: a number is out of range.
    """
    split = classes is not None
    given, (boxes, scores, classes) = scores, _checked(boxes, scores, classes)
    iou, above, limit = inputs.number("iou", iou, 0.0, 1.0), _above(above, scores.dtype), _whole_limit(limit)
    kinds = 1 if not split else None if kinds is None else inputs.whole("kinds", kinds, 1)
    if split and kinds is not None:
        scores = tf.where((classes >= 0) & (classes < kinds), scores, scores.dtype.min)
    if native := library.native():
        thresholds = {name: tf.constant(value, boxes.dtype) for name, value in (("iou", iou), ("above", above))}
        indices, _, valid = native.kerasdet_nms(boxes=boxes, scores=scores, classes=classes, limit=limit, **thresholds)
    elif kinds is not None and boxes.dtype == tf.float32:
        indices, valid = _by_operators(boxes, scores, classes, kinds, iou, above, _least(limit, scores))
    else:
        lowest = scores.dtype.min

        def rescore(alive, overlap):
            return tf.where(overlap > iou, lowest, alive)

        alive = tf.where(scores > above, scores, lowest)
        indices, _, valid = _by_picks(boxes, alive, classes, _least(limit, scores), rescore)
    # Outside of the operators, so that scores have the same gradient natively and by the twin.
    given = tf.pad(given, [[0, 0], [0, 1]])
    return indices, tf.gather(given, tf.where(valid, indices, tf.shape(given)[1] - 1), batch_dims=1), valid


def combined_nms(boxes, scores, iou, above, limit):
    """`tf.image.combined_non_max_suppression` without clipping; in an export to TFLite, by its builtin operators.

    Args:
        boxes: [B, N, K, 4] float32, pixels; [B, N, 1, 4] if classes share them.
        scores: [B, N, K] float32. Equal scores within a class may come in any order.
        iou: boxes of one class that overlap a better box by more than this are dropped.
        above: only boxes with a score above this are candidates.
        limit: maximum number of boxes per image.

    Returns:
        boxes [B, D, 4], scores [B, D], classes [B, D] int32 and counts [B] int32, by descending score; zeros beyond the
        count. D is the lesser of `limit` and N * K, but at least 1; where the graph does not know that, `limit`.

    Raises:
        ValueError: a number is out of range.
    """
    iou, above, limit = inputs.number("iou", iou, 0.0, 1.0), inputs.number("above", above), _whole_limit(limit)
    if None not in scores.shape[1:]:
        limit = max(min(limit, scores.shape[1] * scores.shape[2]), 1)
    if library.lite():
        return _combined_of_builtins(boxes, scores, iou, above, limit)
    return _combined(boxes, scores, iou, above, limit)


def _combined(boxes, scores, iou, above, limit):
    kept = tf.image.combined_non_max_suppression(
        boxes, scores, max_output_size_per_class=limit, max_total_size=limit, iou_threshold=iou, score_threshold=above,
        clip_boxes=False,
    )  # fmt: skip
    return kept.nmsed_boxes, kept.nmsed_scores, tf.cast(kept.nmsed_classes, tf.int32), kept.valid_detections


def _by_operators(boxes, scores, classes, kinds, iou, above, limit):
    """Rows and validity of `nms` by an operator of TensorFlow or TFLite.

    On sorted boxes, because the operators pick any of equal scores.
    """
    count, lowest = tf.shape(scores)[1], scores.dtype.min
    most, limit = limit, max(limit, 1) if isinstance(limit, int) else tf.maximum(limit, 1)  # they take none for a fault
    scores = tf.where((scores > above) & tf.reduce_all(tf.math.is_finite(boxes), axis=-1), scores, lowest)
    order = tf.argsort(scores, axis=1, direction="DESCENDING", stable=True)
    boxes, scores, classes = (tf.gather(values, order, batch_dims=1) for values in (boxes, scores, classes))
    # Distinct scores N, N - 1 ... replace the sorted ones: they leave no ties, and give back the rows.
    ranks = tf.where(scores > lowest, tf.cast(count - tf.range(count), tf.float32), 0.0)
    if library.lite():
        rows, counts = _greedy(
            _apart(tf.expand_dims(boxes, 2), tf.expand_dims(classes, 2), kinds), ranks, iou, 0.5, limit
        )
    else:
        low, high = tf.split(boxes, 2, axis=-1)
        boxes = tf.concat([low, tf.maximum(low, high)], axis=-1)  # the operator would reverse boxes without area
        by_class = tf.one_hot(classes, kinds) * ranks[..., None]
        _, kept_ranks, _, counts = _combined(tf.expand_dims(boxes, 2), by_class, iou, 0.5, limit)
        rows = count - tf.cast(kept_ranks, tf.int32)
    valid = tf.range(limit)[None] < counts[:, None]
    order = tf.pad(order, [[0, 0], [0, 1]])  # there may be no boxes at all
    return tf.gather(order, tf.where(valid, rows, count), batch_dims=1)[:, :most], valid[:, :most]


def _combined_of_builtins(boxes, scores, iou, above, limit):
    """`combined_nms` by TFLite's builtins, with the classes' boxes shifted apart."""
    kinds = scores.shape[-1]
    pairs = _images(scores)
    rows, counts = _greedy(_apart(boxes, tf.range(kinds), kinds), pairs, iou, above, limit)
    real = tf.range(limit)[None] < counts[:, None]
    shared = kinds // boxes.shape[2]
    return (
        tf.where(real[..., None], tf.gather(_images(boxes, [4]), rows // shared, batch_dims=1), 0.0),
        tf.where(real, tf.gather(pairs, rows, batch_dims=1), 0.0),
        tf.where(real, rows % kinds, 0),
        counts,
    )


def _apart(boxes, classes, kinds):
    """Shifts boxes [B, N, S, 4] apart by class: onto a square grid of fields, because a row would round more.

    Boxes without area overlap nothing, but TFLite handles them wrongly; each gets its own position in the corner of its
    field.
    """
    low, high = tf.split(boxes, 2, axis=-1)
    solid = tf.reduce_all((high > low) & (high - low < np.inf), axis=-1, keepdims=True)
    boxes = tf.where(solid, boxes, 0.0)
    count, start, end = tf.shape(boxes)[1], tf.reduce_min(boxes), tf.reduce_max(boxes)
    across = tf.cast(tf.math.ceil(tf.sqrt(tf.cast(count, tf.float32))), tf.int32)
    corner = 2 * tf.stack([tf.range(count) % across, tf.range(count) // across], axis=-1)
    unit_boxes = end + 1 + tf.cast(tf.concat([corner, corner + 1], axis=-1), tf.float32)
    boxes = tf.where(solid, boxes, tf.expand_dims(unit_boxes, 1))
    side = math.ceil(kinds**0.5)
    column, row = classes % side, classes // side
    fields = tf.cast(tf.stack([column, row, column, row], axis=-1), tf.float32)
    return _images(boxes + fields * (end - start + tf.cast(2 * across + 2, tf.float32)), [4])


def _images(values, sides=()):
    """Reshapes values [B, ...] to [B, N, *sides]; if the batch size is not known, it is 1."""
    return tf.reshape(values, [values.shape[0] or 1, -1, *sides])


def _greedy(boxes, scores, iou, above, limit):
    """Indices [B, limit] and counts [B] of the boxes [B, N, 4] that are kept, by one operator per image."""
    kept = [
        tf.raw_ops.NonMaxSuppressionV4(
            boxes=image_boxes, scores=image_scores, max_output_size=limit, score_threshold=above,
            iou_threshold=np.nextafter(np.float32(iou), np.float32(2)),  # TFLite also drops boxes at the threshold
            pad_to_max_output_size=True,
        )
        for image_boxes, image_scores in zip(tf.unstack(boxes), tf.unstack(_images(scores)), strict=True)
    ]  # fmt: skip
    return tuple(tf.stack(values) for values in zip(*kept, strict=True))


def soft_nms(boxes, scores, classes, limit, method="gaussian", sigma=0.5, iou=0.3, above=0.001):
    """Takes the best box, lowers the scores of the others of its class by their overlap, and repeats (section 3).

    Args:
        boxes, scores, classes: as in `nms`.
        limit: maximum number of boxes per image.
        method: "gaussian" multiplies scores by exp(-IoU^2 / sigma) (equation 3); "linear" multiplies by 1 - IoU if the
            IoU exceeds `iou` (equation 2).
        sigma, iou: parameters of the two methods; above 0, and 0...1.
        above: boxes whose score falls below this are dropped.

    Returns:
        indices [B, D] int32, rescored scores [B, D] and valid [B, D] bool, by descending score; 0 if not valid. D is
        the lesser of `limit` and N.

    Raises:
        ValueError: the method is unknown, or a number is out of range.
        InvalidArgumentError: a shape or dtype does not fit.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}.")
    dtype = tf.convert_to_tensor(scores).dtype
    boxes, scores, classes = _checked(boxes, scores, classes)
    if method == "gaussian":
        sigma = inputs.number("sigma", sigma, SMALLEST_SIGMA)
    else:
        iou = inputs.number("iou", iou, 0.0, 1.0)
    limit = _whole_limit(limit)
    # What equals the floor stays, but the lowest number marks what is dropped.
    above = _above(above, scores.dtype, np.nextafter(scores.dtype.min, scores.dtype.as_numpy_dtype(0)))
    if native := library.native():
        methods = {"sigma": sigma, "iou": 0.0} if method == "gaussian" else {"sigma": 0.0, "iou": iou}
        thresholds = {name: tf.constant(value, boxes.dtype) for name, value in {**methods, "above": above}.items()}
        indices, picked, valid = native.kerasdet_soft_nms(
            boxes=boxes, scores=scores, classes=classes, limit=limit, **thresholds
        )
        return indices, tf.cast(picked, dtype), valid

    def kept(scores):
        return tf.where(scores >= above, scores, scores.dtype.min)

    def rescore(alive, overlap):
        if method == "gaussian":
            return kept(tf.where(overlap > 0, alive * tf.exp(-tf.square(overlap) / sigma), alive))
        return kept(tf.where(overlap > iou, alive * (1 - overlap), alive))

    indices, picked, valid = _by_picks(boxes, kept(scores), classes, _least(limit, scores), rescore)
    return indices, tf.cast(picked, dtype), valid


library.no_gradient("Kerasdet>SoftNms", "rescored scores of soft_nms")


def _checked(boxes, scores, classes):
    """The inputs as tensors, half precision widened, classes int32."""
    boxes, scores = inputs.floats(boxes=boxes, scores=scores)
    inputs.check_shape("boxes", boxes, [None, None, 4])
    inputs.check_shape("scores", scores, boxes.shape[:2])
    classes = tf.zeros(tf.shape(scores), tf.int32) if classes is None else inputs.whole_numbers("classes", classes)
    inputs.check_shape("classes", classes, boxes.shape[:2])
    return inputs.widen(boxes), inputs.widen(scores), classes


def _above(above, dtype, least=None):
    """A least score that the lowest number, which marks dropped boxes, is not above."""
    return max(inputs.number("above", above), dtype.min if least is None else float(least))


def _whole_limit(limit):
    """At most what int32 numbers; no image has more boxes."""
    return min(inputs.whole("limit", limit, 0), np.iinfo(np.int32).max)


def _least(limit, scores):
    """The lesser of the limit and N; in an export to TFLite that does not know N the limit, for static shapes."""
    if scores.shape[1] is not None:
        return min(limit, scores.shape[1])
    return limit if library.lite() else tf.minimum(limit, tf.shape(scores)[1])


def _by_picks(boxes, scores, classes, limit, rescore):
    """The twins: a loop that picks the best box left and rescores its class; the lowest score marks dropped boxes."""
    batch, lowest = tf.shape(scores)[0], scores.dtype.min
    finite = tf.reduce_all(tf.math.is_finite(boxes), axis=-1)
    one_more = [[0, 0], [0, 1]]  # argmax needs at least one box
    alive = tf.pad(tf.where(finite, scores, lowest), one_more, constant_values=lowest)
    boxes = tf.pad(tf.where(finite[..., None], boxes, 0), [*one_more, [0, 0]])
    classes = tf.pad(classes, one_more)

    positions = tf.range(limit)[None]

    def pick(k, alive, indices, picked):
        best = tf.expand_dims(tf.argmax(alive, axis=1, output_type=tf.int32), 1)
        score = tf.gather(alive, best, batch_dims=1)
        overlap = tf.squeeze(box.iou(tf.gather(boxes, best, batch_dims=1), boxes), 1)
        same = tf.gather(classes, best, batch_dims=1) == classes
        alive = tf.where(same & (alive > lowest), rescore(alive, overlap), alive)
        alive = tf.where(tf.range(tf.shape(alive)[1])[None] == best, lowest, alive)
        return k + 1, alive, tf.where(positions == k, best, indices), tf.where(positions == k, score, picked)

    state = (0, alive, tf.zeros([batch, limit], tf.int32), tf.fill([batch, limit], lowest))
    _, _, indices, picked = tf.while_loop(lambda k, alive, *_: (k < limit) & tf.reduce_any(alive > lowest), pick, state)
    valid = picked > lowest
    return tf.where(valid, indices, 0), tf.where(valid, picked, 0), valid
