"""ResNets: published sizes, Keras' weights and values, dilation, levels."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet import backbones
from kerasdet.backbones.resnet import ResNet, load_keras
from kerasdet.detectors import RetinaNet
from kerasdet.layers import FPN, ConvHead, Pixels
from kerasdet.layers.start import weights_expected
from kerasdet.weights import names

# Weights in all and trainable ones, without classifier; torchvision's models, summed.
SIZES = {
    "resnet18": (11_186_112, 11_176_512),
    "resnet34": (21_301_696, 21_284_672),
    "resnet50": (23_561_152, 23_508_032),
    "resnet101": (42_605_504, 42_500_160),
    "resnet152": (58_295_232, 58_143_808),
    "resnext50_32x4d": (23_048_128, 22_979_904),
    "resnext101_32x8d": (86_945_216, 86_742_336),
    "resnext101_64x4d": (81_609_152, 81_406_272),
}

# Weights in all of RetinaNet on each backbone, for 20, 80, 90 and 91 classes; torchvision's model, summed.
CLASSES = (20, 80, 90, 91)
RETINANETS = {
    ("resnet50", "c"): (36_777_112, 38_021_812, 38_229_262, 38_250_007),
    ("resnet50", "p"): (32_648_344, 33_893_044, 34_100_494, 34_121_239),
    ("resnet101", "c"): (55_821_464, 57_066_164, 57_273_614, 57_294_359),
    ("resnet101", "p"): (51_692_696, 52_937_396, 53_144_846, 53_165_591),
    ("resnext101_32x8d", "c"): (100_161_176, 101_405_876, 101_613_326, 101_634_071),
    ("resnext101_32x8d", "p"): (96_032_408, 97_277_108, 97_484_558, 97_505_303),
    ("resnext101_64x4d", "c"): (94_825_112, 96_069_812, 96_277_262, 96_298_007),
    ("resnext101_64x4d", "p"): (90_696_344, 91_941_044, 92_148_494, 92_169_239),
}


def weights(variables):
    return sum(int(np.prod(variable.shape)) for variable in variables)


@functools.cache
def count(name):
    """Weights of a backbone in all, and trainable ones."""
    with weights_expected():
        backbone = backbones.build(name, levels=(3, 5))
        backbone(tf.zeros([1, 32, 32, 3]))
    return weights(backbone.variables), weights(backbone.trainable_variables)


@pytest.mark.parametrize("name", SIZES)
def test_published_sizes(name):
    assert count(name) == SIZES[name]


@pytest.mark.parametrize("name, extra_from", RETINANETS)
def test_published_sizes_of_retinanet(name, extra_from):
    """Backbone, pyramid and heads, part by part."""
    shapes = [(None, 32 // 2**i, 32 // 2**i, 512 * 2**i) for i in range(3)]
    fpn = FPN(256, (3, 7), extra_from)
    fpn.build(shapes)
    for classes, expected in zip(CLASSES, RETINANETS[name, extra_from], strict=True):
        heads = [ConvHead(4, 256, 9, outputs) for outputs in (classes, 4)]
        for head in heads:
            head.build([(None, 32, 32, 256)])
        assert count(name)[0] + sum(weights(part.variables) for part in (fpn, *heads)) == expected


def test_published_size_of_a_whole_retinanet():
    """With frozen norms all but their weights train."""
    with weights_expected():
        model = RetinaNet(classes=91, backbone="resnet50", extra_from="p", resize=("keep",))
    assert model.count_params() == RETINANETS["resnet50", "p"][CLASSES.index(91)]
    norms = 4 * 26_560  # the weights of all norms of ResNet-50
    assert model.count_params() - weights(model.trainable_variables) == norms


def randomize(layer, seed=0):
    """Draws all weights; variances and scales around 1."""
    rng = np.random.default_rng(seed)
    for variable in layer.variables:
        if "kernel" in variable.path:
            scale = np.sqrt(2 / np.prod(variable.shape[:3]))
            variable.assign(rng.normal(size=variable.shape, scale=scale))
        else:
            center = 1 if "variance" in variable.path or "gamma" in variable.path else 0
            variable.assign(center + rng.uniform(-0.5, 0.5, variable.shape))


def draw(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.fixture(scope="module")
def keras_resnet(tmp_path_factory):
    """Keras' own network with random weights, and the file of them."""
    network = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(None, None, 3))
    randomize(network)
    path = tmp_path_factory.mktemp("weights") / "resnet50.weights.h5"
    network.save_weights(path)
    taps = ("conv3_block4_out", "conv4_block6_out", "conv5_block3_out")
    return keras.Model(network.input, [network.get_layer(tap).output for tap in taps]), str(path)


