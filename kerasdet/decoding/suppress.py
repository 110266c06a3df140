"""Suppression of a batch of candidates to detections; `ops.nms` and `ops.soft_nms` return rows instead."""

import tensorflow as tf

from kerasdet import boxes as box
from kerasdet import ops
from kerasdet.decoding import candidates

# Kinds of suppression: none, where peaks alone decide (Objects as Points, arXiv:1904.07850, section 4); greedy;
# Soft-NMS, Gaussian and linear (Bodla et al., ICCV 2017, equations 3 and 2); ranked by predicted IoU (IoU-Net, Jiang et
# al., ECCV 2018, algorithm 1); greedy or Gaussian with voting (Softer-NMS, He et al., CVPR 2019, algorithm 1).
KINDS = ("none", "hard", "soft", "soft_linear", "iou_guided", "voting", "soft_voting")

# What a kind takes beside boxes, scores and classes, and the options of each, with their papers' values. A `floor` is
# the least score after Soft-NMS; None for the least one before.
NEEDS = {"iou_guided": ("ious",)}
OPTIONS = {
    "soft": {"sigma": 0.5, "floor": None},
    "soft_linear": {"floor": None},
    "voting": {"sigma_t": 0.02},
    "soft_voting": {"sigma": 0.5, "floor": None, "sigma_t": 0.02},
}

# CornerNet's and ExtremeNet's releases measure sides of boxes with both of their end pixels when they suppress.
BOTH_ENDS = (0.0, 0.0, 1.0, 1.0)

# (box, class) pairs per image that other kinds than "hard" look at where every class has boxes of its own.
PAIRS = 2000
# Boxes that IoU-guided suppression keeps before the best by score are taken.
CLUSTERS = 1000


def check(nms, predicted=()):
    """Checks the argument `nms` of a detector.

    Args:
        nms: one of `KINDS`, or a dict of its `name` and options: `sigma` of the Gaussian, `floor`, the least score
            after Soft-NMS, and `sigma_t` of voting.
        predicted: names of what the detector predicts beside boxes, scores and classes, such as "ious" [B, N].

    Raises:
        ValueError: one line that says what is allowed.
    """
    name, options = _named(nms)
    if name not in KINDS:
        raise ValueError(f"nms must be one of {KINDS}, or a dict of its name and options; got {nms!r}.")
    if unknown := sorted(set(options) - set(OPTIONS.get(name, {}))):
        raise ValueError(f"nms={name!r} takes the options {sorted(OPTIONS.get(name, {}))}, got {unknown}.")
    if missing := [one for one in NEEDS.get(name, ()) if one not in predicted]:
        raise ValueError(f"nms={name!r} needs {missing[0]} for every box, which this detector does not predict.")


def per_class(boxes, scores, classes, num_classes, iou, above, limit, nms="hard", **riders):
    """Suppresses class by class; equal scores go to the lower index.

    Args:
        boxes: [B, N, 4] float32, pixels.
        scores: [B, N] float32, 0...1.
        classes: [B, N] int32.
        num_classes: K.
        iou: boxes of one class that overlap a better one by more are dropped, or rescored by "soft_linear".
        above: candidates need a score above this; rescored ones too, where `nms` has no `floor`.
        limit: detections per image.
        nms: see `check`.
        riders: values that go along with the boxes that stay, [B, N, ...]: masks, IoUs, tags. Voting divides by
            `variances` [B, N, 4], square pixels, if there are any.

    Returns:
        The detections dict, with the riders' names too.
    """
    name, options = _named(nms)
    options = {**OPTIONS.get(name, {}), **options}
    if name == "none":
        # As many more as are asked for, so that their number is known.
        padded = tf.pad(tf.where(scores > above, scores, -1.0), [[0, 0], [0, limit]], constant_values=-1.0)
        kept, rows = tf.math.top_k(padded, limit)
        picks = tf.where(kept >= 0, rows, 0), tf.maximum(kept, 0.0), kept >= 0
    elif name in ("soft", "soft_linear", "soft_voting"):
        method = "linear" if name == "soft_linear" else "gaussian"
        floor = max(above if options["floor"] is None else options["floor"], 1e-7)
        # Soft-NMS keeps what equals its floor, and so would never end at 0.
        alive = tf.where(scores > above, scores, 0.0)
        picks = ops.soft_nms(boxes, alive, classes, limit, method, options.get("sigma", 0.5), iou, floor)
    elif name == "iou_guided":
        picks = best(*iou_guided(boxes, scores, classes, riders["ious"], num_classes, iou, above), limit)
    else:
        picks = ops.nms(boxes, scores, classes, iou, above, limit, kinds=num_classes)
    found = gather({"boxes": boxes, "classes": classes, **riders}, *to_limit(limit, *picks))
    if name in ("voting", "soft_voting"):
        voters = tf.where(scores > above, classes, -1)
        found["boxes"] = voted(
            found["boxes"], found["classes"], boxes, voters, riders.get("variances"), options["sigma_t"]
        )
    return found


