"""The delta coder: its formulas box by box, its inverse, its limits."""

import math

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import coders

WEIGHTS = ((1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0), (1, 2, 3, 4))


def random_boxes(*shape, seed=0):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 400, (*shape, 2))
    return np.concatenate([low, low + rng.uniform(2, 200, (*shape, 2))], axis=-1).astype(np.float32)


def oracle(anchor, box, weights):
    """The four formulas for one box."""
    wa, ha, w, h = anchor[2] - anchor[0], anchor[3] - anchor[1], box[2] - box[0], box[3] - box[1]
    dx = ((box[0] + w / 2) - (anchor[0] + wa / 2)) / wa
    dy = ((box[1] + h / 2) - (anchor[1] + ha / 2)) / ha
    return np.multiply(weights, [dx, dy, math.log(w / wa), math.log(h / ha)])


@pytest.mark.parametrize("weights", WEIGHTS)
def test_encode_is_the_formula(weights):
    anchors, boxes = random_boxes(9), random_boxes(9, seed=1)
    pairs = zip(anchors.astype(np.float64), boxes.astype(np.float64), strict=True)
    expected = [oracle(anchor, box, weights) for anchor, box in pairs]
    np.testing.assert_allclose(coders.encode(anchors, boxes, weights), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_decode_inverts_encode(weights):
    anchors, boxes = random_boxes(30), random_boxes(3, 30, seed=1)
    decoded = coders.decode(anchors, coders.encode(anchors, boxes, weights), weights, clip=None)
    np.testing.assert_allclose(decoded, boxes, atol=1e-3)


def test_decode_limits_growth_only():
    anchor = tf.constant([[10.0, 20.0, 26.0, 52.0]])
    grown = coders.decode(anchor, [[0.0, 0.0, 80.0, 1000.0]])
    np.testing.assert_allclose(grown[0, 2:] - grown[0, :2], [1000, 2000], rtol=1e-5)
    shrunk = coders.decode(anchor, [[0.0, 0.0, -20.0, 0.0]])
    np.testing.assert_allclose(shrunk, [[18, 20, 18, 52]], atol=1e-4)
    unlimited = coders.decode(anchor, [[0.0, 0.0, 5.0, 0.0]], clip=None)
    np.testing.assert_allclose(unlimited[0, 2] - unlimited[0, 0], 16 * math.exp(5), rtol=1e-5)


def test_limit_acts_after_the_weights():
    anchor, weights = tf.constant([[0.0, 0.0, 16.0, 16.0]]), (10.0, 10.0, 5.0, 5.0)
    below = coders.decode(anchor, [[0.0, 0.0, 20.0, 20.0]], weights)
    np.testing.assert_allclose(below[0, 2] - below[0, 0], 16 * math.exp(4), rtol=1e-5)


def test_padding_encodes_to_finite_deltas():
    degenerate = np.float32([[0, 0, 0, 0], [5, 5, 5, 9], [9, 9, 5, 5], [1, 2, 300, 400]])
    deltas = coders.encode(degenerate[:, None], degenerate[None])
    assert np.isfinite(deltas).all()


def test_half_precision_deltas_decode_in_the_precision_of_the_anchors():
    anchors = random_boxes(8)
    decoded = coders.decode(anchors, tf.zeros([8, 4], tf.float16))
    assert decoded.dtype == tf.float32
    np.testing.assert_allclose(decoded, anchors, atol=1e-3)
