"""Matching by IoU: which box learns which object, and which boxes are covered.

Boxes are [A, 4], the same for every image, or [B, A, 4], pixels; what is not float32 is cast. A box or object with a
coordinate that is NaN overlaps nothing.
"""

import tensorflow as tf

from kerasdet import boxes as box
from kerasdet.ops import inputs, library

BACKGROUND, IGNORE = -1, -2

# Objects whose overlaps with all boxes the twins hold in memory at once.
BLOCK = 32


def match_by_iou(anchors, objects, chosen, positive, negative, low_quality):
    """Gives every anchor its best object (Faster R-CNN, section 3.1.2), of equal ones the first.

    Args:
        anchors: [A, 4] or [B, A, 4] float32.
        objects: [B, M, 4] float32.
        chosen: [B, M] bool: the objects to match.
        positive: least IoU with an object, 0...1.
        negative: below this IoU an anchor is background; between the two it is ignored.
        low_quality: whether anchors that overlap some object most are positive too, however little.

    Returns:
        [B, A] int32: the object's number, `BACKGROUND` or `IGNORE`.

    Raises:
        InvalidArgumentError: a shape or dtype does not fit.
        ValueError: a threshold is no number.
    """
    anchors, objects, chosen = _checked("anchors", anchors, "objects", objects, chosen)
    positive, negative = inputs.number("positive", positive), inputs.number("negative", negative)
    if native := library.native():
        with tf.device("CPU:0"):
            return native.kerasdet_match_by_iou(
                anchors=anchors, objects=objects, chosen=chosen, positive=positive, negative=negative,
                low_quality=low_quality,
            )  # fmt: skip

    def match(anchors, objects, chosen):
        overlaps = _overlaps(anchors, objects)
        return best_object(overlaps, chosen, tf.shape(anchors)[0], positive, negative, low_quality)

    return _each_image(match, tf.int32, anchors, objects, chosen)


def match_one_to_one(anchors, objects, chosen, positive):
    """Takes the pair that overlaps most, then the next of those that are left (SSD, Liu et al., section 2.2).

    Of equal pairs the first object comes first, then the first anchor. Anchors that are left then take their best
    object if they overlap by `positive`.

    Args:
        anchors, objects, chosen: as in `match_by_iou`.
        positive: least IoU with an object, 0...1.

    Returns:
        [B, A] int32: the object's number or `BACKGROUND`.

    Raises:
        InvalidArgumentError: a shape or dtype does not fit.
        ValueError: `positive` is no number.
    """
    anchors, objects, chosen = _checked("anchors", anchors, "objects", objects, chosen)
    positive = inputs.number("positive", positive)
    if native := library.native():
        with tf.device("CPU:0"):
            return native.kerasdet_match_one_to_one(anchors=anchors, objects=objects, chosen=chosen, positive=positive)

    def match(anchors, objects, chosen):
        return one_to_one(_overlaps(anchors, objects), chosen, tf.shape(anchors)[0], positive)

    return _each_image(match, tf.int32, anchors, objects, chosen)


def covered(boxes, covers, chosen, least):
    """Which boxes share more than some area with a cover.

    Args:
        boxes: [A, 4] or [B, A, 4] float32.
        covers: [B, M, 4] float32.
        chosen: [B, M] bool: the covers that count.
        least: [A] or [B, A] float32, square pixels. Where it is below 0, a box counts that a cover touches by more than
            a side; so a point counts, a box without sides, that lies inside.

    Returns:
        [B, A] bool.

    Raises:
        InvalidArgumentError: a shape or dtype does not fit.
    """
    boxes, covers, chosen = _checked("boxes", boxes, "covers", covers, chosen)
    least = _of_images("least", least, covers.shape[0], [boxes.shape[1]])
    if native := library.native():
        with tf.device("CPU:0"):
            return native.kerasdet_covered(boxes=boxes, covers=covers, chosen=chosen, least=least)

    def cover(boxes, covers, chosen, least):
        x1, y1, x2, y2 = tf.unstack(boxes, axis=-1)

        def step(rows, under):
            some = tf.gather(covers, rows)
            left, top, right, bottom = tf.unstack(some[:, None], axis=-1)
            touched = (left < x2) & (top < y2) & (x1 < right) & (y1 < bottom)
            return (under | tf.reduce_any(touched & (box.intersection(some, boxes) > least), axis=0),)

        return _over_blocks(step, _rows(chosen), (tf.zeros_like(least, tf.bool),))[0]

    least = tf.broadcast_to(least, [tf.shape(covers)[0], tf.shape(boxes)[1]])
    return _each_image(cover, tf.bool, boxes, covers, chosen, least)


def _checked(name, boxes, objects_name, objects, chosen):
    """The inputs as tensors: boxes [1 or B, A, 4], objects [B, M, 4] and which of them are chosen, [B, M]."""
    objects, chosen = _float32(objects_name, objects), tf.convert_to_tensor(chosen)
    if chosen.dtype != tf.bool:
        raise tf.errors.InvalidArgumentError(None, None, f"chosen must be bool, got {chosen.dtype.name}.")
    inputs.check_shape(objects_name, objects, [None, None, 4])
    inputs.check_shape("chosen", chosen, objects.shape[:2])
    return _of_images(name, boxes, objects.shape[0], [None, 4]), objects, chosen


def _of_images(name, values, batch, shape):
    """Values of each image, [B, *shape], or of all, which get a first axis of size 1."""
    values = _float32(name, values)
    if values.shape.rank == len(shape):
        values = values[None]
    inputs.check_shape(name, values, [None if values.shape[:1] == [1] else batch, *shape])
    return values