def test_keras_weights_give_the_values_of_keras(keras_resnet):
    network, path = keras_resnet
    pixels = np.random.default_rng(2).integers(0, 256, (2, 64, 96, 3)).astype(np.float32)
    expected = network(keras.applications.resnet.preprocess_input(pixels.copy()))
    ours = backbones.build("resnet50_keras", levels=(3, 5), norm="frozen", weights=path)
    images = {"pixels": pixels, "windows": np.float32([[0, 0, 96, 64]] * 2)}
    for got, tap in zip(ours(Pixels(ours.normalization)(images)), expected, strict=True):
        close(got, tap)


def test_keras_weights_of_fewer_levels(keras_resnet):
    network, path = keras_resnet
    x = draw(1, 64, 64, 3) * 50
    (got,) = backbones.build("resnet50_keras", levels=(4, 4), weights=path)(x)
    close(got, network(x[..., ::-1])[1])


def test_keras_weights_of_a_stage(keras_resnet):
    """C4 and conv5_x apart give the last map of Keras' network."""
    network, path = keras_resnet
    x = draw(1, 64, 64, 3) * 50
    (c4,) = backbones.build("resnet50_keras", levels=(4, 4), norm="frozen", weights=path)(x)
    res5 = backbones.stage({"name": "resnet50_keras", "weights": path, "freeze": 2}, norm="frozen")
    close(res5(c4), network(x[..., ::-1])[2])
    with pytest.raises(ValueError, match="Keras' ImageNet weights fit the backbones resnet50_keras"):
        backbones.stage("resnet50", weights=path)


@pytest.mark.parametrize("name", ["resnet50", "resnet18"])
def test_keras_weights_of_another_form(name, keras_resnet):
    with pytest.raises(ValueError, match="Keras' ImageNet weights fit the backbones resnet50_keras"):
        backbones.build(name, levels=(3, 5), weights=keras_resnet[1])


def test_keras_weights_change_nothing_in_another_form():
    with pytest.raises(ValueError, match="resnet50_keras"):
        load_keras(ResNet(50, stride_in="1x1"), "nowhere.weights.h5")  # but Caffe's pixels


