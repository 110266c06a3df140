"""Box losses: slow oracles, hostile boxes, precision."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet.losses import boxes

OVERLAPS = ("iou", "giou", "diou", "ciou")


def with_gradient(loss, predictions, *args):
    predictions = tf.constant(predictions)
    with tf.GradientTape() as tape:
        tape.watch(predictions)
        values = loss(predictions, *args)
    return values.numpy(), tape.gradient(values, predictions).numpy()


@pytest.mark.parametrize("beta", (0.0, 1 / 9, 1.0, 2.5))
def test_smooth_l1_and_huber_piece_by_piece(beta):
    distances = np.array([-100, -2.6, -2.5, -1, -0.3, -0.1, 0, 1e-3, 0.05, 0.3, 1, 2.4, 100])
    values = [d * d / (2 * beta) if abs(d) < beta else abs(d) - beta / 2 for d in distances]
    slopes = [d / beta if abs(d) < beta else np.sign(d) for d in distances]
    loss, gradient = with_gradient(boxes.smooth_l1, distances + 7, np.full_like(distances, 7), beta)
    np.testing.assert_allclose(loss, values, rtol=1e-9)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-9)
    np.testing.assert_allclose(boxes.huber(distances, 0 * distances, beta), np.multiply(beta, values), rtol=1e-9)


@pytest.mark.parametrize("name", OVERLAPS)
def test_overlap_loss_vanishes_on_the_target_and_grows_away_from_it(name):
    target = np.float32([[20, 30, 60, 80]])
    loss = getattr(boxes, name)
    values = [float(loss(target + np.float32([shift, 0, shift, 0]), target)[0]) for shift in (0, 5, 10, 20, 39)]
    np.testing.assert_allclose(values[0], 0, atol=1e-6)
    assert values == sorted(values) and len(set(values)) == len(values)


@pytest.mark.parametrize("name", ("giou", "diou", "ciou"))
def test_gradient_pulls_a_missed_box_to_its_target(name):
    target, prediction = np.float32([[20, 30, 60, 80]]), np.float32([[100, 30, 140, 80]])
    _, gradient = with_gradient(getattr(boxes, name), prediction, target)
    assert gradient[0, 0] > 0 or gradient[0, 2] > 0
    assert gradient[0, 0] + gradient[0, 2] > 0


@pytest.mark.parametrize("name", OVERLAPS)
def test_hostile_boxes_are_finite(name):
    points_and_lines = [[0, 0, 0, 0], [9, 9, 9, 9], [9, 9, 9, 30], [9, 9, 30, 9], [0, 0, 1e-20, 0]]
    single = np.float32([*points_and_lines, [30, 40, 10, 20], [9, 9, 30, 40]])
    predictions, targets = np.repeat(single, len(single), axis=0), np.tile(single, (len(single), 1))
    loss, gradient = with_gradient(getattr(boxes, name), predictions, targets)
    assert np.isfinite(loss).all() and np.isfinite(gradient).all()
    assert (loss >= -1e-6).all()


@pytest.mark.parametrize("dtype", (tf.float16, tf.bfloat16))
def test_half_precision_is_computed_in_float32(dtype):
    predictions, targets = tf.constant([[8, 8, 40, 48]], dtype), tf.constant([[10.0, 6.0, 43.0, 47.0]])
    for name in OVERLAPS:
        loss = getattr(boxes, name)(predictions, targets)
        assert loss.dtype == tf.float32
        wide = getattr(boxes, name)(tf.cast(predictions, tf.float32), targets)
        np.testing.assert_array_equal(loss, wide)
    assert boxes.smooth_l1(predictions, targets, 1.0).dtype == tf.float32
