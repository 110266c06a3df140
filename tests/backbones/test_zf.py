"""ZF: the size of the release, its local response normalization and its values by slow loops, maps of any side."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import backbones
from kerasdet.backbones.zf import local_response


def convolution(x, kernel, bias, stride):
    """A ReLU of a convolution with zeros around."""
    size = kernel.shape[0]
    x = np.pad(x, [(size // 2, size // 2)] * 2 + [(0, 0)])
    rows, columns = range(0, x.shape[0] - size + 1, stride), range(0, x.shape[1] - size + 1, stride)
    cells = [[np.einsum("ijc,ijcd->d", x[r : r + size, c : c + size], kernel) for c in columns] for r in rows]
    return np.maximum(np.array(cells) + bias, 0)


def normalized(x):
    """Caffe's LRN within the channel: local_size 3, alpha 5e-5, beta 0.75."""
    squares = np.pad(x.astype(np.float64) ** 2, [(1, 1), (1, 1), (0, 0)])
    out = np.empty_like(x, np.float64)
    for r in range(x.shape[0]):
        for c in range(x.shape[1]):
            out[r, c] = x[r, c] / (1 + 5e-5 * squares[r : r + 3, c : c + 3].sum((0, 1)) / 9) ** 0.75
    return out


def pooled(x):
    """Greatest of 3x3 cells around every second cell."""
    x = np.pad(x, [(1, 1), (1, 1), (0, 0)], constant_values=-np.inf)
    rows, columns = range(0, x.shape[0] - 2, 2), range(0, x.shape[1] - 2, 2)
    return np.array([[x[r : r + 3, c : c + 3].max((0, 1)) for c in columns] for r in rows])


def test_values():
    """All four levels, of a narrow network whose activations are large enough for the normalization to count."""
    network = backbones.build({"name": "zf", "width": 6}, levels=(1, 4))
    x = np.random.default_rng(0).normal(size=(1, 41, 50, 3)).astype(np.float32) * 500
    got = network(x)
    (k1, b1), (k2, b2), *rest = [(np.asarray(c.kernel), np.asarray(c.bias)) for c in network.convs]
    conv1 = convolution(x[0], k1, b1, 2)
    pool1 = pooled(normalized(conv1))
    conv2 = convolution(pool1, k2, b2, 2)
    last = pooled(normalized(conv2))
    for kernel, bias in rest:
        last = convolution(last, kernel, bias, 1)
    assert np.abs(normalized(conv1) / np.maximum(conv1, 1e-9) - 1).max() > 0.1
    for one, expected in zip(got, (conv1, pool1, conv2, last), strict=True):
        np.testing.assert_allclose(one[0], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_local_response_keeps_half_precision():
    x = tf.constant([[[[3000.0]]]], tf.float16)  # its square is no float16
    got = local_response(x)
    assert got.dtype == tf.float16
    np.testing.assert_allclose(got[0, 0, 0, 0], 3000 / (1 + 5e-5 * 3000**2 / 9) ** 0.75, rtol=1e-3)


@pytest.mark.parametrize("size", [(100, 200), (37, 75)])
def test_one_map_of_stride_16(size):
    """It has 3,726,464 weights: the shapes of the release's prototxt, summed."""
    network = backbones.build("zf", levels=(4, 4))
    (feature,) = network(tf.zeros([1, *size, 3]))
    assert feature.shape == (1, -(-size[0] // 16), -(-size[1] // 16), 256)
    assert network.count_params() == 3_726_464


def test_freeze():
    counts = []
    for freeze in range(5):
        network = backbones.build({"name": "zf", "width": 6, "freeze": freeze}, levels=(4, 4))
        network(tf.zeros([1, 32, 32, 3]))
        counts.append(len(network.trainable_variables) // 2)
    assert counts == [5, 4, 4, 3, 0]


def test_no_weights_of_its_own():
    with pytest.raises(ValueError, match="ZF loads no weights of its own, got weights='imagenet'"):
        backbones.build("zf", levels=(4, 4), weights="imagenet")
