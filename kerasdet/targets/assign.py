"""Assignment of objects to anchors."""

from typing import NamedTuple

import tensorflow as tf

from kerasdet import boxes, ops
from kerasdet.ops import matching
from kerasdet.ops.matching import BACKGROUND, IGNORE


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

    Padded objects and crowds match nothing; background that is `hidden` is ignored. Memory is bounded, however many
    objects there are.

    Args:
        anchors: [A, 4] float32, or [B, A, 4].
        objects: the objects dict.
        positive: least IoU with an object, 0...1.
        negative: below this IoU an anchor is background; between the two it is ignored.
        low_quality: the anchors that overlap some object most are positive too, however little, for the object that
            *they* overlap most; so an object may still get none.
        windows: [B, 4], the pictures, or None.

    Returns:
        A `Match`.
    """
    anchors = tf.stop_gradient(anchors)
    indices = ops.match_by_iou(anchors, objects["boxes"], _real(objects), positive, negative, low_quality)
    return match_from_indices(indices, anchors, objects).without(hidden(anchors, objects, windows))


def one_to_one(anchors, objects, positive, windows=None):
    """Assigns as SSD does (Liu et al., ECCV 2016, section 2.2): first one to one, then by overlap.

    The pair of an object and an anchor that overlap most is taken, then the next of the objects and anchors that are
    left, until every object that touches a free anchor has one; each anchor left then takes its best object if they
    overlap by `positive`. Padding, crowds and memory are as in `by_iou`.

    Args:
        anchors: [A, 4] float32, or [B, A, 4].
        objects: the objects dict.
        positive: least IoU with an object, 0...1; anchors below are background.
        windows: [B, 4], the pictures, or None; as in `under_crowds`. Anchors outside are background.

    Returns:
        A `Match`.
    """
    anchors = tf.stop_gradient(anchors)
    indices = ops.match_one_to_one(anchors, objects["boxes"], _real(objects), positive)
    return match_from_indices(indices, anchors, objects).without(under_crowds(anchors, objects, windows))


def with_best(anchors, objects, positive, windows=None):
    """Assigns by overlap, and to every object the one anchor that it overlaps most (EfficientDet's release).

    An anchor that several objects overlap most goes to the first of them. An object that overlaps nothing takes the
    first anchor, as in the release. There is no band of ignored overlaps. Padding, crowds and memory are as in
    `by_iou`.

    Args:
        anchors: [A, 4] float32.
        objects: the objects dict.
        positive: least IoU of another anchor with its object, 0...1; anchors below are background.
        windows: [B, 4], the pictures, or None; as in `under_crowds`. Anchors outside are background.

    Returns:
        A `Match`.
    """
    anchors, real = tf.stop_gradient(anchors), _real(objects)
    indices = ops.match_by_iou(anchors, objects["boxes"], real, positive, positive, low_quality=False)
    every = _of_each_image(anchors, objects["boxes"])
    chosen = tf.ones(tf.shape(every)[:2], tf.bool)
    best = ops.match_by_iou(objects["boxes"], every, chosen, 0.0, 0.0, low_quality=False)  # [B, M], of each object
    batch, most = tf.unstack(tf.shape(best))
    numbers = tf.where(real, tf.range(most), most)
    places = tf.stack([tf.broadcast_to(tf.range(batch)[:, None], tf.shape(best)), best], axis=-1)
    first = tf.tensor_scatter_nd_min(tf.fill(tf.shape(indices), most), places, numbers)
    return match_from_indices(tf.where(first < most, first, indices), anchors, objects).without(
        under_crowds(anchors, objects, windows)
    )


def match_from_indices(indices, anchors, objects):
    """The match in which each anchor has the object of some number.

    Args:
        indices: [B, A] int32, the object's number, `BACKGROUND` or `IGNORE`.
        anchors: [A, 4] float32, or [B, A, 4]; no gradient flows through them, so they may be predicted boxes.
        objects: the objects dict.

    Returns:
        A `Match`.
    """
    anchors = _of_each_image(tf.stop_gradient(anchors), objects["boxes"])
    taken, found = tf.maximum(indices, 0), indices >= 0
    # One row more, because there may be no objects at all.
    boxes = tf.gather(tf.pad(objects["boxes"], [[0, 0], [0, 1], [0, 0]]), taken, batch_dims=1)
    classes = tf.gather(tf.pad(objects["classes"], [[0, 0], [0, 1]]), taken, batch_dims=1)
    return Match(indices, tf.where(found[..., None], boxes, anchors), tf.where(found, classes, -1))


def hidden(places, objects, windows=None):
    """Which boxes, cells or points lie under a crowd or outside their pictures, and so are no background to learn.

    Args:
        places, objects: as in `under_crowds`.
        windows: [B, 4] float32, the pictures, pixels, or None.

    Returns:
        [B, A] bool.
    """
    under = under_crowds(places, objects, windows)
    return under if windows is None else under | ~inside(places, windows)


def under_crowds(places, objects, windows=None):
    """Which boxes lie by more than half of their area under one crowd, or which points lie inside one.

    Args:
        places: boxes, [A, 4] float32, or [B, A, 4], pixels; or points x, y, [A, 2] or [B, A, 2].
        objects: the objects dict.
        windows: [B, 4] float32, the pictures, pixels, or None. Of boxes that reach over the border only the part inside
            counts.

    Returns:
        [B, A] bool.
    """
    places = tf.stop_gradient(places)
    if places.shape[-1] == 2:
        corners, least = tf.concat([places, places], axis=-1), tf.fill(tf.shape(places)[:-1], -1.0)
    else:
        seen = places if windows is None else boxes.clip(_of_each_image(places, windows), windows)
        corners, least = places, 0.5 * boxes.area(seen)
    return ops.covered(corners, objects["boxes"], objects["crowds"], least)


def inside(places, windows):
    """Which boxes lie with at least half of their area inside their pictures, or which points lie inside.

    Args:
        places: boxes, [A, 4] float32, or [B, A, 4], pixels; or points x, y, [A, 2] or [B, A, 2].
        windows: [B, 4] float32, the pictures, pixels.

    Returns:
        [B, A] bool.
    """
    places = _of_each_image(places, windows)
    if places.shape[-1] == 2:
        low, high = tf.split(windows[:, None], 2, axis=-1)
        return tf.reduce_all((low <= places) & (places <= high), axis=-1)
    return 2.0 * boxes.area(boxes.clip(places, windows)) >= boxes.area(places)


def _of_each_image(places, images):
    """Places [A, N] or [B, A, N] as [B, A, N], by the first axis of another tensor."""
    return tf.broadcast_to(places, tf.concat([tf.shape(images)[:1], tf.shape(places)[-2:]], axis=0))


def _real(objects):
    """[B, M] bool: the objects that anchors may have."""
    return (objects["classes"] >= 0) & ~objects["crowds"]


def match(iou, positive, negative, low_quality=True):
    """The matching rule on given overlaps.

    Args:
        iou: [M, A] float32, of M objects and A anchors; M may be 0.
        positive, negative, low_quality: as in `by_iou`.

    Returns:
        [A] int32: the object's number, `BACKGROUND` or `IGNORE`.
    """
    count, size = tf.unstack(tf.shape(iou))
    every = tf.fill([count], True)
    return matching.best_object(lambda rows: tf.gather(iou, rows), every, size, positive, negative, low_quality)


def match_one_to_one(iou, positive):
    """The rule of `one_to_one` on given overlaps.

    Args:
        iou: [M, A] float32, of M objects and A anchors; M may be 0.
        positive: as in `one_to_one`.

    Returns:
        [A] int32: the object's number or `BACKGROUND`.
    """
    count, size = tf.unstack(tf.shape(iou))
    return matching.one_to_one(lambda rows: tf.gather(iou, rows), tf.fill([count], True), size, positive)


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
