"""From the second stage's outputs to detections, and from the first one's to proposals."""

import tensorflow as tf

from kerasdet import boxes, coders, ops
from kerasdet.decoding import suppress

# torchvision's least sides of proposals and of detections, pixels.
PROPOSAL_SIDE, DETECTION_SIDE = 1e-3, 1e-2


def windows(images):
    """The real pixels of every image, [B, 4] float32; without area where an image only fills the batch."""
    return tf.where((images["ids"] >= 0)[:, None], images["windows"], 0.0)


def proposals(logits, deltas, anchors, counts, windows, per_level, limit, iou, least=None, side=PROPOSAL_SIDE):
    """Takes the best anchors of each level, decodes and suppresses level by level (Faster R-CNN, section 3.3).

    Args:
        logits: [B, A] float32.
        deltas: [B, A, 4] float32.
        anchors: [A, 4] float32, pixels.
        counts: anchors of every level, ints or scalar tensors, A in all.
        windows: [B, 4] float32, to which boxes are clipped; of an image that counts nothing without area.
        per_level: anchors a level before suppression.
        limit: proposals per image.
        iou: boxes that overlap a better one of their level by more are dropped.
        least: least logit, or None.
        side: least width and height, pixels, a number or [B, 1, 2].

    Returns:
        boxes [B, limit, 4] float32 by falling logit, zeros where padded, and logits [B, limit], lowest where padded.
    """
    parts, start = [], 0
    for level, count in enumerate(counts):
        end = start + count
        values, rows = tf.math.top_k(logits[:, start:end], tf.minimum(per_level, count))
        decoded = coders.decode(
            tf.gather(anchors[start:end], rows), tf.gather(deltas[:, start:end], rows, batch_dims=1)
        )
        parts.append((decoded, values, tf.fill(tf.shape(values), level)))
        start = end
    found, scores, levels = (tf.concat(part, axis=1) for part in zip(*parts, strict=True))
    found = boxes.clip(found, windows)
    lowest = scores.dtype.min
    keep = boxes.is_large(found, side)
    if least is not None:
        keep &= scores >= least
    picks = ops.nms(found, tf.where(keep, scores, lowest), levels, iou, lowest, limit, len(counts))
    rows, scores, valid = suppress.to_limit(limit, *picks)
    found = tf.where(valid[..., None], tf.gather(found, rows, batch_dims=1), 0.0)
    return found, tf.where(valid, scores, lowest)


def detections(head, proposals, windows, weights, iou, above, limit, nms="hard"):
    """Decodes a box of every class from every proposal and suppresses class by class (Fast R-CNN, section 3).

    Args:
        head: dict of `logits` [B, R, 1 + K] float32, the background first, `deltas` [B, R, 1 + K, 4] or, where classes
            share a box, [B, R, 1, 4], and whatever rides along: [B, R, 1 + K, ...] or [B, R, 1, ...].
        proposals: [B, R, 4] float32, pixels, zero area where padded.
        windows: [B, 4] float32, to which boxes are clipped; of an image that counts nothing without area.
        weights: of the coder.
        iou, above, limit, nms: as in `suppress.per_class`.

    Returns:
        The detections dict, with what rides along.
    """
    of_classes = {name: v if v.shape[2] == 1 else v[:, :, 1:] for name, v in head.items() if name != "logits"}
    found = coders.decode(proposals[:, :, None], of_classes.pop("deltas"), weights)
    found, scores = classified(found, head["logits"], proposals, windows)
    return suppress.within_classes(found, scores, iou, above, limit, nms, **of_classes)


def classified(found, logits, proposals, windows):
    """Clips the boxes that a second stage decoded, and gives each class its score there.

    Args:
        found: [B, R, K, 4] float32, pixels; or [B, R, 1, 4], where classes share a box.
        logits: [B, R, 1 + K] float32, the background first.
        proposals, windows: as in `detections`.

    Returns:
        The boxes and the scores [B, R, K] float32, 0 where a box is too small or its proposal is padding.
    """
    found = boxes.clip(found, windows[:, None])
    real = boxes.is_large(found, DETECTION_SIDE) & (boxes.area(proposals) > 0)[..., None]
    return found, tf.where(real, tf.nn.softmax(logits)[..., 1:], 0.0)
