"""Masks in their pictures against the reference values."""

import numpy as np
import pytest

from kerasdet.decoding import paste
from tests.golden import goldens

CASES = goldens.load("mask_keypoint")


@pytest.mark.parametrize("name", goldens.cases("mask_keypoint", "paste_"))
def test_paste(name):
    case = CASES[name]
    height, width = case["image_size"].tolist()
    found = np.zeros(case["pasted"].shape, np.float32)
    for canvas, mask, box in zip(found, case["mask_prob"], case["boxes"], strict=True):
        (x, y), values = paste.within(mask, box, height, width)
        canvas[y : y + values.shape[0], x : x + values.shape[1]] = values
    np.testing.assert_allclose(found, case["pasted"], rtol=0, atol=1e-5)
    sides = [len(mask) for mask in case["mask_prob"]]
    boxes = [paste.whole_pixels(box, side) for box, side in zip(case["boxes"], sides, strict=True)]
    np.testing.assert_array_equal(np.reshape(boxes, (-1, 4)), case["padded_box"])


@pytest.mark.parametrize("name", goldens.cases("mask_keypoint", "paste_"))
def test_masks_are_where_the_values_are_above_a_half(name):
    """Pixels whose reference value is the threshold itself, within the rounding of float32, may be either."""
    case = CASES[name]
    masks = paste.paste(case["mask_prob"], case["boxes"], *case["image_size"].tolist())
    assert masks.dtype == bool and masks.shape == case["pasted"].shape
    clear = np.abs(case["pasted"] - 0.5) > 1e-5
    np.testing.assert_array_equal(masks[clear], case["pasted"][clear] > 0.5)
