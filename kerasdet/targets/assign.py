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


def by_iou(anchors, objects, positive, negative, low_quality=True):
    """Assigns by overlap: an anchor takes its best object (Faster R-CNN, section 3.1.2; RetinaNet, section 4).

    Padded objects and crowds match nothing; an anchor that lies by more than half of its area under a crowd is ignored
    unless it has an object. Memory is bounded: objects are taken in blocks.

    Args:
        anchors: [A, 4] float32, or [B, A, 4].
        objects: the objects dict.
        positive: least IoU with an object, 0...1.
        negative: below this IoU an anchor is background; between the two it is ignored.
        low_quality: every object also takes the anchors that overlap it most, however little.

    Returns:
        A `Match`.
    """
    anchors = tf.broadcast_to(anchors, tf.concat([tf.shape(objects["boxes"])[:1], tf.shape(anchors)[-2:]], axis=0))
    indices = tf.map_fn(
        lambda image: _assign(*image, positive, negative, low_quality),
        (anchors, objects["boxes"], objects["classes"] >= 0, objects["crowds"]),
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


def _assign(anchors, objects, real, crowds, positive, negative, low_quality):
    def overlaps(start):
        block = slice(start, start + BLOCK)
        shared = boxes.intersection(objects[block], anchors)
        union = boxes.area(objects[block])[:, None] + boxes.area(anchors)[None] - shared
        iou = tf.where((real & ~crowds)[block][:, None] & (shared > 0), shared / union, 0.0)
        crowded = tf.reduce_max(tf.where(crowds[block][:, None], shared, 0.0), axis=0)
        return iou, crowded

    best, indices, forced, crowded = _over_blocks(overlaps, tf.shape(objects)[0], tf.shape(anchors)[0])
    indices = _decide(best, indices, forced & low_quality, positive, negative)
    hidden = (crowded > 0.5 * boxes.area(anchors)) & (indices == BACKGROUND)
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


def positives(match, images):
    """Positive anchors of the global batch, at least 1.

    Args:
        match: a `Match`.
        images: the images dict; images with id -1 do not count.

    Returns:
        Scalar float32, summed over the replicas.
    """
    real = (images["ids"] >= 0)[:, None]
    return tf.maximum(over_replicas(tf.reduce_sum(tf.cast(match.positive & real, tf.float32))), 1.0)


def over_replicas(value):
    """Sum of a tensor [...] over all replicas; outside a replica the tensor itself."""
    context = tf.distribute.get_replica_context()
    return value if context is None else context.all_reduce("SUM", value)
