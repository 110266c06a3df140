"""Boxes against loops over single boxes, and at their edges."""

import math

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import boxes

OVERLAPS = ("iou", "giou", "diou", "ciou")


def random_boxes(*shape, seed=0):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 60, (*shape, 2))
    return np.concatenate([low, low + rng.uniform(1, 40, (*shape, 2))], axis=-1)


def hostile_boxes():
    """Points, lines, reversed, tiny, huge and far away boxes."""
    return np.array(
        [
            [0, 0, 0, 0],
            [30, 40, 30, 40],
            [30, 40, 30, 80],
            [30, 40, 70, 40],
            [60, 80, 20, 30],
            [60, 20, 40, 50],
            [0, 0, 1e-20, 0],
            [0, 0, 1e-30, 1e-30],
            [-1e6, -1e6, 1e6, 1e6],
            [1e6, 1e6, 1e6 + 1, 1e6 + 1],
            [20, 30, 60, 80],
        ],
        np.float32,
    )


def oracle(name, a, b):
    """The papers' formulas for two proper boxes."""
    inter = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    iou = inter / union
    hull_w, hull_h = max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])
    distance = math.hypot((a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2)
    diou = iou - (distance / math.hypot(hull_w, hull_h)) ** 2
    v = 4 / math.pi**2 * (math.atan((a[2] - a[0]) / (a[3] - a[1])) - math.atan((b[2] - b[0]) / (b[3] - b[1]))) ** 2
    ciou = diou - (v**2 / (1 - iou + v) if v else 0)
    return {"iou": iou, "giou": iou - (hull_w * hull_h - union) / (hull_w * hull_h), "diou": diou, "ciou": ciou}[name]


@pytest.mark.parametrize("name", OVERLAPS)
def test_overlap_of_each_pair(name):
    a, b = random_boxes(2, 5), random_boxes(2, 7, seed=1)
    expected = [[[oracle(name, i, j) for j in right] for i in left] for left, right in zip(a, b, strict=True)]
    np.testing.assert_allclose(getattr(boxes, name)(tf.constant(a), tf.constant(b)), expected, atol=1e-6)


@pytest.mark.parametrize("name", OVERLAPS)
def test_matched_overlap_is_the_diagonal(name):
    a, b = tf.constant(random_boxes(6)), tf.constant(random_boxes(6, seed=1))
    matched = getattr(boxes, f"matched_{name}")(a, b)
    np.testing.assert_allclose(matched, tf.linalg.diag_part(getattr(boxes, name)(a, b)), atol=1e-12)


@pytest.mark.parametrize("name", OVERLAPS)
def test_overlap_of_a_box_with_itself_is_one(name):
    a = random_boxes(20)
    np.testing.assert_allclose(getattr(boxes, f"matched_{name}")(a, a), 1, atol=1e-12)


@pytest.mark.parametrize("name", ("intersection", "ioa", *OVERLAPS))
def test_overlap_is_finite_with_finite_gradients(name):
    a = tf.constant(hostile_boxes())
    with tf.GradientTape() as tape:
        tape.watch(a)
        overlap = getattr(boxes, name)(a, a)
    assert np.isfinite(overlap).all()
    assert np.isfinite(tape.gradient(overlap, a)).all()


@pytest.mark.parametrize("name", ("intersection", "ioa", *OVERLAPS))
def test_overlap_compiles_for_any_number_of_boxes(name):
    signature = [tf.TensorSpec([None, None, 4]), tf.TensorSpec([None, None, 4])]
    overlap = tf.function(getattr(boxes, name), input_signature=signature)
    for batch, left, right in ((1, 0, 3), (1, 3, 0), (2, 3, 5)):
        assert overlap(tf.zeros([batch, left, 4]), tf.zeros([batch, right, 4])).shape == (batch, left, right)


def test_share_of_a_box_inside_another():
    square_and_line = np.float32([[0, 0, 10, 10], [5, 5, 5, 9]])
    shares = boxes.ioa(square_and_line, np.float32([[0, 0, 4, 10], [-9, -9, 99, 99]]))
    np.testing.assert_allclose(shares, [[0.4, 1.0], [0.0, 0.0]], atol=1e-7)


@pytest.mark.parametrize("name", ("cxcywh", "xywh", "yxyx"))
@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_formats_round_trip(name, dtype):
    a = random_boxes(2, 3, 5).astype(dtype)
    there = getattr(boxes, f"to_{name}")(a)
    assert there.dtype == dtype
    np.testing.assert_allclose(getattr(boxes, f"from_{name}")(there), a, atol=1e-4)


def test_each_set_is_clipped_to_its_own_window():
    a = tf.constant([[[-5.0, -5.0, 50.0, 50.0]], [[-5.0, 12.0, 8.0, 50.0]]])
    windows = tf.constant([[0.0, 0.0, 40.0, 30.0], [2.0, 10.0, 20.0, 40.0]])
    np.testing.assert_array_equal(boxes.clip(a, windows), [[[0, 0, 40, 30]], [[2, 12, 8, 40]]])


def test_large_means_both_sides():
    a = [[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 3.9, 9.0], [0.0, 0.0, 9.0, 3.9], [9.0, 9.0, 0.0, 0.0]]
    np.testing.assert_array_equal(boxes.is_large(tf.constant(a), 4.0), [True, False, False, False])
