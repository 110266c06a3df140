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
        self.levels = levels
        self.offset = offset
        self.fitted = fitted
        self.cells = [_cell(level, ratios, rounded) for level in sizes]
        self.per_cell = len(self.cells[0])

    def grids(self, size):
        """Cells of every level.

        Args:
            size: (height, width) of the network's image, ints or scalar tensors.

        Returns:
            List of (rows, columns).
        """
        strides = [2**level for level in range(self.levels[0], self.levels[1] + 1)]
        return [(-(-size[0] // stride), -(-size[1] // stride)) for stride in strides]

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
