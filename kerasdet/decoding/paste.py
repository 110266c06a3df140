"""Pastes masks from the grids over their boxes into the picture (Mask R-CNN, arXiv:1703.06870, section 3.1).

The rule is torchvision's: the grid gets a border of zeros, the box grows by that border and is truncated to whole
pixels, and the grid is resized bilinearly to this size. A pixel above 0.5 belongs to the mask. This is NumPy code for
one picture at a time, which touches only the pixels inside a box.
"""

import numpy as np

ABOVE = 0.5
# Limit of coordinates in pixels: boxes of a diverged detector could overflow integers.
_FAR = 1e6


def paste(masks, boxes, height, width):
    """Makes the full-size masks of a picture's detections.

    Args:
        masks: [D, S, S] floats in 0...1, each a grid over its box.
        boxes: [D, 4] float32, pixels of the picture; they may extend beyond its border.
        height, width: size of the picture, pixels.

    Returns:
        [D, height, width] bool.
    """
    pasted = np.zeros([len(masks), height, width], bool)
    for canvas, mask, box in zip(pasted, masks, boxes, strict=True):
        (x, y), values = within(mask, box, height, width)
        canvas[y : y + values.shape[0], x : x + values.shape[1]] = values > ABOVE
    return pasted


def within(mask, box, height, width):
    """Resizes one mask to its box and crops it to the picture.

    Args:
        mask: [S, S] floats in 0...1.
        box: [4] float32, pixels.
        height, width: size of the picture, pixels.

    Returns:
        (x, y) of the upper left pixel, and [h, w] float32 in 0...1; outside of this window the mask is 0.
    """
    side = len(mask)
    x1, y1, x2, y2 = whole_pixels(box, side)
    grid = np.pad(np.asarray(mask, np.float32), 1)
    columns, rows = _pixels(x1, x2, width), _pixels(y1, y2, height)
    # Bilinear resizing is separable: one matrix for the rows and one for the columns.
    row_weights, column_weights = (
        _weights(pixels - first, max(last - first + 1, 1), side + 2)
        for pixels, first, last in ((rows, y1, y2), (columns, x1, x2))
    )
    return (max(x1, 0), max(y1, 0)), row_weights @ grid @ column_weights.T


def whole_pixels(box, side):
    """The pixels that a mask of `side` cells and its border are resized to.

    Args:
        box: [4] float32, pixels.
        side: side of the mask [S, S].

    Returns:
        First and last column and row, ints: x1, y1, x2, y2, both ends included.
    """
    box = np.clip(np.nan_to_num(np.asarray(box, np.float32)), -_FAR, _FAR)
    center, half = (box[2:] + box[:2]) * np.float32(0.5), (box[2:] - box[:2]) * np.float32(0.5)
    half = half * np.float32((side + 2) / side)
    return tuple(int(value) for value in (*(center - half), *(center + half)))


def _pixels(first, last, side):
    """The pixels first...last that lie inside the picture."""
    return np.arange(max(first, 0), min(max(last, first) + 1, side))


def _weights(pixels, new, old):
    """[n, old]: bilinear weights of `old` cells at some of `new` pixels, with half-pixel centers."""
    centers = np.clip((pixels + np.float32(0.5)) * np.float32(old / new) - np.float32(0.5), 0, old - 1)
    return np.maximum(1 - np.abs(centers[:, None] - np.arange(old, dtype=np.float32)), 0)