def within_classes(boxes, scores, iou, above, limit, nms="hard", **riders):
    """As `per_class` where every class has its own candidates; "hard" is `tf.image.combined_non_max_suppression`.

    Args:
        boxes: [B, N, K, 4] float32, pixels; [B, N, 1, 4] if classes share them.
        scores: [B, N, K] float32, 0...1.
        iou, above, limit, nms: as in `per_class`.
        riders: as in `per_class`, [B, N, K, ...] or [B, N, 1, ...].

    Returns:
        The detections dict, with the riders' names too.
    """
    if nms == "hard" and not riders:
        found, scores, classes, counts = ops.combined_nms(
            boxes, tf.where(scores > above, scores, -1.0), iou, 0.0, limit
        )  # fmt: skip
        classes = tf.where(tf.range(tf.shape(classes)[1])[None] < counts[:, None], classes, -1)
        found, scores = to_limit(limit, found, scores)
        classes = to_limit(limit, classes + 1)[0] - 1
        return {"boxes": found, "scores": scores, "classes": classes, "counts": counts}
    num_classes = scores.shape[2]
    scores, classes, found = pairs(scores, PAIRS, boxes=boxes, **riders)
    return per_class(found.pop("boxes"), scores, classes, num_classes, iou, above, limit, nms, **found)


def pairs(scores, count, **values):
    """Takes an image's best (box, class) pairs.

    Args:
        scores: [B, N, K] float32.
        count: pairs at most.
        values: whatever belongs to the boxes, [B, N, K, ...], or [B, N, 1, ...] if classes share it.

    Returns:
        scores [B, P] float32 in falling order, classes [B, P] int32, and the dict of the pairs' `values`, [B, P, ...].
    """
    scores, rows, classes = candidates.top(scores, [tf.shape(scores)[1]], count)

    def of_pairs(given):
        given = tf.gather(given, rows, batch_dims=1)
        return given[:, :, 0] if given.shape[2] == 1 else tf.gather(given, classes, batch_dims=2)

    return scores, classes, {name: of_pairs(given) for name, given in values.items()}


def iou_guided(boxes, scores, classes, ious, num_classes, iou, above):
    """Ranks by predicted IoU; a box that stays takes the best score of those that it suppresses (IoU-Net, algorithm 1).

    Args:
        boxes: [B, N, 4] float32, pixels.
        scores: [B, N] float32, 0...1.
        classes: [B, N] int32.
        ious: [B, N] float32, 0...1: the IoU with its object that is predicted for each box.
        num_classes: K.
        iou, above: as in `per_class`.

    Returns:
        rows [B, M] int32, scores [B, M] and valid [B, M] bool, by falling `ious`.
    """
    alive = scores > above
    rows, _, valid = ops.nms(boxes, tf.where(alive, ious, -1.0), classes, iou, -0.5, CLUSTERS, kinds=num_classes)
    kept = tf.gather(boxes, rows, batch_dims=1)
    covered = box.iou(kept, boxes) > iou
    covered &= tf.gather(classes, rows, batch_dims=1)[..., None] == classes[:, None]
    covered |= rows[..., None] == tf.range(tf.shape(boxes)[1])
    covered &= valid[..., None] & alive[:, None]
    # A box belongs to the first that suppresses it.
    first = covered & (tf.cumsum(tf.cast(covered, tf.int32), axis=1) == 1)
    return rows, tf.reduce_max(tf.where(first, scores[:, None], 0.0), axis=2), valid


def best(rows, scores, valid, limit):
    """Takes the best of what a suppression kept.

    Args:
        rows: [B, M] int32.
        scores: [B, M] float32, 0...1.
        valid: [B, M] bool.
        limit: how many to take.

    Returns:
        rows, scores and valid [B, limit], by falling score; 0 where not valid.
    """
    scores, places = tf.math.top_k(tf.where(valid, scores, -1.0), tf.minimum(limit, tf.shape(scores)[1]))
    valid = scores >= 0
    rows = tf.where(valid, tf.gather(rows, places, batch_dims=1), 0)
    return to_limit(limit, rows, tf.where(valid, scores, 0.0), valid)


def to_limit(limit, *values):
    """Pads what a suppression found, [B, D, ...], with zeros to [B, limit, ...], a size that exports know.

    Args:
        limit: D or more, known when the graph is made.
        values: tensors, of numbers or bool.

    Returns:
        Tuple of them.
    """
    if values[0].shape[1] == limit:
        return values
    missing = [[0, 0], [0, limit - tf.shape(values[0])[1]]]
    padded = [tf.pad(v, [*missing, *[[0, 0]] * (len(v.shape) - 2)]) for v in values]
    return tuple(tf.ensure_shape(p, [v.shape[0], limit, *v.shape[2:]]) for p, v in zip(padded, values, strict=True))