FORMS = {
    "basic": {"depth": 18, "width": 16},
    "3x3": {"depth": 50, "width": 8},
    "1x1": {"depth": 50, "width": 8, "stride_in": "1x1"},
    "groups": {"depth": 50, "width": 16, "groups": 4, "group_width": 16},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_dilation_keeps_what_strides_drop(form):
    """With the same weights a denser map holds, at every second or fourth place, the values of the strided one."""
    size = (75, 41)
    strided, x = ResNet(**form, norm="frozen"), draw(1, *size, 3)
    strided(x)
    randomize(strided)
    maps = [feature.numpy() for feature in strided(x)]
    assert [feature.shape[1:3] for feature in maps] == [tuple(-(-s // 2**i) for s in size) for i in (2, 3, 4, 5)]
    for output_stride in (16, 8):
        dense = ResNet(**form, norm="frozen", output_stride=output_stride)
        dense(x)
        dense.set_weights(strided.get_weights())
        for level, (got, expected) in enumerate(zip(dense(x), maps, strict=True), start=2):
            step = max(1, 2**level // output_stride)
            assert got.shape[1:3] == tuple(-(-s // min(2**level, output_stride)) for s in size)
            close(got[:, ::step, ::step], expected)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet50_keras", "resnext50_32x4d"])
def test_the_last_stage_alone(name):
    """Of equal weights, C4 and conv5_x apart are the whole network; its variables are named as within it."""
    x = draw(2, 96, 64, 3)
    whole = backbones.build({"name": name, "width": 16}, levels=(4, 5), norm="frozen")
    c4 = backbones.build({"name": name, "width": 16}, levels=(4, 4), norm="frozen")
    res5 = backbones.stage({"name": name, "width": 16}, norm="frozen")
    res5(c4(x)[0])
    whole(x)
    randomize(whole)
    theirs, ours = names.weights(whole), names.weights(res5)
    assert list(ours) == [key.replace("stages/3", "blocks") for key in theirs if key.startswith("stages/3/")]
    for key, variable in ours.items():
        variable.assign(theirs[key.replace("blocks", "stages/3")])
    for key, variable in names.weights(c4).items():
        variable.assign(theirs[key])
    close(res5(c4(x)[0]), whole(x)[1])
    assert c4.count_params() + res5.count_params() == whole.count_params()


def test_published_size_of_c4_and_its_last_stage():
    """With RPN (3x3 of 1024, 15 anchors) and predictors of 21 classes 33,291,380, as Faster R-CNN's R50-C4."""
    with weights_expected():
        c4, res5 = backbones.build("resnet50", levels=(4, 4)), backbones.stage("resnet50")
        (features,) = c4(tf.zeros([1, 32, 32, 3]))
        regions = res5(tf.zeros([2, 14, 14, 1024]))
    assert features.shape == (1, 2, 2, 1024) and regions.shape == (2, 7, 7, 2048)
    rpn, predictors = (9 * 1024 + 1) * 1024 + 1025 * 15 * 5, 2049 * 21 * 5
    assert c4.count_params() + res5.count_params() + rpn + predictors == 33_291_380


def test_a_stage_without_stride():
    """On one cell, whose neighbors are all padding, the stride changes nothing; on 7x7 cells it leaves 4x4."""
    cell, cells = draw(3, 1, 1, 256), draw(3, 7, 7, 256)
    dense, strided = (backbones.stage({"name": "resnet50", "width": 16}, stride=s, norm="frozen") for s in (1, 2))
    dense(cell), strided(cell)
    randomize(dense)
    strided.set_weights(dense.get_weights())
    close(dense(cell), strided(cell))
    assert dense(cells).shape == (3, 7, 7, 512) and strided(cells).shape == (3, 4, 4, 512)


def test_forms_differ_in_where_they_stride():
    """The same weights, shapes and sizes, other values."""
    x = draw(1, 64, 64, 3)
    outputs = []
    for stride_in in ("1x1", "3x3"):
        network = ResNet(50, width=8, stride_in=stride_in, norm="frozen")
        network(x)
        randomize(network)
        outputs.append([feature.numpy() for feature in network(x)])
    close(outputs[0][0], outputs[1][0])  # conv2_x has no stride
    for one, other in zip(outputs[0][1:], outputs[1][1:], strict=True):
        assert one.shape == other.shape and np.abs(one - other).max() > 0.1 * np.abs(one).max()


@pytest.mark.parametrize("levels", [(2, 5), (4, 4)])
@pytest.mark.parametrize("depth, channels", [(18, 8), (50, 32)])
def test_levels(depth, channels, levels):
    features = ResNet(depth, width=8, levels=levels)(draw(2, 64, 96, 3))
    expected = [(2, 64 // 2**i, 96 // 2**i, channels * 2 ** (i - 2)) for i in range(levels[0], levels[1] + 1)]
    assert [tuple(feature.shape) for feature in features] == expected


def test_frozen_norms():
    network, x = ResNet(18, width=8, norm="frozen"), draw(1, 64, 64, 3)
    network(x)
    randomize(network)
    for got, expected in zip(network(x, training=True), network(x, training=False), strict=True):
        np.testing.assert_array_equal(got, expected)
    assert all("kernel" in variable.path for variable in network.trainable_variables)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="stride_in must be '1x1' or '3x3', got '5x5'"):
        ResNet(50, stride_in="5x5")
    with pytest.raises(ValueError, match="output_stride must be 8, 16 or 32, got 4"):
        ResNet(50, output_stride=4)
    with pytest.raises(ValueError, match="backbone must be one of .*'resnet34'.*, got 'resnet35'"):
        backbones.build("resnet35", levels=(3, 5))
    with pytest.raises(ValueError, match="a stage is taken from a ResNet or ResNeXt, got backbone 'zf'"):
        backbones.stage("zf")
