"""Anchors: the boxes of fixed size that a dense detector starts from."""

import math

import numpy as np
import tensorflow as tf

# How torchvision lays out anchors: from the cells' corners, in whole pixels.
TORCHVISION = {"offset": 0.0, "rounded": True, "fitted": "floor"}


class Anchors:
    """A grid of anchors on every map, in rows of level, row, column, shape.

    The number of anchors follows from the image size alone: a map of stride s has ceil(side / s) cells along a side.

    Args:
        shapes: for every level (width, height) of a cell's anchors, [N, 2] pixels; levels may differ in N.
        strides: for every level the distance of its cells, pixels.
        offset: center of the first anchor, in cells.
        rounded: corners relative to the center are rounded to whole pixels (as torchvision's weights expect).
        fitted: None; "floor" for distances of floor(side / cells), as torchvision's weights expect; "exact" for side /
            cells, as in EfficientDet at sides that the stride does not divide; its anchors' sides shrink alike.
    """

    def __init__(self, shapes, strides, offset=0.5, rounded=False, fitted=None):
        if len(shapes) != len(strides):
            raise ValueError(f"anchors need shapes for each of {len(strides)} levels, got {len(shapes)}.")
        self.strides = tuple(strides)
        self.offset = offset
        self.fitted = fitted
        halves = [np.asarray(level, np.float64).reshape(-1, 2) / 2 for level in shapes]
        cells = [np.concatenate([-half, half], axis=1) for half in halves]
        self.cells = [np.float32(np.round(cell) if rounded else cell) for cell in cells]
        self.per_cell = [len(cell) for cell in self.cells]

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
        return [rows * columns * count for (rows, columns), count in zip(self.grids(size), self.per_cell, strict=True)]

    def __call__(self, size):
        """Lays out the anchors.

        Args:
            size: (height, width) of the network's image, ints or scalar tensors.

        Returns:
            [A, 4] float32, pixels, x1 y1 x2 y2.
        """
        levels = []
        for (rows, columns), stride, cell in zip(self.grids(size), self.strides, self.cells, strict=True):
            down, across = self._distance(size[0], rows, stride), self._distance(size[1], columns, stride)
            x, y = tf.meshgrid(
                (tf.range(columns, dtype=tf.float32) + self.offset) * across,
                (tf.range(rows, dtype=tf.float32) + self.offset) * down,
            )
            centers, shapes = tf.stack([x, y, x, y], axis=-1), tf.constant(cell)
            if self.fitted == "exact":
                shapes *= tf.stack([across, down, across, down]) / stride
            levels.append(tf.reshape(centers[:, :, None] + shapes, [-1, 4]))
        return tf.concat(levels, axis=0)

    def _distance(self, side, cells, stride):
        """Of the cells along a side, pixels."""
        if self.fitted is None:
            return tf.cast(stride, tf.float32)
        if self.fitted == "floor":
            return tf.cast(side // cells, tf.float32)
        return tf.cast(side, tf.float32) / tf.cast(cells, tf.float32)


def shapes(sizes, ratios=(0.5, 1.0, 2.0)):
    """Widths and heights of anchors of given areas and ratios (Faster R-CNN, section 3.1.1).

    Args:
        sizes: for every level the square roots of the anchors' areas, pixels.
        ratios: heights over widths.

    Returns:
        For every level an array [N, 2] of widths and heights, ratio by ratio, in each size by size.
    """
    return [
        np.array([(size / math.sqrt(ratio), size * math.sqrt(ratio)) for ratio in ratios for size in level])
        for level in sizes
    ]


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
        """Cells of every map, a list of (rows, columns); `size` as in `Anchors`."""
        return list(zip(self.cells(size[0]), self.cells(size[1]), strict=True))

    def counts(self, size):
        """Boxes of every map, a list of ints or scalar tensors; `size` as in `Anchors`."""
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
        # Scaled last, as torchvision does: which of two nearly equal overlaps is greater depends on the last bit.
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


def octaves(strides, scale=4.0, count=3):
    """Sizes of `count` anchors per octave: scale * stride * 2**(i / count) (RetinaNet, section 4).

    Args:
        strides: of the levels, pixels.
        scale: size of a level's smallest anchor, in strides.
        count: sizes per level.

    Returns:
        Tuple of a tuple of sizes per level, pixels.
    """
    return tuple(tuple(scale * stride * 2 ** (i / count) for i in range(count)) for stride in strides)
