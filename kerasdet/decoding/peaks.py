"""Decodes heat maps: their peaks, and boxes, joints and pairs of corners from them (Objects as Points, section 4)."""

import tensorflow as tf

from kerasdet.decoding import candidates


def peaks(maps, count, kernel=3):
    """Takes the best cells that are no less than their neighbors (Objects as Points, section 4).

    Args:
        maps: [B, H, W, K] float32, scores or logits.
        count: cells of an image.
        kernel: side of the neighborhood; 1 takes all cells.

    Returns:
        values [B, N] by falling value, the lowest number where a cell is no peak; columns and rows [B, N, 2] int32; and
        classes [B, N] int32. N is the lesser of `count` and the number of numbers. Of equal ones the first by row,
        column and class comes first.
    """
    size, flat = tf.shape(maps)[1:3], tf.reshape(maps, [tf.shape(maps)[0], -1, maps.shape[-1]])
    cells = likely(maps, count, kernel)
    values = tf.gather(flat, cells, batch_dims=1)
    if kernel > 1:
        around = tf.gather(flat, neighbors(cells, size, kernel), batch_dims=1)
        values = tf.where(values == tf.reduce_max(around, axis=2), values, values.dtype.min)
    values, rows, classes = candidates.top(values, [tf.shape(cells)[1]], count)
    places = tf.gather(cells, rows, batch_dims=1)
    return values, tf.stack([places % size[1], places // size[1]], axis=-1), classes


def likely(maps, count, kernel):
    """The cells [B, M] int32, in their order, among which the best peaks are; arguments as in `peaks`.

    A peak of the map of every cell's best class is also a peak of that class. The map has `count` peaks, if it is large
    enough, so the best `count` peaks of all classes are at least as high as the lowest of these. Only cells whose best
    class is as high need to be searched: few, unless most of the map is flat.
    """
    best = tf.reduce_max(maps, axis=-1)
    # TensorFlow pools a map of one channel slowly, so one side of the map takes the place of the channels.
    greatest = best
    for _ in range(2):
        greatest = tf.nn.max_pool2d(tf.expand_dims(greatest, 2), (kernel, 1), 1, "SAME")
        greatest = tf.transpose(tf.squeeze(greatest, 2), [0, 2, 1])
    flat = tf.reshape(best, [tf.shape(best)[0], -1])
    peaked = tf.where(flat == tf.reshape(greatest, tf.shape(flat)), flat, flat.dtype.min)
    least = tf.math.top_k(peaked, tf.minimum(count, tf.shape(flat)[1])).values[:, -1:]
    number = tf.reduce_max(tf.reduce_sum(tf.cast(flat >= least, tf.int32), axis=1))
    return tf.sort(tf.math.top_k(flat, number).indices, axis=-1)


def neighbors(cells, size, kernel):
    """Numbers [B, M, kernel * kernel] of the cells around cells [B, M] of a map of `size` (rows, columns)."""
    steps = tf.range(kernel) - kernel // 2
    rows = tf.clip_by_value(tf.expand_dims(cells // size[1], -1) + steps, 0, size[0] - 1)
    columns = tf.clip_by_value(tf.expand_dims(cells % size[1], -1) + steps, 0, size[1] - 1)
    around = tf.expand_dims(rows * size[1], -1) + tf.expand_dims(columns, -2)
    return tf.reshape(around, [*tf.unstack(tf.shape(cells)), kernel * kernel])


def highest(maps, kernel=3):
    """Maps [B, H, W, K] that have the lowest number wherever a neighbor in a window of `kernel` cells is greater."""
    return tf.where(maps == tf.nn.max_pool2d(maps, kernel, 1, "SAME"), maps, maps.dtype.min)


def boxes(places, sides):
    """Boxes [B, N, 4] around their centers [B, N, 2], of sides [B, N, 2], all in cells."""
    return tf.concat([places - sides / 2, places + sides / 2], axis=-1)


def joints(regressed, found, maps, scores, near=0.3, above=0.1):
    """Moves each regressed joint to the nearest peak of its heat map (Objects as Points, section 4.2).

    A joint stays where it is if that peak lies outside of the object's box, or farther away than `near` times its
    longer side.

    Args:
        regressed: [B, N, P, 2] float32, cells.
        found: [B, N, 4] boxes, cells.
        maps: places [B, C, P, 2] of each joint's C best peaks, cells, and their scores [B, C, P].
        scores: [B, N], of the objects: what a joint that stays is worth.
        near, above: see above; peaks need a score above `above`.

    Returns:
        [B, N, P, 3] float32: x, y in cells and a score.
    """
    places, sure = maps
    good = sure > above
    sure, places = tf.where(good, sure, -1.0), tf.where(tf.expand_dims(good, -1), places, -10000.0)
    by_joint = tf.transpose(places, [0, 2, 1, 3])
    own = tf.transpose(regressed, [0, 2, 1, 3])
    # By joint: [B, P, N, 1] from [B, P, 1, C], along x and along y.
    steps = [
        tf.expand_dims(a, 3) - tf.expand_dims(b, 2)
        for a, b in zip(tf.unstack(own, axis=-1), tf.unstack(by_joint, axis=-1), strict=True)
    ]
    distance = tf.sqrt(tf.square(steps[0]) + tf.square(steps[1]))
    nearest = tf.argmin(distance, axis=-1, output_type=tf.int32)  # [B, P, N]
    peak = tf.gather(by_joint, nearest, batch_dims=2)
    value = tf.gather(tf.transpose(sure, [0, 2, 1]), nearest, batch_dims=2)
    closest = tf.reduce_min(distance, axis=-1)
    low, high = (tf.expand_dims(corner, 1) for corner in tf.split(found, 2, axis=-1))
    inside = tf.reduce_all((peak >= low) & (peak <= high), axis=-1)
    reach = near * tf.reduce_max(high - low, axis=-1)
    taken = inside & (value >= above) & (closest <= reach)
    places = tf.where(tf.expand_dims(taken, -1), peak, own)
    values = tf.where(taken, value, tf.expand_dims(scores, 1))
    return tf.transpose(tf.concat([places, tf.expand_dims(values, -1)], axis=-1), [0, 2, 1, 3])


def pairs(corners, others, limit, distance=0.5):
    """Pairs of a top left and a bottom right corner that say they belong together (CornerNet, section 3.3).

    Args:
        corners, others: dicts of the corners of an image: `places` [B, C, 2] float32, cells, `scores` [B, C], 0 where
            there is none, `classes` [B, C] int32 and `tags` [B, C].
        limit: pairs of an image.
        distance: greatest difference of two tags.

    Returns:
        Dict of `boxes` [B, N, 4] in cells, `scores` [B, N], the means of the two, by falling score, 0 where there is no
        pair, `classes` [B, N], and the corners' own scores, `first` and `second` [B, N].
    """

    def crossed(name):
        return tf.expand_dims(corners[name], 2), tf.expand_dims(others[name], 1)

    (a, b), (kind, other_kind), (tag, other_tag), (score, other) = map(crossed, ("places", "classes", "tags", "scores"))
    belong = (kind == other_kind) & (tf.abs(tag - other_tag) <= distance) & (score > 0) & (other > 0)
    belong &= (a[..., 0] <= b[..., 0]) & (a[..., 1] <= b[..., 1])
    count = tf.shape(belong)[2]
    values = tf.reshape(tf.where(belong, (score + other) / 2, 0.0), [tf.shape(belong)[0], -1])
    scores, rows = tf.math.top_k(values, tf.minimum(limit, tf.shape(values)[1]))
    left, right = rows // count, rows % count

    def of(side, name, rows):
        return tf.gather(side[name], rows, batch_dims=1)

    return {
        "boxes": tf.concat([of(corners, "places", left), of(others, "places", right)], axis=-1),
        "scores": scores,
        "classes": of(corners, "classes", left),
        "first": of(corners, "scores", left),
        "second": of(others, "scores", right),
    }


def of_each(maps, count):
    """The best peaks of every channel.

    Args:
        maps: [B, H, W, K] float32, scores or logits.
        count: cells of a channel.

    Returns:
        values [B, N, K] by falling value, the lowest number where a cell is no peak, and columns and rows
        [B, N, K, 2] int32; N is the lesser of `count` and H * W.
    """
    maps = highest(maps)
    width = tf.shape(maps)[2]
    flat = tf.reshape(maps, [tf.shape(maps)[0], -1, maps.shape[-1]])
    values, places = candidates.top_of_classes(flat, count)
    return values, tf.stack([places % width, places // width], axis=-1)
