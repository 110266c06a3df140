"""Modulated deformable convolution against the reference values, forward and backward, natively and by the twin."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet.layers.deform import DeformConv, deform_conv
from tests.golden import goldens

GOLDENS = goldens.load("deform_conv")
PLAIN = [case for case in goldens.cases("deform_conv") if "offset" in GOLDENS[case]]
GIVEN = {"x": "grad_x64", "offset": "grad_offset64", "weight": "grad_weight64", "bias": "grad_bias64"}


@pytest.mark.parametrize("case", PLAIN)
def test_values_and_gradients(way, case):
    golden = GOLDENS[case]
    names = {**GIVEN, "mask": "grad_mask64"}
    given = {name: tf.constant(golden[name]) for name in names if name in golden}
    form = {name: tuple(golden[name]) for name in ("stride", "padding", "dilation")}
    with tf.GradientTape() as tape:
        tape.watch(given)
        found = deform_conv(
            given["x"], given["offset"], given.get("mask"), given["weight"], **form,
            offset_groups=int(golden["offset_groups"]),
        )  # fmt: skip
        found += given.get("bias", 0.0)
        total = tf.reduce_sum(found * golden["upstream"])
    np.testing.assert_allclose(found, golden["out64"], rtol=0, atol=1e-4)
    for name, gradient in tape.gradient(total, given).items():
        expected, gradient = golden[names[name]], gradient.numpy()
        sure = golden["offset_ok"] > 0 if name == "offset" else np.full(expected.shape, True)
        np.testing.assert_allclose(gradient[sure], expected[sure], rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("case", [case for case in GOLDENS if case not in PLAIN])
def test_layer(way, case):
    golden = GOLDENS[case]
    layer = DeformConv(golden["block_out64"].shape[-1])
    x = tf.constant(golden["x_in"])
    layer.build(x.shape)
    weights = {
        "weight": layer.kernel, "bias": layer.bias, "conv_weight": layer.offset_kernel, "conv_bias": layer.offset_bias,
    }  # fmt: skip
    for name, variable in weights.items():
        variable.assign(golden[name])
    with tf.GradientTape() as tape:
        tape.watch(x)
        found = layer(x)
        total = tf.reduce_sum(found * golden["upstream"])
    np.testing.assert_allclose(found, golden["block_out64"], rtol=0, atol=1e-4)
    wanted = {"x_in": x, **{name: v.value for name, v in weights.items()}}
    for name, gradient in tape.gradient(total, wanted).items():
        np.testing.assert_allclose(gradient, golden[f"grad_{name}64"], rtol=1e-4, atol=1e-4, err_msg=name)
