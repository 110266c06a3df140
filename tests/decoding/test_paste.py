"""Pasting masks: against a slow loop over pixels, with boxes of every kind."""

import numpy as np
import pytest

from kerasdet.decoding.paste import paste, within


def slow(mask, box, height, width):
    """Every pixel by itself, from the rule's words."""
    side = len(mask)
    grid = np.zeros([side + 2, side + 2])
    grid[1:-1, 1:-1] = mask
    middle = (box[2:] + box[:2]) / 2
    half = (box[2:] - box[:2]) / 2 * (side + 2) / side
    x1, y1, x2, y2 = (int(value) for value in (*(middle - half), *(middle + half)))
    high, wide = max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)
    found = np.zeros([height, width])
    for y in range(max(y1, 0), min(y1 + high, height)):
        for x in range(max(x1, 0), min(x1 + wide, width)):
            row = min(max((y - y1 + 0.5) * (side + 2) / high - 0.5, 0), side + 1)
            column = min(max((x - x1 + 0.5) * (side + 2) / wide - 0.5, 0), side + 1)
            low, left = min(int(row), side), min(int(column), side)
            down, across = row - low, column - left
            found[y, x] = (1 - down) * ((1 - across) * grid[low, left] + across * grid[low, left + 1]) + down * (
                (1 - across) * grid[low + 1, left] + across * grid[low + 1, left + 1]
            )
    return found


@pytest.mark.parametrize(
    "box",
    [
        [3.2, 4.7, 20.9, 30.1],
        [-9, -7, 12, 8],
        [30, 20, 70, 60],
        [0, 0, 48, 40],
        [-30, -20, 90, 80],
        [7.3, 9.1, 7.9, 9.4],
    ],
)
@pytest.mark.parametrize("side", [5, 28])
def test_a_slow_loop(box, side):
    rng = np.random.default_rng(side)
    mask = rng.uniform(size=(side, side)).astype(np.float32)
    box = np.float32(box)
    (x, y), values = within(mask, box, 40, 48)
    found = np.zeros([40, 48])
    found[y : y + values.shape[0], x : x + values.shape[1]] = values
    np.testing.assert_allclose(found, slow(mask, box, 40, 48), atol=1e-5)


def test_a_full_mask_covers_its_box():
    """The border of zeros is as wide as a cell, and half of it lies outside the box: the edge is at a half."""
    masks = paste(np.ones([1, 28, 28]), np.float32([[10, 20, 66, 76]]), 100, 90)
    rows, columns = np.flatnonzero(masks[0].any(1)), np.flatnonzero(masks[0].any(0))
    assert abs(masks.sum() - 56 * 56) < 2 * 56 + 2
    ends = [rows[0], rows[-1], columns[0], columns[-1]]
    np.testing.assert_allclose(ends, [20, 75, 10, 65], atol=1)


@pytest.mark.parametrize(
    "box", [[200, 200, 220, 230], [-60, 3, -40, 9], [0, 0, 0, 0], [12, 9, 12, 9], [30, 30, 10, 10], [5, -90, 9, -70]]
)
def test_boxes_without_area(box):
    """Outside, of no size, reversed: no fault, and at most one pixel."""
    masks = paste(np.ones([1, 28, 28]), np.float32([box]), 40, 48)
    assert masks.shape == (1, 40, 48) and masks.sum() <= 1


@pytest.mark.parametrize("box", [[np.nan] * 4, [-np.inf, -np.inf, np.inf, np.inf], [0, 0, 3e38, 3e38]])
def test_boxes_that_are_not_finite_are_no_fault(box):
    assert paste(np.ones([1, 28, 28]), np.float32([box]), 40, 48).shape == (1, 40, 48)


def test_no_detections():
    assert paste(np.zeros([0, 28, 28]), np.zeros([0, 4], np.float32), 7, 9).shape == (0, 7, 9)
