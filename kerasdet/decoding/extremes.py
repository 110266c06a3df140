"""Groups of extreme points, and what ExtremeNet makes of them (Zhou et al., CVPR 2019, sections 4.2 to 4.5)."""

import tensorflow as tf

from kerasdet.ops import corner_pool

# A box of at least this score is a ghost if those inside are worth so many times its own, itself among them.
GHOST, TIMES = 0.2, 3.0


def aggregated(scores, axis, weight):
    """Adds to each cell what leads up to it: of an edge that is extreme as a whole no cell stands out (section 4.4).

    From either side the run of cells counts along which scores do not fall.

    Args:
        scores: [B, H, W, K] float32, 0 or more.
        axis: "x" or "y", along which runs lie.
        weight: of what is added.

    Returns:
        [B, H, W, K] float32.
    """
    axis, pool = (2, "right") if axis == "x" else (1, "bottom")
    before = _sum_of_run(scores, axis, pool)
    after = tf.reverse(_sum_of_run(tf.reverse(scores, [axis]), axis, pool), [axis])
    return scores + weight * (before + after - 2 * scores)


def _sum_of_run(scores, axis, pool):
    """Of each cell the sum of the run that ends in it: running sums, less what they were where the run began."""
    sums = tf.cumsum(scores, axis=axis)
    pad = [[0, 0]] * axis + [[1, 0]] + [[0, 0]] * (3 - axis)
    size = tf.shape(scores)
    last = tf.slice(tf.pad(scores, pad), [0, 0, 0, 0], size)
    begun = tf.where(scores < last, sums - scores, 0.0)
    # As scores are 0 or more, the latest beginning has the greatest sum before it.
    return sums - corner_pool(begun, pool)


