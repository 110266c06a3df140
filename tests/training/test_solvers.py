"""Optimizers against the update rules."""

import keras
import numpy as np
import pytest

from kerasdet.training import solvers


def test_weight_decay_spares_norms_and_biases():
    kernel, bias = keras.Variable(np.ones([2, 2])), keras.Variable(np.ones([2]))
    optimizer = solvers.build("adamw", 0.1, weight_decay=0.5)
    solvers.spare_norms(optimizer, [kernel, bias])
    optimizer.apply([np.zeros([2, 2], np.float32), np.zeros([2], np.float32)], [kernel, bias])
    np.testing.assert_allclose(kernel, 1 - 0.1 * 0.5, rtol=1e-6)
    np.testing.assert_array_equal(bias, 1)


def test_sgd_decay_shrinks_like_an_l2_penalty():
    """At a constant rate, w -= rate * v, v = 0.9 v + decay * w, shrinks as ours once the momentum has built up."""
    variable, rate, decay = keras.Variable(np.ones([1, 1])), 0.01, 0.01
    optimizer = solvers.build("sgd", rate, weight_decay=decay)
    weight, velocity = 1.0, 0.0
    for _ in range(500):
        velocity = 0.9 * velocity + decay * weight
        weight -= rate * velocity
        optimizer.apply([np.zeros([1, 1], np.float32)], [variable])
    assert float(variable[0, 0]) == pytest.approx(weight, rel=0.01)
    assert weight < 0.7


def test_unknown_name_is_one_line():
    with pytest.raises(ValueError, match="optimizer must be one of .* got 'lion'"):
        solvers.build("lion", 0.1)
