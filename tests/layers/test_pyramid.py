"""The feature pyramid against the paper's figure, spelled out."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet.layers import FPN

SIZES = {"even": [(16, 24), (8, 12), (4, 6)], "odd": [(13, 11), (7, 6), (4, 3)]}
CHANNELS = (4, 6, 10)


def draw(sizes):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(2, *size, c)).astype(np.float32) for size, c in zip(sizes, CHANNELS, strict=True)]


def build(features, **options):
    layer = FPN(8, levels=(3, 7), **options)
    layer.build([x.shape for x in features])
    rng = np.random.default_rng(1)
    for variable in layer.variables:
        variable.assign(rng.normal(size=variable.shape, scale=0.3))
    return layer


def conv(x, layer, stride=1):
    pad = layer.kernel.shape[0] // 2
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    return tf.nn.conv2d(x, layer.kernel.value, stride, "VALID").numpy() + layer.bias.numpy()


def enlarged(x, size):
    rows = [i * x.shape[1] // size[0] for i in range(size[0])]
    columns = [j * x.shape[2] // size[1] for j in range(size[1])]
    return x[:, rows][:, :, columns]


@pytest.mark.parametrize("extra_from", ["c", "p"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_pyramid(sizes, extra_from):
    c3, c4, c5 = draw(sizes)
    layer = build([c3, c4, c5], extra_from=extra_from)
    top = conv(c5, layer.laterals[2])
    middle = conv(c4, layer.laterals[1]) + enlarged(top, c4.shape[1:3])
    low = conv(c3, layer.laterals[0]) + enlarged(middle, c3.shape[1:3])
    p3, p4, p5 = (conv(x, output) for x, output in zip((low, middle, top), layer.outputs, strict=True))
    p6 = conv(c5 if extra_from == "c" else p5, layer.extras[0], 2)
    p7 = conv(np.maximum(p6, 0), layer.extras[1], 2)
    assert (p6 < 0).any()
    for got, expected in zip(layer([c3, c4, c5]), (p3, p4, p5, p6, p7), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-4)


def test_weights():
    """1x1 laterals, 3x3 outputs, two 3x3 extras, all with a bias."""
    features = draw(SIZES["even"])
    count = sum((c + 1) * 8 + (9 * 8 + 1) * 8 for c in CHANNELS)
    assert build(features, extra_from="p").count_params() == count + 2 * (9 * 8 + 1) * 8
    assert build(features, extra_from="c").count_params() == count + (9 * CHANNELS[-1] + 1) * 8 + (9 * 8 + 1) * 8


def test_fewer_levels_than_maps_have_no_extras():
    features = draw(SIZES["even"])
    layer = FPN(8, levels=(3, 5))
    assert [x.shape for x in layer(features)] == [(2, *size, 8) for size in SIZES["even"]] and layer.extras == []


def test_norm():
    features = draw(SIZES["even"])
    layer = FPN(8, levels=(3, 5), norm="batch")
    outputs = [layer(features, training=training) for training in (True, False)]
    assert np.abs(outputs[0][0] - outputs[1][0]).max() > 0.1  # training normalizes by the batch
    assert layer.laterals[0].norm is not None and layer.outputs[0].norm is not None
    np.testing.assert_allclose(np.mean(outputs[0][2], axis=(0, 1, 2)), np.zeros(8), atol=1e-4)


def test_mixed_precision():
    features = [tf.cast(x, tf.bfloat16) for x in draw(SIZES["even"])]
    assert {x.dtype for x in FPN(8, dtype="mixed_bfloat16")(features)} == {tf.bfloat16}


def test_unknown_source():
    with pytest.raises(ValueError, match="extra_from must be 'c' .* or 'p' .*, got 'p5'"):
        FPN(extra_from="p5")