def groups(points, centers, limit, above=0.1, center_above=0.1):
    """Groups of four extreme points of a class with a center in their middle (algorithm 1).

    Args:
        points: dicts of the top, left, bottom and right points of an image: `cells` [B, C, 2] int32, column and row,
            `places` [B, C, 2] float32, cells, `scores` [B, C] and `classes` [B, C].
        centers: [B, H, W, K] float32, the scores of centers.
        limit: groups of an image.
        above, center_above: least scores of a group's points and of its center.

    Returns:
        Dict of `points` [B, N, 4, 2] in cells, `scores` [B, N], 0 where there is no group, and `classes` [B, N].
    """
    # Every top with every bottom, and every left with every right point: [B, C * C, ...].
    vertical, horizontal = _crossed(points[0], points[2], above), _crossed(points[1], points[3], above)
    count, others = (tf.shape(pairs["classes"])[1] for pairs in (vertical, horizontal))
    (top, bottom), (left, right) = vertical["cells"], horizontal["cells"]
    rows, columns, kinds = centers.shape[1] or tf.shape(centers)[1], tf.shape(centers)[2], centers.shape[3]

    def each(a, b):
        return tf.expand_dims(a, 2), tf.expand_dims(b, 1)

    # A group is rejected if a point lies strictly beyond the one of its side.
    lower, upper = tf.minimum(left[1], right[1]), tf.maximum(left[1], right[1])
    nearer, farther = tf.minimum(top[0], bottom[0]), tf.maximum(top[0], bottom[0])
    belong = tf.logical_and(*each(vertical["good"], horizontal["good"]))
    belong &= tf.equal(*each(vertical["classes"], horizontal["classes"]))
    belong &= tf.less_equal(*each(top[1], lower)) & tf.greater_equal(*each(bottom[1], upper))
    belong &= tf.greater_equal(*each(nearer, left[0])) & tf.less_equal(*each(farther, right[0]))
    row, column = each((top[1] + bottom[1]) // 2, (left[0] + right[0]) // 2)
    cell = (row * columns + column) * kinds + tf.expand_dims(vertical["classes"], 2)
    flat = tf.reshape(centers, [tf.shape(centers)[0], -1])
    cell = tf.reshape(tf.clip_by_value(cell, 0, rows * columns * kinds - 1), [tf.shape(centers)[0], -1])
    center = tf.gather(flat, cell, batch_dims=1)
    sums = tf.add(*each(tf.add_n(vertical["scores"]), tf.add_n(horizontal["scores"])))
    scores = (tf.reshape(sums, tf.shape(center)) + 2 * center) / 6
    belong = tf.reshape(belong, tf.shape(center)) & (center >= center_above)
    # One more than are asked for may be missing: filled up, so that their number is known.
    scores = tf.pad(tf.where(belong, scores, 0.0), [[0, 0], [0, limit]])
    scores, best = tf.math.top_k(scores, limit)
    best = tf.minimum(best, count * others - 1)
    first, second = best // others, best % others
    places = [tf.gather(one, first, batch_dims=1) for one in vertical["places"]]
    sides = [tf.gather(one, second, batch_dims=1) for one in horizontal["places"]]
    return {
        "points": tf.stack([places[0], sides[0], places[1], sides[1]], axis=2),
        "scores": scores,
        "classes": tf.gather(vertical["classes"], first, batch_dims=1),
    }


def _crossed(one, other, above):
    """Every point of one kind with every one of another, and whether they are of a class and scores are high enough."""
    count, others = tf.shape(one["scores"])[1], tf.shape(other["scores"])[1]
    rows = tf.range(count * others)

    def both(name):
        return tf.gather(one[name], rows // others, axis=1), tf.gather(other[name], rows % others, axis=1)

    (first, second), scores = both("classes"), both("scores")
    return {
        "cells": [tf.unstack(cell, axis=-1) for cell in both("cells")],
        "places": both("places"),
        "scores": scores,
        "classes": first,
        "good": (first == second) & (tf.minimum(*scores) >= above) & (tf.minimum(*scores) > 0),
    }


def boxes(points):
    """Boxes [B, N, 4] of extreme points [B, N, 4, 2]."""
    top, left, bottom, right = tf.unstack(points, axis=2)
    return tf.stack([left[..., 0], top[..., 1], right[..., 0], bottom[..., 1]], axis=-1)


def without_ghosts(found):
    """Halves the scores of ghosts: boxes around several objects of a class (section 4.3).

    Args:
        found: the detections dict, by falling score.

    Returns:
        Scores [B, D], no longer by falling score; those of ghosts that were halved before count as they are then.
    """
    low, high = tf.split(found["boxes"], 2, axis=-1)
    inside = tf.reduce_all(tf.expand_dims(low, 1) >= tf.expand_dims(low, 2), axis=-1)
    inside &= tf.reduce_all(tf.expand_dims(high, 1) <= tf.expand_dims(high, 2), axis=-1)
    kinds = found["classes"]
    inside &= tf.equal(tf.expand_dims(kinds, 1), tf.expand_dims(kinds, 2)) & tf.expand_dims(kinds >= 0, 1)
    inside = tf.cast(inside, tf.float32)  # [B, D, D]: of each box those in it
    steps = tf.range(tf.shape(kinds)[1])

    def look(i, scores):
        own = scores[:, i]
        held = tf.reduce_sum(inside[:, i] * scores, axis=1)
        ghost = (own > GHOST) & (held > TIMES * own)
        halved = tf.where(tf.expand_dims(ghost, 1) & tf.expand_dims(steps == i, 0), scores / 2, scores)
        return i + 1, tf.ensure_shape(halved, scores.shape)

    return tf.while_loop(lambda i, _: i < tf.shape(kinds)[1], look, (0, found["scores"]))[1]


def octagons(points, found, side):
    """Octagons on extreme points: a quarter of the box's side lies on each, or what of it is inside (section 4.5).

    Args:
        points: [B, N, 4, 2] float32, pixels.
        found: [B, N, 4] float32, their boxes.
        side: of the grids.

    Returns:
        [B, N, side, side] float32 of 0 and 1, grids over the boxes.
    """
    low, high = tf.split(tf.expand_dims(found, 2), 2, axis=-1)
    place = tf.math.divide_no_nan(points - low, high - low)  # 0...1 in the box
    start, end = tf.maximum(place - 0.125, 0.0), tf.minimum(place + 0.125, 1.0)
    y, x = tf.meshgrid(*[(tf.range(side, dtype=tf.float32) + 0.5) / side] * 2, indexing="ij")
    x, y = tf.reshape(x, [-1]), tf.reshape(y, [-1])
    (top, left, bottom, right) = range(4)
    inside = None
    # Each corner of the box is cut by a line between the ends of two sides' parts.
    for across, along, from_left, from_top in (
        (top, left, True, True), (top, right, False, True), (bottom, left, True, False), (bottom, right, False, False),
    ):  # fmt: skip
        a = start[:, :, across, 0] if from_left else 1 - end[:, :, across, 0]
        b = start[:, :, along, 1] if from_top else 1 - end[:, :, along, 1]
        a, b = tf.expand_dims(a, -1), tf.expand_dims(b, -1)
        beyond = (x if from_left else 1 - x) * b + (y if from_top else 1 - y) * a >= a * b
        inside = beyond if inside is None else inside & beyond
    return tf.reshape(tf.cast(inside, tf.float32), [tf.shape(found)[0], -1, side, side])
