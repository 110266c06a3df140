"""Fully connected layers of a lower rank: values, gradients, mixed precision, size."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet.layers import FC


def values(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_whole():
    layer, x = FC(5, activation="relu"), values(2, 3, 7)
    layer(x)
    layer.set_weights([values(7, 5, seed=1), values(5, seed=2)])
    np.testing.assert_allclose(layer(x), np.maximum(x @ values(7, 5, seed=1) + values(5, seed=2), 0), atol=1e-5)


def test_factored():
    layer, x = FC(5, rank=2, activation="relu"), values(3, 7)
    layer(x)
    inner, inner_bias, outer, bias = values(7, 2, seed=1), values(2, seed=2), values(2, 5, seed=3), values(5, seed=4)
    layer.inner.set_weights([inner, inner_bias])
    layer.kernel.assign(outer)
    layer.bias.assign(bias)
    np.testing.assert_allclose(layer(x), np.maximum((x @ inner + inner_bias) @ outer + bias, 0), atol=1e-5)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(x))
    assert all(np.abs(one).max() > 0 for one in tape.gradient(total, layer.trainable_variables))


@pytest.mark.parametrize("rank", [None, 2])
def test_mixed_precision(rank):
    layer = FC(4, rank=rank, dtype="mixed_bfloat16")
    assert layer(values(3, 7)).dtype == tf.bfloat16
    assert {variable.dtype for variable in layer.variables} == {"float32"}


def test_size_of_vgg16_compressed():
    """Fast R-CNN of 21 classes with fc6 and fc7 of ranks 1024 and 256: 47,135,913 weights, as released."""
    model = keras.Sequential([keras.Input([25088]), FC(4096, 1024), FC(4096, 256)])
    assert 14_714_688 + model.count_params() + 4097 * 21 * 5 == 47_135_913


def test_saved():
    model = keras.Sequential([keras.Input([7]), FC(5, rank=2, activation="relu")])
    twin = keras.Sequential.from_config(model.get_config())
    twin.set_weights(model.get_weights())
    np.testing.assert_array_equal(twin(values(3, 7)), model(values(3, 7)))
