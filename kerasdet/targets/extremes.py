"""Extreme points of objects: where an outline is highest, leftmost, lowest and rightmost (ExtremeNet, section 4.1)."""

import tensorflow as tf

# An edge that leaves the extreme by no more than this share of the object's side is extreme as a whole.
FLAT = 0.02


def middle(depths, places, real, reach):
    """Where a list of points is extreme: the middle of the flat run around the first extreme point.

    Args:
        depths: [..., P] float32, how far each point is from a side, pixels; the least is the extreme.
        places: [..., P] float32, along that side, pixels.
        real: [..., P] bool: where a point is.
        reach: [...] float32, how much deeper the run's points may lie, pixels.

    Returns:
        [...] float32: of the run's least and greatest place the middle, rounded down.
    """
    depths = tf.where(real, depths, depths.dtype.max)
    first = tf.argmin(depths, axis=-1, output_type=tf.int32)[..., None]
    least = tf.reduce_min(depths, axis=-1, keepdims=True)
    steps = tf.range(tf.shape(depths)[-1])
    # The run ends before the nearest point on either side that lies deeper.
    deeper = ~real | (depths - least > reach[..., None])
    start = tf.reduce_max(tf.where(deeper & (steps < first), steps, -1), axis=-1, keepdims=True)
    end = tf.reduce_min(tf.where(deeper & (steps > first), steps, tf.shape(depths)[-1]), axis=-1, keepdims=True)
    run = (steps > start) & (steps < end)
    low = tf.reduce_min(tf.where(run, places, places.dtype.max), axis=-1)
    high = tf.reduce_max(tf.where(run, places, places.dtype.min), axis=-1)
    return tf.floor((low + high) / 2)


def of_list(points):
    """The extreme points of a polygon, or of any list of points, as the release takes them from COCO's annotations.

    The list is closed by one point at each end, so a run does not go round any farther.

    Args:
        points: [P, 2] float32, x and y, pixels.

    Returns:
        [4, 2] int32: x and y of the top, the left, the bottom and the right one.
    """
    low, high = tf.reduce_min(points, axis=0), tf.reduce_max(points, axis=0)
    reach = FLAT * (high - low + 1)
    x, y = tf.unstack(tf.concat([points[-1:], points, points[:1]], axis=0), axis=-1)
    real = tf.fill(tf.shape(x), True)
    top, bottom = (middle(depth, x, real, reach[1]) for depth in (y - low[1], high[1] - y))
    left, right = (middle(depth, y, real, reach[0]) for depth in (x - low[0], high[0] - x))
    found = [[top, low[1]], [low[0], left], [bottom, high[1]], [high[0], right]]
    return tf.cast(tf.stack([tf.stack(one) for one in found]), tf.int32)


def of_masks(masks, frames, boxes):
    """The extreme points of masks: the list is the mask's first cell in every column, seen from above, and so on.

    Args:
        masks: [B, M, S, S] uint8 or bool: grids of 0/1 over `frames`.
        frames: [B, M, 4] float32, pixels.
        boxes: [B, M, 4] float32, pixels; their sides hold the points.

    Returns:
        [B, M, 4, 2] float32: x and y of the top, left, bottom and right one; where a grid is empty that of the middle
        of the box's side.
    """
    filled, side = tf.cast(masks, tf.bool), masks.shape[2]
    low, high = tf.split(frames, 2, axis=-1)
    cell = (high - low) / side
    x1, y1, x2, y2 = tf.unstack(boxes, axis=-1)
    found = []
    for axis, backward in ((0, False), (1, False), (0, True), (1, True)):
        # Along x for top and bottom, whose depth is counted in rows.
        grid = tf.reverse(filled, [2 + axis]) if backward else filled
        real = tf.reduce_any(grid, axis=2 + axis)
        depths = tf.cast(tf.argmax(tf.cast(grid, tf.int32), axis=2 + axis, output_type=tf.int32), tf.float32)
        across, along = cell[..., 1 - axis], cell[..., axis]
        steps = tf.broadcast_to(tf.range(side, dtype=tf.float32), tf.shape(depths))
        rows = tf.reduce_any(filled, axis=3 - axis)
        extent = tf.reduce_sum(tf.cast(rows, tf.float32), axis=-1) * across
        reach = FLAT * (extent + 1.0)
        place = middle(depths, 2.0 * steps, real, tf.math.divide_no_nan(reach, across))
        place = low[..., axis] + (place / 2 + 0.5) * along
        half = (x1 + x2) / 2 if axis == 0 else (y1 + y2) / 2
        place = tf.where(tf.reduce_any(real, axis=-1), place, half)
        found.append(tf.stack([place, y2 if backward else y1] if axis == 0 else [x2 if backward else x1, place], -1))
    return tf.stack(found, axis=2)
