"""Anchors: the boxes of fixed size that a dense detector starts from."""

import math

import numpy as np
import tensorflow as tf


class Pyramid:
    """A grid of anchors on every level of a feature pyramid, in rows of level, row, column, ratio, size.

    The number of anchors follows from the image size alone: level l has ceil(side / 2**l) cells a side.

    Args:
        levels: first and last level; level l has stride 2**l.
        sizes: for every level the square roots of the anchors' areas, pixels.
        ratios: heights over widths.
        offset: center of the first anchor, in cells.
        rounded: corners relative to the center are rounded to whole pixels (as torchvision's weights expect).
        fitted: strides are floor(side / cells) instead of 2**l (as torchvision's weights expect).
    """

    def __init__(self, levels, sizes, ratios=(0.5, 1.0, 2.0), offset=0.5, rounded=False, fitted=False):
        if len(sizes) != levels[1] - levels[0] + 1:
            raise ValueError(f"sizes must hold one tuple for each of the levels {levels}, got {len(sizes)}.")
        if len({len(level) for level in sizes}) != 1:
            raise ValueError(f"sizes must be as many on every level, got {tuple(map(tuple, sizes))}.")
        self.levels = levels
        self.offset = offset
        self.fitted = fitted
        self.cells = [_cell(level, ratios, rounded) for level in sizes]
        self.per_cell = len(self.cells[0])

    @property
    def strides(self):
        """Distance of the cells of every level, a list, pixels."""
        return [2**level for level in range(self.levels[0], self.levels[1] + 1)]

    def grids(self, size):
        """Cells of every level.

        Args:
            size: (height, width) of the network's image, ints or scalar tensors.

        Returns:
            List of (rows, columns).
        """
        return [(-(-size[0] // stride), -(-size[1] // stride)) for stride in self.strides]

    def counts(self, size):
        """Anchors of every level, a list of ints or scalar tensors; `size` as in `grids`."""
        return [rows * columns * self.per_cell for rows, columns in self.grids(size)]

    def __call__(self, size):
        """Lays out the anchors.

        Args:
            size: (height, width) of the network's image, ints or scalar tensors.

        Returns:
            [A, 4] float32, pixels, x1 y1 x2 y2.
        """
        levels = []
        for i, ((rows, columns), cell) in enumerate(zip(self.grids(size), self.cells, strict=True)):
            stride_y = stride_x = 2 ** (self.levels[0] + i)
            if self.fitted:
                stride_y, stride_x = size[0] // rows, size[1] // columns
            y = (tf.range(rows, dtype=tf.float32) + self.offset) * tf.cast(stride_y, tf.float32)
            x = (tf.range(columns, dtype=tf.float32) + self.offset) * tf.cast(stride_x, tf.float32)
            x, y = tf.meshgrid(x, y)
            centers = tf.stack([x, y, x, y], axis=-1)
            levels.append(tf.reshape(centers[:, :, None] + tf.constant(cell), [-1, 4]))
        return tf.concat(levels, axis=0)


class DefaultBoxes:
    """SSD's default boxes (Liu et al., ECCV 2016, section 2.2), in rows of map, row, column, shape.

    Args:
        cells: function from a side of the network's image, pixels, to the cells of every map along it.
        shapes: for every map (width, height) of a cell's boxes in parts of the image, as `default_shapes` gives them.
        steps: for every map the distance of its cells, pixels; None for side / cells.
        grid: None, or the part of the image that centers and sides are rounded to (as quantized releases have them).
    """

    def __init__(self, cells, shapes, steps=None, grid=None):
        self.cells = cells
        self.shapes = [np.float32(shape if grid is None else np.round(shape / grid) * grid) for shape in shapes]
        self.steps = steps
        self.grid = grid
        self.per_cell = [len(shape) for shape in shapes]

    def grids(self, size):
        """Cells of every map, a list of (rows, columns); `size` as in `Pyramid`."""
        return list(zip(self.cells(size[0]), self.cells(size[1]), strict=True))

    def counts(self, size):
        """Boxes of every map, a list of ints or scalar tensors; `size` as in `Pyramid`."""
        return [rows * columns * count for (rows, columns), count in zip(self.grids(size), self.per_cell, strict=True)]

    def __call__(self, size):
        """Lays out the boxes.

        Args:
            size: (height, width) of the network's image, ints or scalar tensors.

        Returns:
            [A, 4] float32, pixels, x1 y1 x2 y2; corners may lie outside the image.
        """
        height, width = (tf.cast(side, tf.float32) for side in size)
        maps = []
        for i, ((rows, columns), shape) in enumerate(zip(self.grids(size), self.shapes, strict=True)):
            cells = (rows, columns) if self.steps is None else (height / self.steps[i], width / self.steps[i])
            x, y = tf.meshgrid(self._centers(columns, cells[1]), self._centers(rows, cells[0]))
            half = tf.constant(shape) / 2
            parts = tf.stack([x, y, x, y], axis=-1)[:, :, None] + tf.concat([-half, half], axis=-1)
            maps.append(tf.reshape(parts, [-1, 4]))
        # Scaled last, as torchvision does: which of two equal overlaps is the greater hangs on the last bit.
        return tf.concat(maps, axis=0) * tf.stack([width, height, width, height])

    def _centers(self, count, cells):
        """Of the first `count` cells in parts of a side that holds `cells` of them."""
        centers = (tf.range(count, dtype=tf.float32) + 0.5) / tf.cast(cells, tf.float32)
        return centers if self.grid is None else tf.round(centers / self.grid) * self.grid


def default_shapes(scales, ratios, clip=False):
    """Shapes of SSD's default boxes: s, sqrt(s * s'), and for each ratio r (s sqrt(r), s / sqrt(r)) and its mirror.

    Args:
        scales: s of every map in parts of the image, and one more for the last map's s'.
        ratios: for every map widths over heights.
        clip: sides end at 1.

    Returns:
        For every map an array [N, 2] of widths and heights.
    """
    shapes = []
    for scale, following, own in zip(scales[:-1], scales[1:], ratios, strict=True):
        mean = math.sqrt(scale * following)
        sides = [(scale, scale), (mean, mean)]
        for root in map(math.sqrt, own):
            sides += [(scale * root, scale / root), (scale / root, scale * root)]
        shapes.append(np.minimum(sides, 1.0) if clip else np.array(sides))
    return shapes


def default_shapes_tf(scales, ratios, least=0.1):
    """As `default_shapes`, in the form of TensorFlow's Object Detection API.

    The first map has three shapes, at 1:1 of scale `least`; sqrt(s * s') is every other map's last shape, not its
    second. Other arguments and result as in `default_shapes`.
    """
    first, *others = default_shapes(scales, ratios)
    return [np.concatenate([[(least, least)], first[2:4]]), *(np.concatenate([s[:1], s[2:], s[1:2]]) for s in others)]


def octaves(levels, scale=4.0, count=3):
    """Sizes of `count` anchors an octave: scale * 2**level * 2**(i / count) (RetinaNet, section 4).

    Args:
        levels: first and last level.
        scale: size of a level's smallest anchor, in strides.
        count: sizes a level.

    Returns:
        Tuple of a tuple of sizes a level, pixels.
    """
    return tuple(
        tuple(scale * 2 ** (level + i / count) for i in range(count)) for level in range(levels[0], levels[1] + 1)
    )


def _cell(sizes, ratios, rounded):
    boxes = np.array(
        [[-s / math.sqrt(r), -s * math.sqrt(r), s / math.sqrt(r), s * math.sqrt(r)] for r in ratios for s in sizes]
    )
    return np.float32(np.round(boxes / 2) if rounded else boxes / 2)
