"""Optimizers against the update rules in NumPy."""

import keras
import numpy as np
import pytest

from kerasdet.training import solvers
from kerasdet.training.freeze import frozen


class Two(keras.Model):
    """A model of two parts, `backbone` and `head`, each with a kernel of ones and a bias of zeros."""

    def __init__(self):
        super().__init__()
        self.backbone = keras.layers.Dense(2, kernel_initializer="ones")
        self.head = keras.layers.Dense(2, kernel_initializer="ones")
        self.norm = keras.layers.BatchNormalization()
        self.build((None, 2))

    def build(self, shape):
        self.backbone.build(shape)
        self.head.build(shape)
        self.norm.build(shape)

    def call(self, x, training=False):
        return self.head(self.norm(self.backbone(x), training=training))


def step(model, name, steps=1, **settings):
    """Steps of rate 0.1 with gradients of ones."""
    optimizer = solvers.build(name, 0.1)
    solvers.set_parts(optimizer, model, name, **settings)
    for _ in range(steps):
        optimizer.apply([np.ones(v.shape, np.float32) for v in model.trainable_variables], model.trainable_variables)


@pytest.mark.parametrize("decay", [0.0, 0.02])
def test_rates_of_parts_as_in_sgd(decay):
    """w -= share * 0.1 * v with v = 0.9 v + g, after a decay by share * 0.1 * w."""
    model = Two()
    step(model, "sgd", steps=3, weight_decay=decay, rates={"backbone/*": 0.1})
    for layer, share in ((model.backbone, 0.1), (model.head, 1.0)):
        weight, bias, velocity = 1.0, 0.0, 0.0
        for _ in range(3):
            weight -= share * 0.1 * decay / (1 - 0.9) * weight
            velocity = 0.9 * velocity + 1.0
            weight, bias = weight - share * 0.1 * velocity, bias - share * 0.1 * velocity
        np.testing.assert_allclose(layer.kernel, weight, rtol=1e-5)
        np.testing.assert_allclose(layer.bias, bias, rtol=1e-5)


def test_rates_of_parts_as_in_adamw():
    """Loshchilov & Hutter, 2019, algorithm 2; gradients of ones make Adam's step 1 / (1 + epsilon)."""
    model = Two()
    step(model, "adamw", steps=3, weight_decay=0.5, rates={"backbone/*": 0.1})
    for layer, share in ((model.backbone, 0.1), (model.head, 1.0)):
        weight = 1.0
        for _ in range(3):
            weight -= share * 0.1 * (0.5 * weight + 1.0)
        np.testing.assert_allclose(layer.kernel, weight, rtol=1e-4)
        np.testing.assert_allclose(layer.bias, -3 * share * 0.1, rtol=1e-4)  # biases do not decay


def test_frozen_parts_stay_and_are_free_again():
    model = Two()
    x = np.random.default_rng(0).normal(3, 2, [8, 2]).astype(np.float32)
    with frozen(model, ("backbone/*", "norm/*")):
        step(model, "sgd")
        model(x, training=True)
        assert [v.path for v in model.trainable_variables] == [v.path for v in model.head.trainable_variables]
    np.testing.assert_array_equal(model.backbone.kernel, 1)
    np.testing.assert_array_equal(model.norm.moving_mean, 0)  # a frozen norm keeps its statistics
    np.testing.assert_allclose(model.head.kernel, 0.9, rtol=1e-6)
    assert len(model.trainable_variables) == 6
    model(x, training=True)
    assert np.abs(model.norm.moving_mean.numpy()).max() > 0


def test_frozen_by_single_weights():
    model = Two()
    with frozen(model, ("*/bias",)):
        assert [v.name for v in model.trainable_variables] == ["kernel", "kernel", "gamma", "beta"]
    with pytest.raises(ValueError, match="leaves nothing to train"), frozen(model, ("*",)):
        pass


def test_sgd_decay_shrinks_like_an_l2_penalty():
    """At a constant rate, w -= rate * v, v = 0.9 v + decay * w, shrinks as ours once the momentum has built up."""
    model = keras.Sequential([keras.Input([1]), keras.layers.Dense(1, kernel_initializer="ones")])
    rate, decay = 0.01, 0.01
    optimizer = solvers.build("sgd", rate)
    solvers.set_parts(optimizer, model, "sgd", decay)
    weight, velocity = 1.0, 0.0
    for _ in range(500):
        velocity = 0.9 * velocity + decay * weight
        weight -= rate * velocity
        optimizer.apply([np.zeros(v.shape, np.float32) for v in model.weights], model.trainable_variables)
    assert float(model.weights[0][0, 0]) == pytest.approx(weight, rel=0.01)
    assert weight < 0.7


def test_unknown_name_is_one_line():
    with pytest.raises(ValueError, match="optimizer must be one of .* got 'lion'"):
        solvers.build("lion", 0.1)
