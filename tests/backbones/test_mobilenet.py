"""MobileNets: the values of Keras, frozen norms, taps."""

import keras
import numpy as np
import pytest

from kerasdet import backbones
from kerasdet.backbones.mobilenet import NETWORKS, TAPS
from kerasdet.layers import Pixels

PREPROCESS = {1: keras.applications.mobilenet.preprocess_input, 2: keras.applications.mobilenet_v2.preprocess_input}

# Channels at strides 2, 4, 8, 16 and 32: V1 (table 1), and V2's expansions (table 2: six times the block's input).
CHANNELS = {1: (64, 128, 256, 512, 1024), 2: (96, 144, 192, 576, 1280)}


def randomize(layer, seed=0):
    """Draws all weights; variances and scales around 1."""
    rng = np.random.default_rng(seed)
    for variable in layer.variables:
        if "kernel" in variable.path:
            fan = variable.shape[0] * variable.shape[1] * (1 if "depthwise" in variable.path else variable.shape[2])
            variable.assign(rng.normal(size=variable.shape, scale=np.sqrt(2 / fan)))
        else:
            center = 1 if "variance" in variable.path or "gamma" in variable.path else 0
            variable.assign(center + rng.uniform(-0.5, 0.5, variable.shape))


def draw(*shape):
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.float32)


@pytest.mark.parametrize("version", [1, 2])
def test_weights_file_gives_the_values_of_keras(version, tmp_path):
    network = NETWORKS[version](include_top=False, weights=None, input_shape=(None, None, 3), alpha=0.5)
    randomize(network)
    path = str(tmp_path / "mobilenet.weights.h5")
    network.save_weights(path)
    pixels = draw(2, 64, 96, 3)
    taps = [network.get_layer(name).output for name in TAPS[version][2:]]
    expected = keras.Model(network.input, taps)(PREPROCESS[version](pixels.copy()))
    ours = backbones.build({"name": f"mobilenet_v{version}", "alpha": 0.5}, levels=(3, 5), weights=path)
    images = {"pixels": pixels, "windows": np.float32([[0, 0, 96, 64]] * 2)}
    for got, tap in zip(ours(Pixels(ours.normalization)(images)), expected, strict=True):
        np.testing.assert_allclose(got, tap, rtol=0, atol=1e-4 * np.abs(tap).max())
        assert np.abs(tap).max() > 0.1


@pytest.mark.parametrize("version", [1, 2])
def test_norms(version):
    """Frozen norms neither learn nor use the batch; norms that are not frozen do both."""
    x = draw(2, 64, 64, 3) / 127.5 - 1
    frozen = backbones.build({"name": f"mobilenet_v{version}", "alpha": 0.35 if version == 2 else 0.25}, levels=(3, 5))
    randomize(frozen)
    before = [variable.numpy() for variable in frozen.variables]
    for got, expected in zip(frozen(x, training=True), frozen(x, training=False), strict=True):
        np.testing.assert_array_equal(got, expected)
    for variable, value in zip(frozen.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    names = {variable.path.split("/")[-1] for variable in frozen.trainable_variables}
    assert names <= {"kernel", "depthwise_kernel"}

    options = {"name": f"mobilenet_v{version}", "alpha": 0.35 if version == 2 else 0.25, "norm": "batch"}
    trained = backbones.build(options, levels=(3, 5))
    trained.set_weights(before)
    np.testing.assert_array_equal(trained(x)[0], frozen(x)[0])
    assert np.abs(trained(x, training=True)[0] - frozen(x)[0]).max() > 0.1
    names = {variable.path.split("/")[-1] for variable in trained.trainable_variables}
    assert {"gamma", "beta"} <= names
    # Each step takes a tenth of the way to the batch's statistics.
    norm, means = next(layer for layer in trained.network.layers if hasattr(layer, "moving_mean")), []
    for _ in range(3):
        trained(x, training=True)
        means.append(norm.moving_mean.numpy())
    np.testing.assert_allclose(means[2] - means[1], 0.9 * (means[1] - means[0]), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("levels", [(1, 5), (3, 5), (4, 4)])
def test_levels(version, levels):
    features = backbones.build(f"mobilenet_v{version}", levels=levels)(draw(1, 64, 96, 3))
    expected = [(1, 64 // 2**i, 96 // 2**i, CHANNELS[version][i - 1]) for i in range(levels[0], levels[1] + 1)]
    assert [tuple(feature.shape) for feature in features] == expected


def test_unknown_norm():
    with pytest.raises(ValueError, match="norm of a MobileNet must be 'frozen' or 'batch', got 'group'"):
        backbones.build("mobilenet_v2", levels=(3, 5), norm="group")


@pytest.mark.parametrize("version, side", [(1, 75), (2, 75)])
def test_levels_of_odd_sides_round_up(version, side):
    """TensorFlow's padding, which the released detectors were trained with: 300 pixels give 19 cells and 10."""
    backbone = backbones.build(
        {"name": f"mobilenet_v{version}", "alpha": 0.35 if version == 2 else 0.25}, levels=(1, 5)
    )
    sizes = [feature.shape[1] for feature in backbone(draw(1, side, side, 3))]
    assert sizes == [-(-side // 2**level) for level in range(1, 6)]
