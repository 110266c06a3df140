"""EfficientNets: the values of Keras, the release's tensors of the Lite form, stochastic depth, faults in one line."""

import os
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet import backbones
from kerasdet.backbones import efficientnet
from kerasdet.layers import InvertedResidual
from tests.backbones.test_mobilenet import draw, randomize

WEIGHTS = pathlib.Path(os.environ.get("KERASDET_WEIGHTS", "/nowhere"))


def test_a_weights_file_gives_the_values_of_keras(tmp_path):
    network = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(None, None, 3))
    normalization = [v.numpy() for v in network.get_layer("normalization").variables]
    randomize(network)
    for variable, value in zip(network.get_layer("normalization").variables, normalization, strict=True):
        variable.assign(value)
    path = str(tmp_path / "b0.weights.h5")
    network.save_weights(path)
    pixels = draw(1, 64, 96, 3)
    taps = [network.get_layer(name).output for name in ("block3b_add", "block5c_add", "block7a_project_bn")]
    expected = keras.Model(network.input, taps)(pixels)
    ours = backbones.build("efficientnet_b0", levels=(3, 5), weights=path)
    assert ours.strides == (8, 16, 32) and ours.channels == (40, 112, 320)
    for got, tap in zip(ours(pixels / 255), expected, strict=True):
        np.testing.assert_allclose(got, tap, rtol=0, atol=1e-4 * np.abs(tap).max())
        assert np.abs(tap).max() > 0.1


def release(network):
    """A Lite network's weights by the release's names, in torch's layouts, with what lies above its last stage."""
    first = np.cumsum([0, *map(len, network.stages)])
    found = {"_conv_head.weight": np.zeros([8, 320, 1, 1], np.float32)}
    found["_bn1.num_batches_tracked"] = np.int64(3)
    for conv, stage, block, role in efficientnet.convolutions(network):
        place = "" if stage is None else f"_blocks.{first[stage] + block}."
        kernel, norm = {
            "stem": ("_conv_stem", "_bn0"),
            "expand": ("_expand_conv", "_bn0"),
            "depthwise": ("_depthwise_conv", "_bn1"),
            "project": ("_project_conv", "_bn2"),
        }[role]
        found[f"{place}{kernel}.weight"] = np.transpose(conv.kernel, (3, 2, 0, 1))
        ends = ("weight", "bias", "running_mean", "running_var")
        for end, variable in zip(ends, conv.norm.weights, strict=True):
            found[f"{place}{norm}.{end}"] = np.array(variable)
    return found


def test_tensors_of_a_lite_release(tmp_path):
    source = backbones.build("efficientnet_lite0", levels=(2, 3))
    x = draw(1, 64, 64, 3) / 128 - 1
    source(x)
    randomize(source)
    tensors = release(source)
    np.savez(tmp_path / "lite0.npz", **tensors)
    ours = backbones.build("efficientnet_lite0", levels=(2, 3), weights=str(tmp_path / "lite0.npz"))
    for got, wanted in zip(ours(x), source(x), strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert ours.normalization == "lite" and all(block.excite is None for stage in ours.stages for block in stage)
    missing = {name: value for name, value in tensors.items() if name != "_blocks.1._bn0.bias"}
    wider = {**tensors, "_conv_stem.weight": np.zeros([40, 3, 3, 3], np.float32)}
    for name, changed, words in (
        ("missing", missing, "no tensor '_blocks.1._bn0.bias', which the network needs"),
        ("wider", wider, "tensor '_conv_stem.weight' is of another network than Lite0"),
    ):
        np.savez(tmp_path / f"{name}.npz", **changed)
        with pytest.raises(ValueError, match=words):
            backbones.build("efficientnet_lite0", levels=(2, 3), weights=str(tmp_path / f"{name}.npz"))
    (tmp_path / "text.npz").write_text("no arrays")
    with pytest.raises(ValueError, match=r"text\.npz: no \.npz file of plain arrays"):
        backbones.build("efficientnet_lite0", levels=(2, 3), weights=str(tmp_path / "text.npz"))
    with pytest.raises(FileNotFoundError, match="nowhere.npz: no such weights file"):
        backbones.build("efficientnet_lite0", levels=(2, 3), weights="nowhere.npz")
    with pytest.raises(ValueError, match="EfficientNet-Lite has no download of its own"):
        backbones.build("efficientnet_lite0", levels=(2, 3), weights="imagenet")


@pytest.mark.skipif(not WEIGHTS.is_dir(), reason="KERASDET_WEIGHTS names no folder of released weights")
def test_the_released_lite0_loads():
    path = WEIGHTS / "efficientnet_lite0_224.npz"
    network = backbones.build("efficientnet_lite0", levels=(3, 5), weights=str(path))
    with np.load(path) as file:
        kernel = file["_blocks.15._depthwise_conv.weight"]
    np.testing.assert_array_equal(network.stages[-1][0].depthwise.kernel, np.transpose(kernel, (2, 3, 1, 0)))


def test_widths_and_depths():
    """Multiples of 8, never a tenth less; a Lite form keeps its first and last stage."""
    assert [efficientnet.rounded(32, width) for width, _ in efficientnet.SCALES] == [32, 32, 32, 40, 48, 48, 56, 64]
    deep, lite = (backbones.build(f"efficientnet_{name}", levels=(3, 5)) for name in ("b4", "lite4"))
    assert [len(stage) for stage in deep.stages] == [2, 4, 4, 6, 6, 8, 2]
    assert [len(stage) for stage in lite.stages] == [1, 4, 4, 6, 6, 8, 1]
    assert lite.stem.filters == 32 and lite.channels == (56, 160, 448)


def test_stochastic_depth():
    """In training a picture takes the shortcut alone as often as it says, and the others are scaled up for it."""
    keras.utils.set_random_seed(0)
    block = InvertedResidual(3, 4, 8, 4, "relu", drop=0.75, norm="frozen")
    x = tf.constant(draw(400, 2, 2, 4))
    y, _ = block(x)
    trained = (block(x, training=True)[0] - x).numpy().reshape(400, -1)
    kept = np.abs(trained).max(axis=1) > 0
    assert 70 < kept.sum() < 130
    np.testing.assert_allclose(trained[kept], 4 * (y - x).numpy().reshape(400, -1)[kept], rtol=1e-3, atol=1e-2)
    drops = [
        block.drop.rate if block.drop else 0.0
        for stage in efficientnet.EfficientNet(0, survival=0.8).stages
        for block in stage
    ]
    assert drops[2] == pytest.approx(0.2 * 2 / 16) and drops[14] == pytest.approx(0.2 * 14 / 16) and drops[15] == 0
