"""Targets of heat maps: a Gaussian at each object's center or corners (CornerNet, Law & Deng, ECCV 2018, section 3.2).

A cell is what one number of a map stands for; places are x and y in cells, counted from the map's upper left.
"""

from typing import NamedTuple

import tensorflow as tf

from kerasdet import boxes as box
from kerasdet.targets import assign


class Points(NamedTuple):
    """One place on the map for each object.

    real: [B, M] bool: there is one.
    cells: [B, M, 2] int32, column and row.
    offsets: [B, M, 2] float32, where in its cell the place lies, 0...1.
    radii: [B, M] int32, of the Gaussian, cells.
    """

    real: tf.Tensor
    cells: tf.Tensor
    offsets: tf.Tensor
    radii: tf.Tensor


def real(objects):
    """[B, M] bool: the objects that are learned: no crowds and no padding."""
    return (objects["classes"] >= 0) & ~objects["crowds"]


def first(objects, most):
    """The objects dict with the first `most` of each image, [B, most, ...]."""
    return {name: values[:, :most] for name, values in objects.items()}


def grid_of(maps):
    """(rows, columns) of maps [B, H, W, ...]: ints if static, else scalar tensors."""
    return [maps.shape[axis] or tf.shape(maps)[axis] for axis in (1, 2)]


def cells_per_pixel(grid, size):
    """The map's cells over the image's pixels along x, y, x, y, [..., 4] float32: 128 / 511 in CornerNet's release."""
    ratio = [tf.cast(cells, tf.float32) / tf.cast(side, tf.float32) for cells, side in zip(grid, size, strict=True)]
    return tf.stack([ratio[1], ratio[0]] * 2)


def clipped(boxes, grid):
    """Boxes [..., 4] in cells of a map of (rows, columns), or pixels of an image, clipped to the first and the last."""
    last = tf.cast(tf.stack([grid[1], grid[0]]), tf.float32) - 1.0
    return tf.clip_by_value(boxes, 0.0, tf.concat([last, last], axis=0))


def centers(boxes, real, overlap):
    """The centers of boxes (Objects as Points, Zhou et al., arXiv:1904.07850, section 3).

    Args:
        boxes: [B, M, 4] float32, cells; those without an area have no point.
        real: [B, M] bool.
        overlap: as in `radii`.

    Returns:
        `Points`.
    """
    low, high = tf.split(boxes, 2, axis=-1)
    return points((low + high) / 2, high - low, real & box.is_large(boxes, 1e-6), overlap)


def corners(boxes, real, overlap, corrected=False):
    """The upper left and the lower right corners of boxes: two `Points`. Arguments as in `centers` and `radii`."""
    low, high = tf.split(boxes, 2, axis=-1)
    real &= box.is_large(boxes, 1e-6)
    return tuple(points(place, high - low, real, overlap, corrected) for place in (low, high))


def points(places, sides, real, overlap, corrected=False):
    """Cells, offsets and radii of places.

    Args:
        places: [B, M, 2] float32, x and y in cells.
        sides: [B, M, 2] float32, the objects' width and height in cells; rounded up for the radius.
        real: [B, M] bool.
        overlap, corrected: as in `radii`.

    Returns:
        `Points`.
    """
    corner = tf.floor(tf.where(real[..., None], places, 0.0))
    sides = tf.where(real[..., None], tf.math.ceil(sides), 1.0)
    return Points(real, tf.cast(corner, tf.int32), places - corner, radii(sides, overlap, corrected))


def radii(sides, overlap=0.7, corrected=False):
    """How far a corner may be off so that the box still overlaps its object enough (CornerNet, section 3.2).

    The released programs, but for a later CornerNet, take the larger root of two of the three equations and do not
    divide by their first coefficient; released models were trained with these greater radii.

    Args:
        sides: [..., 2] float32, width and height in cells.
        overlap: least IoU, 0...1.
        corrected: whether the equations are solved.

    Returns:
        [...] int32, rounded down.
    """
    width, height = tf.unstack(tf.cast(sides, tf.float64), axis=-1)
    total, area = width + height, width * height
    # One corner moves in and the other out, both in, both out: a r^2 + b r + c = 0.
    equations = (
        (1.0, total, area * (1 - overlap) / (1 + overlap), -1),
        (4.0, 2 * total, (1 - overlap) * area, -1),
        (4.0 * overlap, -2 * overlap * total, (overlap - 1) * area, 1),
    )
    found = []
    for a, b, c, sign in equations:
        root = tf.sqrt(tf.maximum(b * b - 4 * a * c, 0.0))
        found.append((b + sign * root) / (2 * a) if corrected else (b + root) / 2)
    return tf.cast(tf.maximum(tf.reduce_min(tf.stack(found), axis=0), 0.0), tf.int32)


