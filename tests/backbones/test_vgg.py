"""VGG: Keras' weights in their places, fc6 and fc7 thinned out, maps of any side."""

import types

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import backbones
from kerasdet.backbones import vgg
from kerasdet.layers.dense import FC


class Source:
    """A stand-in of Keras' VGG16, which is half a gigabyte: layers by name, each with its weights when it is asked."""

    def __init__(self):
        self.rng = np.random.default_rng(0)
        self.given = {}

    def get_layer(self, name):
        shapes = {"fc1": (25088, 4096), "fc2": (4096, 4096)}
        block, number = (int(name[i]) for i in (5, -1)) if name.startswith("block") else (0, 0)
        widths = (3, 64, 128, 256, 512, 512)
        shape = shapes.get(name) or (3, 3, widths[block - 1] if number == 1 else widths[block], widths[block])
        kernel = self.rng.normal(size=shape[:-1] + (1,)).astype(np.float32) + np.arange(shape[-1], dtype=np.float32)
        self.given[name] = [kernel, self.rng.normal(size=shape[-1]).astype(np.float32)]
        return types.SimpleNamespace(get_weights=lambda: self.given[name])


@pytest.fixture(scope="module")
def loaded():
    source = Source()
    before, vgg.NETWORKS[16] = vgg.NETWORKS[16], lambda include_top, weights: source
    network = backbones.build("vgg16_atrous", levels=(3, 4), weights="anything")
    vgg.NETWORKS[16] = before
    return network, source.given


def test_keras_weights_are_in_their_places(loaded):
    network, given = loaded
    np.testing.assert_array_equal(network.stages[0][0].kernel, given["block1_conv1"][0][:, :, ::-1])
    np.testing.assert_array_equal(network.stages[0][1].kernel, given["block1_conv2"][0])
    np.testing.assert_array_equal(network.stages[4][2].bias, given["block5_conv3"][1])
    assert len(given) == 15


def test_fc6_and_fc7_are_thinned_out(loaded):
    """SSD, section 3: of 7x7 positions 3x3 stay, of 4096 channels every fourth."""
    network, given = loaded
    kernel = given["fc1"][0].reshape(7, 7, 512, 4096)
    assert network.fc6.kernel.shape == (3, 3, 512, 1024)
    for y, x, i, o in ((0, 0, 0, 0), (1, 2, 5, 7), (2, 1, 511, 1023)):
        assert network.fc6.kernel[y, x, i, o] == kernel[3 * y, 3 * x, i, 4 * o]
        assert network.fc7.kernel[0, 0, i, o] == given["fc2"][0][4 * i, 4 * o]
    np.testing.assert_array_equal(network.fc7.bias, given["fc2"][1][::4])


def test_a_region_head_starts_from_fc6_and_fc7(monkeypatch):
    """Keras flattens 7x7 cells of 512 channels as the head does: row, column, channel."""
    source = Source()
    monkeypatch.setitem(vgg.NETWORKS, 16, lambda **_: source)
    network, layers = backbones.build("vgg16", levels=(4, 4)), [FC(4096), FC(4096)]
    network.load_top(layers, "anything")
    for layer, name in zip(layers, ("fc1", "fc2"), strict=True):
        np.testing.assert_array_equal(layer.kernel, source.given[name][0])
        np.testing.assert_array_equal(layer.bias, source.given[name][1])
    smaller = [FC(1024), FC(1024)]
    network.load_top(smaller, "anything")
    assert not smaller[0].built
    for name, levels in (("vgg16", (3, 3)), ("vgg16", (3, 4)), ("vgg16_atrous", (4, 4))):
        others = [FC(4096), FC(4096)]
        backbones.build(name, levels=levels).load_top(others, "anything")
        assert not others[0].built  # what they would see is not conv5


@pytest.mark.parametrize("side", [37, 75])
def test_pools_round_up(side):
    network = backbones.build({"name": "vgg16_atrous", "width": 4}, levels=(0, 4))
    sizes = [feature.shape[1] for feature in network(tf.zeros([1, side, side, 3]))]
    assert sizes == [-(-side // 2**level) for level in range(5)]


def test_other_forms_take_no_weights():
    with pytest.raises(ValueError, match="weights fit VGG of depth 16 and 19 with its own width and without norm"):
        backbones.build({"name": "vgg16", "width": 8}, levels=(3, 4), weights="imagenet")


def test_freeze():
    network = backbones.build({"name": "vgg16", "width": 4, "freeze": 2}, levels=(3, 4))
    network(tf.zeros([1, 32, 32, 3]))
    assert len(network.trainable_variables) == 2 * 6


def test_one_map_of_stride_16():
    """conv5_3, with 14,714,688 weights below; Fast R-CNN trains conv3_1 and up (section 4.5), the rest stays."""
    network = backbones.build({"name": "vgg16", "freeze": 1}, levels=(4, 4))
    (feature,) = network(tf.zeros([1, 40, 72, 3]))
    assert feature.shape == (1, 3, 5, 512)
    assert network.count_params() == 14_714_688
    frozen = (3 * 9 + 1) * 64 + (64 * 9 + 1) * 64 + (64 * 9 + 1) * 128 + (128 * 9 + 1) * 128
    assert sum(int(np.prod(v.shape)) for v in network.trainable_variables) == 14_714_688 - frozen
