"""The focal loss against equation 5 of its paper, in slow float64."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet.losses import classes

ALPHAS = (0.25, 0.75, None)
GAMMAS = (0.0, 0.5, 1.5, 2.0, 5.0)


def oracle(logits, targets, alpha, gamma):
    losses = np.zeros(logits.shape)
    for i in np.ndindex(logits.shape):
        p = 1 / (1 + np.exp(-logits[i]))
        p_t = p if targets[i] else 1 - p
        alpha_t = 1 if alpha is None else alpha if targets[i] else 1 - alpha
        losses[i] = -alpha_t * (1 - p_t) ** gamma * np.log(p_t)
    return losses


def with_gradient(logits, targets, alpha, gamma):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = classes.focal(logits, targets, alpha, gamma)
    return loss, tape.gradient(loss, logits)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("gamma", GAMMAS)
def test_value_and_gradient_are_those_of_the_paper(alpha, gamma):
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(0, 4, (6, 5)), rng.integers(0, 2, (6, 5))
    loss, gradient = with_gradient(logits, targets, alpha, gamma)
    np.testing.assert_allclose(loss, oracle(logits, targets, alpha, gamma), rtol=1e-9)
    step = 1e-5
    ahead, behind = oracle(logits + step, targets, alpha, gamma), oracle(logits - step, targets, alpha, gamma)
    np.testing.assert_allclose(gradient, (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("gamma", GAMMAS)
def test_hostile_logits_are_finite(alpha, gamma):
    logits = np.float32([-1e4, -200, -80, -40, 0, 40, 80, 200, 1e4])
    for target in (0.0, 1.0):
        loss, gradient = with_gradient(logits, np.full_like(logits, target), alpha, gamma)
        assert np.isfinite(loss).all() and np.isfinite(gradient).all()
        assert (loss.numpy() >= 0).all()


def test_negative_alpha_means_no_weights():
    logits, targets = np.float32([-2, 0, 3]), np.float32([1, 0, 1])
    np.testing.assert_array_equal(classes.focal(logits, targets, alpha=-1), classes.focal(logits, targets, alpha=None))


def test_gamma_of_zero_is_half_the_cross_entropy():
    logits, targets = np.float32([-2, 0, 3, 1]), np.float32([1, 0, 1, 0])
    expected = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits) / 2
    np.testing.assert_allclose(classes.focal(logits, targets, alpha=0.5, gamma=0.0), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", (tf.float16, tf.bfloat16))
def test_half_precision_is_computed_in_float32(dtype):
    logits, targets = np.array([-9, -1, 0.5, 12]), np.array([1, 0, 1, 0])
    loss, gradient = with_gradient(tf.constant(logits, dtype), targets, 0.25, 2.0)
    assert loss.dtype == tf.float32 and gradient.dtype == dtype
    np.testing.assert_allclose(loss, oracle(logits, targets, 0.25, 2.0), rtol=1e-5)


def test_upstream_gradient_in_a_graph_and_no_gradient_for_targets():
    logits, targets = tf.constant([-2.0, 0.0, 3.0]), tf.constant([1.0, 0.0, 1.0])

    @tf.function
    def gradients(scale):
        with tf.GradientTape() as tape:
            tape.watch([logits, targets])
            loss = tf.reduce_sum(scale * classes.focal(logits, targets))
        to_logits, to_targets = tape.gradient(loss, [logits, targets])
        assert to_targets is None
        return to_logits

    np.testing.assert_allclose(gradients(3.0), 3 * gradients(1.0), rtol=1e-6)