def voted(kept, kept_classes, boxes, classes, variances=None, sigma_t=0.02):
    """Moves each box that stayed to the mean of all of its class that overlap it (Softer-NMS, equation 9).

    A box weighs exp(-(1 - IoU)^2 / sigma_t), divided by its variance along each coordinate.

    Args:
        kept: [B, M, 4] float32, pixels.
        kept_classes: [B, M] int32, -1 where padded.
        boxes: [B, N, 4] float32, pixels: the voters.
        classes: [B, N] int32; -1 for those without a vote.
        variances: [B, N, 4] float32, square pixels, 0 where padded, or None where all weigh alike.
        sigma_t: how fast the weight falls with the overlap.

    Returns:
        [B, M, 4] float32; zeros where padded.
    """
    overlap = box.iou(kept, boxes)
    votes = (overlap > 0) & (kept_classes[..., None] == classes[:, None]) & (kept_classes >= 0)[..., None]
    weights = tf.where(votes, tf.exp(-tf.square(1.0 - overlap) / sigma_t), 0.0)
    precision = tf.ones_like(boxes) if variances is None else tf.math.divide_no_nan(1.0, variances)
    return tf.math.divide_no_nan(tf.matmul(weights, boxes * precision), tf.matmul(weights, precision))


def averaged(kept, rows, boxes, scores, classes, weights, exponent, above, method="gaussian", sigma=0.5, iou=0.5):
    """Moves each box that Soft-NMS kept to a mean with those that it weakened (CornerNet's release: merging boxes).

    A box weighs by its own corners' scores, times how far it was weakened to a power; those that were kept before, or
    dropped, have no weight.

    Args:
        kept: [B, D, 4] float32, pixels.
        rows: [B, D] int32, the kept boxes' numbers in their order, -1 where padded.
        boxes: [B, N, 4] float32, pixels.
        scores: [B, N] float32.
        classes: [B, N] int32.
        weights: scores of the upper left and of the lower right corners, [B, N] each.
        exponent: the power.
        above, method, sigma, iou: of the Soft-NMS.

    Returns:
        [B, D, 4] float32; zeros where padded.
    """
    overlap = box.iou(kept, boxes)
    if method == "gaussian":
        decay = tf.exp(-tf.square(overlap) / sigma)
    else:
        decay = tf.where(overlap > iou, 1.0 - overlap, 1.0)
    own = rows[..., None] == tf.range(tf.shape(boxes)[1])
    padded = tf.pad(classes, [[0, 0], [0, 1]], constant_values=-1)
    kind = tf.gather(padded, tf.where(rows >= 0, rows, tf.shape(classes)[1]), batch_dims=1)
    other = (kind[..., None] != classes[:, None]) | own
    decay = tf.where(other, 1.0, decay)
    left = scores[:, None] * tf.math.cumprod(decay, axis=1, exclusive=True)
    before = tf.math.cumsum(tf.cast(own, tf.int32), axis=1, exclusive=True)
    alive = (left >= above) & (before == 0)
    share = tf.where(own, 1.0, tf.where(alive & ~other, (1.0 - decay) ** exponent, 0.0))
    upper, lower = (share * weight[:, None] for weight in weights)

    def mean(share, part):
        return tf.math.divide_no_nan(tf.matmul(share, part), tf.reduce_sum(share, axis=2, keepdims=True))

    return tf.concat([mean(upper, boxes[..., :2]), mean(lower, boxes[..., 2:])], axis=-1)


def gather(candidates, rows, scores, valid):
    """Makes detections of what a suppression kept.

    Args:
        candidates: dict of `boxes` [B, N, 4], `classes` [B, N] int32 and whatever rides along, [B, N, ...].
        rows: [B, D] int32.
        scores: [B, D] float32.
        valid: [B, D] bool.

    Returns:
        The detections dict, with every other name of `candidates` too; zeros where padded, classes -1.
    """
    found = {"scores": scores, "counts": tf.reduce_sum(tf.cast(valid, tf.int32), axis=1)}
    for name, values in candidates.items():
        padding = [[0, 0], [0, 1]] + [[0, 0]] * (len(values.shape) - 2)
        padded = tf.pad(values, padding, constant_values=tf.cast(-1 if name == "classes" else 0, values.dtype))
        found[name] = tf.gather(padded, tf.where(valid, rows, tf.shape(values)[1]), batch_dims=1)
    return found


def _named(nms):
    """The name of a kind and its options."""
    if isinstance(nms, str):
        return nms, {}
    options = dict(nms or {})
    return options.pop("name", None), options
