"""Masks from the grids on their boxes to the pixels of the picture (Mask R-CNN, arXiv:1703.06870, section 3.1).

The rule is torchvision's: the grid gets a border of zeros, the box grows with it and is cut to whole pixels, and the
grid is resized bilinearly into those. A pixel above 0.5 belongs to the mask. NumPy, one picture at a
time: only what lies within a box is touched.
"""

import numpy as np

ABOVE = 0.5
# Pixels beyond which a box of a detector that diverged is cut, since whole numbers end somewhere.
_FAR = 1e6


def paste(masks, boxes, height, width):
    """Makes the masks of a picture's detections.

    Args:
        masks: [D, S, S] floats in 0...1, each a grid over its box.
        boxes: [D, 4] float32, pixels of the picture; they may reach over its border.
        height, width: of the picture, pixels.

    Returns:
        [D, height, width] bool.
    """
    found = np.zeros([len(masks), height, width], bool)
    for canvas, mask, box in zip(found, masks, boxes, strict=True):
        (x, y), values = within(mask, box, height, width)
        canvas[y : y + values.shape[0], x : x + values.shape[1]] = values > ABOVE
    return found


def within(mask, box, height, width):
    """Resizes one mask into its box, as far as that lies within the picture.

    Args:
        mask: [S, S] floats in 0...1.
        box: [4] float32, pixels.
        height, width: of the picture, pixels.

    Returns:
        (x, y) of the upper left pixel, and [h, w] float32 in 0...1; outside of it the mask is 0.
    """
    side = len(mask)
    x1, y1, x2, y2 = whole_pixels(box, side)
    grid = np.pad(np.asarray(mask, np.float32), 1)
    columns, rows = _pixels(x1, x2, width), _pixels(y1, y2, height)
    down, across = (
        _weights(pixels - first, max(last - first + 1, 1), side + 2)
        for pixels, first, last in ((rows, y1, y2), (columns, x1, x2))
    )
    return (max(x1, 0), max(y1, 0)), down @ grid @ across.T


def whole_pixels(box, side):
    """The pixels that a mask of `side` cells and its border are resized into.

    Args:
        box: [4] float32, pixels.
        side: that of a mask [S, S].

    Returns:
        First and last column and row, ints: x1, y1, x2, y2 with both ends included.
    """
    box = np.clip(np.nan_to_num(np.asarray(box, np.float32)), -_FAR, _FAR)
    middle, half = (box[2:] + box[:2]) * np.float32(0.5), (box[2:] - box[:2]) * np.float32(0.5)
    half = half * np.float32((side + 2) / side)
    return tuple(int(value) for value in (*(middle - half), *(middle + half)))


def _pixels(first, last, side):
    """Those of the pixels first...last that the picture has."""
    return np.arange(max(first, 0), min(max(last, first) + 1, side))


def _weights(places, new, old):
    """Weights [n, old] of the old cells at the given of `new` pixels, bilinear with half-pixel centers."""
    centers = np.clip((places + np.float32(0.5)) * np.float32(old / new) - np.float32(0.5), 0, old - 1)
    return np.maximum(1 - np.abs(centers[:, None] - np.arange(old, dtype=np.float32)), 0)
