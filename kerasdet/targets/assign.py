"""Assignment of objects to anchors."""

from typing import NamedTuple

import tensorflow as tf

from kerasdet import boxes

BACKGROUND, IGNORE = -1, -2

# Objects whose overlaps with all anchors are held in memory at once.
BLOCK = 32


class Match(NamedTuple):
    """What every anchor shall learn.

    indices: [B, A] int32, the object's number, `BACKGROUND` or `IGNORE`.
    boxes: [B, A, 4] float32, the object's box, or the anchor itself where there is none.
    classes: [B, A] int32, the object's class, or -1.
    """

    indices: tf.Tensor
    boxes: tf.Tensor
    classes: tf.Tensor

    @property
    def positive(self):
        """[B, A] bool: anchors with an object."""
        return self.indices >= 0

    @property
    def counted(self):
        """[B, A] bool: anchors with a class loss."""
        return self.indices > IGNORE

    def without(self, hidden):
        """The match in which background under a mask [B, A] is ignored."""
        return self._replace(indices=tf.where(hidden & (self.indices == BACKGROUND), IGNORE, self.indices))

    def only(self, learning):
        """The match of the anchors under a mask [B, A]; others give no loss."""
        return self._replace(indices=tf.where(learning, self.indices, IGNORE))


def by_iou(anchors, objects, positive, negative, low_quality=True, windows=None):
    """Assigns by overlap: an anchor takes its best object (Faster R-CNN, section 3.1.2; RetinaNet, section 4).

    Padded objects and crowds match nothing; an anchor that lies by more than half of its area under a crowd is ignored
    unless it has an object. Memory is bounded: objects are taken in blocks.

    Args:
        anchors: [A, 4] float32, or [B, A, 4].
        objects: the objects dict.
        positive: least IoU with an object, 0...1.
        negative: below this IoU an anchor is background; between the two it is ignored.
        low_quality: the anchors that overlap some object most are positive too, however little, for the object that
            *they* overlap most; so an object may still get none.
        windows: [B, 4], the pictures, or None. Background that lies mostly outside its picture is ignored, and of
            anchors that reach over the border only the part inside counts for crowds.

    Returns:
        A `Match`.
    """
    match = _assigned(anchors, objects, lambda *image: _by_iou(*image, positive, negative, low_quality), windows)
    return match if windows is None else match.without(~inside(anchors, windows))


def one_to_one(anchors, objects, positive, windows=None):
    """Assigns as SSD does (Liu et al., ECCV 2016, section 2.2): first one to one, then by overlap.

    The pair of an object and an anchor that overlap most is taken, then the next of the objects and anchors that are
    left, until every object that touches a free anchor has one; each anchor left then takes its best object if they
    overlap by `positive`. Padding, crowds and memory are as in `by_iou`.

    Args:
        anchors: [A, 4] float32, or [B, A, 4].
        objects: the objects dict.
        positive: least IoU with an object, 0...1; anchors below are background.
        windows: [B, 4], the pictures, or None; for crowds as in `by_iou`.

    Returns:
        A `Match`.
    """
    return _assigned(anchors, objects, lambda *image: _one_to_one(*image, positive), windows)


def inside(anchors, windows):
    """Which anchors lie with at least half of their area inside their pictures.

    Args:
        anchors: [A, 4] float32, or [B, A, 4], pixels.
        windows: [B, 4] float32, the pictures, pixels.

    Returns:
        [B, A] bool.
    """
    anchors = tf.broadcast_to(anchors, tf.concat([tf.shape(windows)[:1], tf.shape(anchors)[-2:]], axis=0))
    return 2.0 * boxes.area(boxes.clip(anchors, windows)) >= boxes.area(anchors)


def _assigned(anchors, objects, assign, windows=None):
    """A `Match` of what `assign` gives each image: from its anchors, their areas, its objects, real ones and crowds."""
    anchors = tf.broadcast_to(anchors, tf.concat([tf.shape(objects["boxes"])[:1], tf.shape(anchors)[-2:]], axis=0))
    areas = boxes.area(anchors if windows is None else boxes.clip(anchors, windows))
    indices = tf.map_fn(
        lambda image: assign(*image),
        (anchors, areas, objects["boxes"], objects["classes"] >= 0, objects["crowds"]),
        fn_output_signature=tf.TensorSpec([None], tf.int32),
    )
    taken = tf.maximum(indices, 0)
    padded = {
        k: tf.pad(objects[k], [[0, 0], [0, 1]] + [[0, 0]] * (len(objects[k].shape) - 2)) for k in ("boxes", "classes")
    }
    matched = tf.gather(padded["boxes"], taken, batch_dims=1)
    classes = tf.gather(padded["classes"], taken, batch_dims=1)
    found = indices >= 0
    return Match(indices, tf.where(found[..., None], matched, anchors), tf.where(found, classes, -1))


def _by_iou(anchors, areas, objects, real, crowds, positive, negative, low_quality):
    overlaps = _overlaps(anchors, objects, real, crowds)
    best, indices, forced, crowded = _over_blocks(overlaps, tf.shape(objects)[0], tf.shape(anchors)[0])
    indices = _decide(best, indices, forced & low_quality, positive, negative)
    return _hide(indices, areas, crowded)


def _one_to_one(anchors, areas, objects, real, crowds, positive):
    overlaps = _overlaps(anchors, objects, real, crowds)
    count, size = tf.shape(objects)[0], tf.shape(anchors)[0]
    best, indices, _, crowded = _over_blocks(overlaps, count, size)
    indices = _pair(lambda start: overlaps(start)[0], best, indices, count, size, positive)
    return _hide(indices, areas, crowded)


