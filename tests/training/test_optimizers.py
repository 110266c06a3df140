"""Optimizers against the update rules in NumPy."""

import keras
import numpy as np
import pytest

from kerasdet.training import optimizers
from kerasdet.training.checkpoints import averaged
from kerasdet.training.freeze import frozen
from kerasdet.weights import names


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
    optimizer = optimizers.build(name, 0.1)
    optimizers.set_parts(optimizer, model, name, **settings)
    for _ in range(steps):
        optimizer.apply([np.ones(v.shape, np.float32) for v in model.trainable_variables], model.trainable_variables)


def test_sgd_is_that_of_pytorch():
    """g + decay * w into v = 0.9 v + g, then w -= share * rate * v: 200 steps of random gradients, three rates."""
    model, rng = Two(), np.random.default_rng(0)
    optimizer = optimizers.build("sgd", 0.02)
    rates = {"backbone/kernel": 0.1, "backbone/*": 0.2, "*bias": 2.0}
    optimizers.set_parts(optimizer, model, "sgd", 0.05, rates)
    shares = {"backbone/kernel": 0.1, "backbone/bias": 0.2, "head/bias": 2.0}
    own = {key: v for key, v in names.weights(model).items() if v.trainable}
    weights = {key: np.float64(v) for key, v in own.items()}
    velocities = dict.fromkeys(own, 0.0)
    for _ in range(200):
        gradients = {key: rng.normal(size=v.shape) * 0.05 for key, v in own.items()}
        optimizer.apply([np.float32(gradients[key]) for key in own], list(own.values()))
        for key, gradient in gradients.items():
            decay = 0.05 if key.endswith("kernel") else 0.0
            velocities[key] = 0.9 * velocities[key] + gradient + decay * weights[key]
            weights[key] = weights[key] - 0.02 * shares.get(key, 1.0) * velocities[key]
    for key, variable in own.items():
        np.testing.assert_allclose(variable, weights[key], rtol=1e-4, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("name", ["sgd", "adamw", "adam"])
@pytest.mark.parametrize("biases", [False, True])
def test_what_decays(name, biases):
    """Without gradients only what decays moves: kernels, biases if asked, never a norm's gamma and beta."""
    model = Two()
    own = {key: v for key, v in names.weights(model).items() if v.trainable}
    for variable in own.values():
        variable.assign(np.ones(variable.shape))
    optimizer = optimizers.build(name, 0.1)
    optimizers.set_parts(optimizer, model, name, 0.5, decay_biases=biases)
    optimizer.apply([np.zeros(v.shape, np.float32) for v in own.values()], list(own.values()))
    kernels = {"backbone/kernel", "head/kernel"}
    decaying = set() if name == "adam" else kernels | ({"backbone/bias", "head/bias"} if biases else set())
    assert set(own) == {"backbone/bias", "head/bias", "norm/gamma", "norm/beta", *kernels}
    for key, variable in own.items():
        np.testing.assert_allclose(variable, 1 - 0.1 * 0.5 if key in decaying else 1.0, rtol=1e-6, err_msg=key)


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


def test_unknown_name_is_one_line():
    with pytest.raises(ValueError, match="optimizer must be one of .* got 'lion'"):
        optimizers.build("lion", 0.1)


def test_running_statistics_are_averaged_with_the_weights():
    """The first step's statistics start the average; frozen norms keep their own."""
    model = Two()
    optimizer = optimizers.build("sgd", 0.1, ema=0.75)
    optimizers.set_parts(optimizer, model, "sgd")
    optimizer.build(model.trainable_variables)
    for mean in (4.0, 8.0, 0.0):
        model.norm.moving_mean.assign([mean, -mean])
        optimizer.apply([np.ones(v.shape, np.float32) for v in model.trainable_variables], model.trainable_variables)
    model.compile(optimizer)
    expected = 0.75 * (0.75 * 4 + 0.25 * 8)
    with averaged(model):
        np.testing.assert_allclose(model.norm.moving_mean, [expected, -expected])
        np.testing.assert_allclose(model.norm.moving_variance, 1.0)
    np.testing.assert_array_equal(model.norm.moving_mean, 0.0)
    optimizer.finalize_variable_values(model.trainable_variables)
    np.testing.assert_allclose(model.norm.moving_mean, [expected, -expected])
    model.norm.trainable = False
    assert not list(optimizers.running(model))
