"""Heads: the prior, the order of what they flatten, shared weights."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet.layers import ConvHead

SIZES = [(4, 6), (2, 3), (1, 2)]


def draw(channels=16, seed=0):
    rng = np.random.default_rng(seed)
    return [tf.constant(rng.normal(size=(2, *size, channels)), tf.float32) for size in SIZES]


@pytest.mark.parametrize("prior", [0.01, 0.1])
def test_the_mean_initial_score_is_the_prior(prior):
    head = ConvHead(4, 32, anchors=9, outputs=5, prior=prior)
    scores = tf.sigmoid(head(draw(32)))
    np.testing.assert_allclose(np.mean(scores), prior, rtol=0.01)
    np.testing.assert_allclose(scores, np.full(scores.shape, prior), rtol=0.1)


def test_initial_deltas_are_near_zero_without_prior():
    head = ConvHead(4, 32, anchors=9, outputs=4)
    deltas = head(draw(32)).numpy()
    assert 0 < np.abs(deltas).max() < 0.05 and not head.predictor.bias.numpy().any()


def test_initial_weights_have_deviation_001():
    """RetinaNet, section 4.1: all new layers but the last are N(0, 0.01) with bias 0."""
    head = ConvHead(2, 64, anchors=9, outputs=4, prior=0.01)
    head(draw(64))
    for layer in (*head.tower, head.predictor):
        np.testing.assert_allclose(np.std(layer.kernel), 0.01, rtol=0.05)
    assert not any(layer.bias.numpy().any() for layer in head.tower)


def test_order_is_level_row_column_anchor():
    """Features that hold their own place, and a predictor that copies it for each anchor."""
    anchors = 3
    features = []
    for level, (height, width) in enumerate(SIZES):
        y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
        features.append(np.stack([np.full_like(x, level), y, x], axis=-1)[None].astype(np.float32))
    head = ConvHead(0, 8, anchors=anchors, outputs=4)
    head(features)
    kernel = np.zeros(head.predictor.kernel.shape)
    bias = np.zeros(head.predictor.bias.shape)
    for a in range(anchors):
        for i in range(3):
            kernel[1, 1, i, 4 * a + i] = 1
        bias[4 * a + 3] = a
    head.predictor.kernel.assign(kernel)
    head.predictor.bias.assign(bias)
    expected = [
        (level, row, column, anchor)
        for level, (height, width) in enumerate(SIZES)
        for row in range(height)
        for column in range(width)
        for anchor in range(anchors)
    ]
    np.testing.assert_array_equal(head(features)[0], expected)


@pytest.mark.parametrize("norm", [None, "group"])
def test_levels_share_weights_and_do_not_touch(norm):
    head = ConvHead(2, 16, anchors=2, outputs=3, norm=norm)
    features = draw()
    together = head(features).numpy()
    counts = np.cumsum([2 * height * width for height, width in SIZES])
    for x, rows in zip(features, np.split(together, counts[:-1], axis=1), strict=True):
        np.testing.assert_allclose(head([x]), rows, atol=1e-6)
    assert len(head.variables) == (6 if norm is None else 8)


def test_tower():
    """ReLU after each convolution, none after the last."""
    head = ConvHead(2, 16, anchors=1, outputs=4)
    x = draw()[0]
    head([x])
    for variable in head.variables:
        variable.assign(np.random.default_rng(1).normal(size=variable.shape, scale=0.2))
    y = x
    for layer in head.tower:
        y = tf.nn.relu(tf.nn.conv2d(y, layer.kernel.value, 1, "SAME") + layer.bias.value)
    y = tf.nn.conv2d(y, head.predictor.kernel.value, 1, "SAME") + head.predictor.bias.value
    got = head([x])
    np.testing.assert_allclose(got, tf.reshape(y, got.shape), atol=1e-4)
    assert np.min(y) < 0 < np.max(y)


def test_outputs_are_float32_in_mixed_precision():
    head = ConvHead(1, 16, anchors=1, outputs=4, dtype="mixed_bfloat16")
    assert head([tf.cast(x, tf.bfloat16) for x in draw()]).dtype == tf.float32


def test_levels_share_convolutions_and_own_their_batch_norms():
    """EfficientDet's form: at inference as on batch statistics in float64, level by level."""
    head = ConvHead(2, 16, anchors=1, outputs=4, norm="batch", levels=2)
    pyramid = draw()[:2]
    head(pyramid)
    assert len(head.trainable_weights) == 2 * 2 + 2 + 2 * 2 * 2
    for level, norms in enumerate(head.norms):
        for norm in norms:
            norm.moving_mean.assign(tf.fill(norm.moving_mean.shape, 0.1 + level))
            norm.moving_variance.assign(tf.fill(norm.moving_variance.shape, 4.0 + level))
            norm.gamma.assign(tf.fill(norm.gamma.shape, 1.5))
    flat = []
    for level, x in enumerate(pyramid):
        for layer in head.tower:
            y = tf.nn.conv2d(x, layer.kernel, 1, "SAME") + layer.bias
            x = tf.nn.relu((y - (0.1 + level)) / np.sqrt(4.0 + level + 1e-5) * 1.5)
        y = tf.nn.conv2d(x, head.predictor.kernel, 1, "SAME") + head.predictor.bias
        flat.append(tf.reshape(y, [y.shape[0], -1, 4]))
    np.testing.assert_allclose(head(pyramid), tf.concat(flat, axis=1), atol=1e-5)
    with pytest.raises(ValueError, match="needs `levels`"):
        ConvHead(1, 16, 1, 4, norm="batch")


def test_layers_that_share_an_initializer_start_apart():
    head = ConvHead(2, 16, anchors=1, outputs=4)
    head(draw(16))
    assert not np.allclose(head.tower[0].kernel, head.tower[1].kernel)
