"""MobileNetV3: the values of Keras at a side where its padding, too, is symmetric."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet import backbones
from kerasdet.layers import Conv
from tests.backbones.test_mobilenet import randomize


def convolutions(network):
    """Our convolutions in the order of the network."""
    yield network.stem
    for block in network.blocks:
        excite = [block.excite.fc1, block.excite.fc2] if block.excite else []
        yield from (conv for conv in (block.expand, block.depthwise, *excite, block.project) if conv is not None)
    yield network.last


def test_values_of_keras():
    """At 65 pixels every map has an odd side: a stride of 2 pads both ends alike, in either library."""
    side = 65
    source = keras.applications.MobileNetV3Large(
        input_shape=(side, side, 3), include_top=False, weights=None, include_preprocessing=False
    )
    randomize(source)
    ours = backbones.build("mobilenet_v3_large", levels=(1, 5))
    x = np.random.default_rng(1).normal(size=(1, side, side, 3)).astype(np.float32)
    ours(x)
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.BatchNormalization)
    theirs = iter([layer for layer in source.layers if isinstance(layer, kinds)])
    for conv in convolutions(ours):
        assert isinstance(conv, Conv)
        layer = next(theirs)
        conv.kernel.assign(tf.reshape(layer.weights[0], conv.kernel.shape))
        if conv.norm is None:
            conv.bias.assign(layer.weights[1])
            continue
        for variable, value in zip(
            (conv.norm.gamma, conv.norm.beta, conv.norm.moving_mean, conv.norm.moving_variance),
            next(theirs).get_weights(), strict=True,
        ):  # fmt: skip
            variable.assign(value)
    assert next(theirs, None) is None
    features = ours(x)
    expected = source(x)
    np.testing.assert_allclose(features[-1], expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert np.abs(expected).max() > 0.1
    assert [(f.shape[1], f.shape[3]) for f in features] == [(33, 64), (17, 72), (9, 240), (5, 672), (3, 960)]


def test_counts():
    """2,996,352 weights up to the last convolution, of which the means and variances of norms do not train."""
    network = backbones.build("mobilenet_v3_large", levels=(4, 5))
    network(tf.zeros([1, 32, 32, 3]))
    assert network.count_params() == 2_996_352
    assert sum(np.prod(v.shape) for v in network.trainable_variables) == 2_971_952


def test_no_weights_of_its_own():
    with pytest.raises(ValueError, match="loads no weights of its own, got weights='imagenet'"):
        backbones.build("mobilenet_v3_large", levels=(4, 5), weights="imagenet")