def gaussians(points, classes, grid, num_classes, divisor=6.0):
    """Draws a Gaussian for each point on the map of its class; where several overlap the greatest counts.

    Args:
        points: `Points`; those outside the map draw what of their Gaussian lies inside.
        classes: [B, M] int32.
        grid: (rows, columns) of the map.
        num_classes: K.
        divisor: of the diameter 2 * radius + 1, which gives the deviation.

    Returns:
        [B, rows, columns, K] float32, 1 in the cells of the points.
    """
    rows, columns = grid

    def draw(image):
        real, cells, radii, classes = image
        deviation = (2.0 * tf.cast(radii, tf.float32) + 1.0) / divisor

        def along(axis, count):
            distance = tf.range(count)[None] - cells[:, axis, None]
            height = tf.exp(-tf.square(tf.cast(distance, tf.float32)) / (2.0 * tf.square(deviation[:, None])))
            return tf.where((tf.abs(distance) <= radii[:, None]) & real[:, None], height, 0.0)

        drawn = along(1, rows)[:, :, None] * along(0, columns)[:, None]
        drawn = tf.reshape(drawn, [-1, rows * columns])
        found = tf.math.unsorted_segment_max(drawn, tf.where(real, classes, -1), num_classes)
        return tf.reshape(tf.transpose(tf.maximum(found, 0.0)), [rows, columns, num_classes])

    # Image by image: the maps of all objects of a batch would not fit into memory.
    signature = tf.TensorSpec([None if tf.is_tensor(side) else side for side in grid] + [num_classes], tf.float32)
    given = points.real, points.cells, points.radii, classes
    return tf.map_fn(draw, given, fn_output_signature=signature, parallel_iterations=1)


def longer_sides(boxes, size):
    """The longer sides [B, M] of boxes [B, M, 4] in pixels, clipped to an image of (height, width), in whole pixels."""
    x1, y1, x2, y2 = tf.unstack(tf.floor(clipped(boxes, size)), axis=-1)
    return tf.maximum(x2 - x1, y2 - y1)


def marked(boxes, real, size, grid, stride, sides):
    """Marks the cells of centers of boxes of some sizes: an attention map (CornerNet-Lite, arXiv:1904.08900, 3.1).

    Args:
        boxes: [B, M, 4] float32, pixels.
        real: [B, M] bool.
        size: (height, width) of the image.
        grid: (rows, columns) of the map.
        stride: pixels of a cell.
        sides: least and greatest longer side of a box, pixels, both among them.

    Returns:
        [B, rows, columns, 1] float32, 0 or 1.
    """
    low, high = tf.split(clipped(boxes, size), 2, axis=-1)
    longer = tf.reduce_max(high - low, axis=-1)
    real &= (longer >= sides[0]) & (longer <= sides[1])
    places = (low + high) / 2 / stride
    points_ = points(places, tf.ones_like(places), real, 0.7)
    return gaussians(points_._replace(radii=tf.zeros_like(points_.radii)), tf.zeros_like(points_.radii), grid, 1)


def hidden(objects, grid, size):
    """Which cells lie under a crowd, and so are no background to learn.

    Args:
        objects: the objects dict of `contract`.
        grid: (rows, columns) of the map.
        size: (height, width) of the image, pixels.

    Returns:
        [B, rows, columns] bool.
    """
    sides = [
        (tf.range(count, dtype=tf.float32) + 0.5) * tf.cast(side, tf.float32) / tf.cast(count, tf.float32)
        for count, side in zip(grid, size, strict=True)
    ]
    centers = tf.reshape(tf.stack(tf.meshgrid(*sides[::-1]), axis=-1), [-1, 2])
    return tf.reshape(assign.under_crowds(centers, objects), [-1, *grid])