def _float32(name, values):
    (values,) = inputs.floats(**{name: values})
    return tf.cast(values, tf.float32)


def _each_image(match, dtype, boxes, objects, *others):
    """The twins: calls match(boxes, objects, ...) for each image; its result has one value for each box."""
    size = tf.shape(boxes)[1]
    boxes = tf.broadcast_to(boxes, [tf.shape(objects)[0], size, 4])
    result = tf.map_fn(
        lambda image: match(*image), (boxes, objects, *others), fn_output_signature=tf.TensorSpec([None], dtype)
    )
    return tf.ensure_shape(tf.reshape(result, [-1, size]), [objects.shape[0], boxes.shape[1]])


def _overlaps(anchors, objects):
    """A function from rows [n] of the objects to their IoUs with the anchors, [n, A]; what is not above 0 is 0."""

    def overlaps(rows):
        iou = box.iou(tf.gather(objects, rows), anchors)
        return tf.where(iou > 0, iou, 0.0)  # no NaN of infinite boxes

    return overlaps


def best_object(overlaps, chosen, size, positive, negative, low_quality):
    """The twin of `match_by_iou` for one image, on overlaps of any kind.

    Args:
        overlaps: a function from numbers of objects, [n] int32, to their overlaps with all anchors, [n, A] float32, at
            least 0.
        chosen: [M] bool: the objects to match.
        size: A, a scalar.
        positive, negative, low_quality: as in `match_by_iou`.

    Returns:
        [A] int32: the object's number, `BACKGROUND` or `IGNORE`.
    """
    best, indices, forced = _best(overlaps, _rows(chosen), size)
    decided = tf.where(best >= positive, indices, tf.where(best < negative, BACKGROUND, IGNORE))
    return tf.where(forced, indices, decided) if low_quality else decided


def one_to_one(overlaps, chosen, size, positive):
    """The twin of `match_one_to_one` for one image, on overlaps of any kind.

    Objects without an anchor bid for the one that they overlap most of those that would prefer them to their holder,
    until none bids. The outcome is that of taking the greatest overlap again and again: no object and anchor of two
    such pairs would rather have each other, and only one set of pairs is so.

    Args:
        overlaps, chosen, size: as in `best_object`.
        positive: as in `match_one_to_one`.

    Returns:
        [A] int32: the object's number or `BACKGROUND`.
    """
    best, indices, _ = _best(overlaps, _rows(chosen), size)
    count = tf.size(chosen)

    def bid(rows, held, value, hopeful):
        iou = overlaps(rows)
        # `tf.equal`, because `==` loses the static shape.
        preferred = (iou > value) | (tf.equal(iou, value) & (rows[:, None] < held))
        wanted = tf.where(preferred, iou, 0.0)
        bids, wishes = tf.reduce_max(wanted, axis=1), tf.argmax(wanted, axis=1, output_type=tf.int32)
        # Holders only get better: whom no anchor prefers now, none will.
        hopeful = tf.tensor_scatter_nd_update(hopeful, rows[:, None], bids > 0)
        offer = tf.maximum(tf.math.unsorted_segment_max(bids, wishes, size), 0.0)
        first = tf.where(tf.equal(bids, tf.gather(offer, wishes)), rows, count)
        first = tf.math.unsorted_segment_min(first, wishes, size)
        won = offer > 0
        return tf.where(won, first, held), tf.where(won, offer, value), hopeful

    def bidders(held, hopeful):
        placed = tf.math.unsorted_segment_max(tf.ones_like(held), held, count) > 0  # -1 counts for none
        return _rows(hopeful & ~placed)

    def every_bidder(rows, *state):
        held, value, hopeful = _over_blocks(bid, rows, state)
        return bidders(held, hopeful), held, value, hopeful

    state = (_rows(chosen & (size > 0)), tf.fill([size], BACKGROUND), tf.zeros([size]), chosen)
    shapes = (tf.TensorShape([None]),) * 4
    _, held, *_ = tf.while_loop(lambda rows, *_: tf.size(rows) > 0, every_bidder, state, shape_invariants=shapes)
    return tf.where(held >= 0, held, tf.where(best >= positive, indices, BACKGROUND))


def _best(overlaps, rows, size):
    """Each anchor's best IoU, its object (the first of equals), and whether some object has no better anchor."""

    def step(rows, best, indices, forced):
        iou = overlaps(rows)
        value = tf.reduce_max(iou, axis=0)
        first = tf.gather(rows, tf.argmax(iou, axis=0))
        top = tf.reduce_max(iou, axis=1, keepdims=True)
        return (
            tf.maximum(value, best),
            tf.where(value > best, first, indices),
            forced | tf.reduce_any((iou == top) & (top > 0), axis=0),
        )

    return _over_blocks(step, rows, (tf.zeros([size]), tf.fill([size], 0), tf.fill([size], False)))


def _rows(chosen):
    """The places [n] int32 where a mask [M] is true."""
    return tf.cast(tf.where(chosen)[:, 0], tf.int32)


def _over_blocks(step, rows, state):
    """Calls state = step(some rows, *state) for `BLOCK` rows at a time; the state is a tuple of [A] tensors."""

    def block(start, *state):
        return start + BLOCK, *step(rows[start : start + BLOCK], *state)

    shapes = (tf.TensorShape([]), *[tf.TensorShape([None])] * len(state))
    _, *result = tf.while_loop(lambda start, *_: start < tf.size(rows), block, (0, *state), shape_invariants=shapes)
    return result