def _overlaps(anchors, objects, real, crowds):
    """A function from a block's start to the IoUs of its objects, [n, A], and the area of anchors that crowds hide."""

    def overlaps(start):
        block = slice(start, start + BLOCK)
        shared = boxes.intersection(objects[block], anchors)
        union = boxes.area(objects[block])[:, None] + boxes.area(anchors)[None] - shared
        iou = tf.where((real & ~crowds)[block][:, None] & (shared > 0), shared / union, 0.0)
        crowded = tf.reduce_max(tf.where(crowds[block][:, None], shared, 0.0), axis=0)
        return iou, crowded

    return overlaps


def _hide(indices, areas, crowded):
    hidden = (crowded > 0.5 * areas) & (indices == BACKGROUND)
    return tf.where(hidden, IGNORE, indices)


def match(iou, positive, negative, low_quality=True):
    """The matching rule on given overlaps.

    Args:
        iou: [M, A] float32, of M objects and A anchors; M may be 0.
        positive, negative, low_quality: as in `by_iou`.

    Returns:
        [A] int32: the object's number, `BACKGROUND` or `IGNORE`.
    """
    count, anchors = tf.unstack(tf.shape(iou))
    best, indices, forced, _ = _over_blocks(lambda i: (iou[i : i + BLOCK], tf.zeros([anchors])), count, anchors)
    return _decide(best, indices, forced & low_quality, positive, negative)


def match_one_to_one(iou, positive):
    """The rule of `one_to_one` on given overlaps.

    Args:
        iou: [M, A] float32, of M objects and A anchors; M may be 0.
        positive: as in `one_to_one`.

    Returns:
        [A] int32: the object's number or `BACKGROUND`.
    """
    count, anchors = tf.unstack(tf.shape(iou))
    best, indices, *_ = _over_blocks(lambda i: (iou[i : i + BLOCK], tf.zeros([anchors])), count, anchors)
    return _pair(lambda start: iou[start : start + BLOCK], best, indices, count, anchors, positive)


def _over_blocks(overlaps, count, anchors):
    """Best IoU, its object (the first of equals), whether some object has no better anchor, and the crowds' share."""

    def step(start, best, indices, forced, crowded):
        iou, under = overlaps(start)
        value = tf.reduce_max(iou, axis=0)
        first = tf.argmax(iou, axis=0, output_type=tf.int32) + start
        top = tf.reduce_max(iou, axis=1, keepdims=True)
        return (
            start + BLOCK,
            tf.maximum(value, best),
            tf.where(value > best, first, indices),
            forced | tf.reduce_any((iou == top) & (top > 0), axis=0),
            tf.maximum(under, crowded),
        )

    zeros = tf.zeros([anchors])
    state = (0, zeros, tf.fill([anchors], 0), tf.fill([anchors], False), zeros)
    shapes = (tf.TensorShape([]), *[tf.TensorShape([None])] * 4)
    _, *result = tf.while_loop(lambda start, *_: start < count, step, state, shape_invariants=shapes)
    return result


def _decide(best, indices, forced, positive, negative):
    decided = tf.where(best >= positive, indices, tf.where(best < negative, BACKGROUND, IGNORE))
    return tf.where(forced, indices, decided)


def _pair(overlaps, best, indices, count, anchors, positive):
    """One to one, then by the best overlap.

    Each object without an anchor bids for the one it overlaps most of those that would prefer it to their holder, until
    none bids. The outcome is that of taking the greatest overlap again and again, ties by lower object, then anchor.
    """

    def bid(start, held, value, _):
        iou = overlaps(start)
        rows = start + tf.range(tf.shape(iou)[0])[:, None]
        # `tf.equal`, for the shape of == is unknown where a side is.
        free = ~tf.reduce_any(tf.equal(rows, held), axis=1, keepdims=True)
        preferred = (iou > value) | (tf.equal(iou, value) & (rows < held))
        wanted = tf.where(free & preferred, iou, 0.0)
        own = tf.argmax(wanted, axis=1, output_type=tf.int32)[:, None]
        bids = tf.where(tf.equal(own, tf.range(anchors)), wanted, 0.0)
        offer = tf.reduce_max(bids, axis=0)
        won = offer > 0
        held = tf.where(won, tf.argmax(bids, axis=0, output_type=tf.int32) + start, held)
        return start + BLOCK, held, tf.where(won, offer, value), tf.reduce_any(won)

    def every_block(held, value, _):
        def step(start, held, value, bids):
            *state, more = bid(start, held, value, bids)
            return *state, bids | more

        start = (0, held, value, False)
        return tf.while_loop(lambda start, *_: start < count, step, start, shape_invariants=shapes)[1:]

    shapes = (tf.TensorShape([]), tf.TensorShape([None]), tf.TensorShape([None]), tf.TensorShape([]))
    state = (tf.fill([anchors], BACKGROUND), tf.zeros([anchors]), count > 0)
    held, *_ = tf.while_loop(lambda held, value, bids: bids, every_block, state, shape_invariants=shapes[1:])
    return tf.where(held >= 0, held, tf.where(best >= positive, indices, BACKGROUND))


def positives(match, images):
    """Positive anchors of the global batch, at least 1.

    Args:
        match: a `Match`.
        images: the images dict; images with id -1 do not count.

    Returns:
        Scalar float32, summed over the replicas.
    """
    return count(match.positive & (images["ids"] >= 0)[:, None])


def count(mask):
    """How many places of a mask [B, N] are set in the global batch, at least 1: a float32 scalar."""
    return tf.maximum(over_replicas(tf.reduce_sum(tf.cast(mask, tf.float32))), 1.0)


def over_replicas(value):
    """Sum of a tensor [...] over all replicas; outside a replica the tensor itself."""
    context = tf.distribute.get_replica_context()
    return value if context is None else context.all_reduce("SUM", value)
