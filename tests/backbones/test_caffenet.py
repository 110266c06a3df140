"""CaffeNet and SPP-net's ZF-5: sizes of the releases, and their values by slow loops."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import backbones


def convolution(x, kernel, bias, stride=1, padding=0, groups=1):
    """A ReLU of a convolution whose groups see their own channels alone."""
    size, share = kernel.shape[0], kernel.shape[3] // groups
    x = np.pad(x, [(padding, padding)] * 2 + [(0, 0)])
    parts = []
    for group in range(groups):
        own = x[..., group * kernel.shape[2] : (group + 1) * kernel.shape[2]]
        part = kernel[..., group * share : (group + 1) * share]
        rows, columns = range(0, x.shape[0] - size + 1, stride), range(0, x.shape[1] - size + 1, stride)
        parts.append([[np.einsum("ijc,ijcd->d", own[r : r + size, c : c + size], part) for c in columns] for r in rows])
    return np.maximum(np.concatenate(parts, axis=-1) + bias, 0)


def pooled(x, up=False):
    """Greatest of 3x3 cells, every second one; rounded up, the last windows lie partly outside."""
    rows, columns = (range(0, side - 1 if up else side - 2, 2) for side in x.shape[:2])
    return np.array([[x[r : r + 3, c : c + 3].max((0, 1)) for c in columns] for r in rows])


def across(x):
    """Caffe's LRN: local_size 5, alpha 1e-4, beta 0.75."""
    out = np.empty_like(x, np.float64)
    for c in range(x.shape[-1]):
        near = x[..., max(c - 2, 0) : c + 3].astype(np.float64)
        out[..., c] = x[..., c] / (1 + 1e-4 / 5 * (near**2).sum(-1)) ** 0.75
    return out


def within(x):
    """Caffe's LRN within a channel: local_size 3, alpha 5e-5, beta 0.75."""
    squares = np.pad(x.astype(np.float64) ** 2, [(1, 1), (1, 1), (0, 0)])
    out = np.empty_like(x, np.float64)
    for r, c in np.ndindex(*x.shape[:2]):
        out[r, c] = x[r, c] / (1 + 5e-5 * squares[r : r + 3, c : c + 3].sum((0, 1)) / 9) ** 0.75
    return out


def weights(network):
    return [(np.asarray(conv.kernel), np.asarray(conv.bias)) for conv in network.convs]


def pixels(*size):
    """Large enough for the normalization to count."""
    return np.random.default_rng(0).normal(size=(1, *size, 3)).astype(np.float32) * 500


def test_values():
    network = backbones.build({"name": "caffenet", "width": 12}, levels=(2, 4))
    x = pixels(91, 107)
    found = network(x)
    one, two, three, four, five = weights(network)
    conv1 = convolution(x[0], *one, stride=4)
    conv2 = convolution(across(pooled(conv1)), *two, padding=2, groups=2)
    last = convolution(across(pooled(conv2)), *three, padding=1)
    last = convolution(convolution(last, *four, padding=1, groups=2), *five, padding=1, groups=2)
    assert np.abs(across(pooled(conv1)) / np.maximum(pooled(conv1), 1e-9) - 1).max() > 0.1
    for got, expected in zip(found, (conv1, conv2, last), strict=True):
        np.testing.assert_allclose(got[0], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_values_of_zf_5():
    """Without padding, and with pools that round up: 91 pixels are 44 cells, then 22, 9 and 4."""
    network = backbones.build({"name": "zf", "width": 6, "padded": False}, levels=(4, 4))
    x = pixels(91, 74)
    found = network(x)[0][0]
    one, two, *rest = weights(network)
    last = pooled(within(convolution(x[0], *one, stride=2, padding=1)), up=True)
    last = pooled(within(convolution(last, *two, stride=2)), up=True)
    for kernel, bias in rest:
        last = convolution(last, kernel, bias, padding=1)
    np.testing.assert_allclose(found, last, rtol=1e-4, atol=1e-4 * np.abs(last).max())


@pytest.mark.parametrize("name, side, cells, count", [("caffenet", 227, 13, 2_334_080), ("zf", 224, 13, 3_726_464)])
def test_sizes_of_the_releases(name, side, cells, count):
    options = {"padded": False} if name == "zf" else {}
    network = backbones.build({"name": name, **options}, levels=(4, 4))
    assert network(tf.zeros([1, side, side, 3]))[0].shape == (1, cells, cells, 256)
    assert network.count_params() == count


@pytest.mark.parametrize("name, least", [("caffenet", 67), ("zf", 31)])
def test_images_of_any_size(name, least):
    """Small ones are filled up with the mean color, on the right and below."""
    options = {"padded": False} if name == "zf" else {}
    network = backbones.build({"name": name, "width": 12, **options}, levels=(4, 4))
    x = pixels(least, least)
    x[:, 5:] = x[:, :, 9:] = 0
    np.testing.assert_allclose(network(x[:, :5, :9])[0], network(x)[0], rtol=1e-5, atol=1e-5)
    assert min(network(tf.zeros([1, 1, least, 3]))[0].shape[1:3]) > 0


def test_no_weights_of_its_own():
    with pytest.raises(ValueError, match="CaffeNet loads no weights of its own, got weights='imagenet'"):
        backbones.build("caffenet", levels=(4, 4), weights="imagenet")
