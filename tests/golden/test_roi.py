"""Region operators against the reference values: values and gradients, natively and by the twins."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet.ops import prroi_pool, ps_roi_align, ps_roi_pool, pyramid_levels, roi_align, roi_pool
from tests.golden import goldens

# How an operator reads a case: its features, rois, scale and size, and what else the case sets.
OPERATORS = {
    "roi_align": (roi_align, ("sampling_ratio", "aligned")),
    "roi_pool": (roi_pool, ()),
    "ps_roi_align": (ps_roi_align, ("sampling_ratio",)),
    "ps_roi_pool": (ps_roi_pool, ()),
    "prroi_pool": (prroi_pool, ()),
}
CASES = [(name, case) for name in OPERATORS for case in goldens.cases(name)]
GOLDENS = {name: goldens.load(name) for name in (*OPERATORS, "multiscale_roi_align")}
PYRAMID = ("p2", "p3", "p4", "p5")


def tolerance(dtype):
    return {"rtol": 1e-9, "atol": 1e-9} if dtype == np.float64 else {"rtol": 1e-4, "atol": 1e-4}


def run(name, golden, dtype):
    """Value of a case, and gradients to its features and RoIs."""
    operator, settings = OPERATORS[name]
    features, rois = tf.constant(golden["features"], dtype), tf.constant(golden["rois"], dtype)
    settings = {key: golden[key].item() for key in settings}
    if "aligned" in settings:
        settings["aligned"] = bool(settings["aligned"])
    size = golden["output_size"].tolist()
    with tf.GradientTape() as tape:
        tape.watch([features, rois])
        out = operator(features, rois, goldens.decimal(golden["spatial_scale"]), size, **settings)
        total = tf.reduce_sum(out * tf.constant(golden["upstream"], dtype))
    return out, *tape.gradient(total, [features, rois])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name, case", CASES)
def test_values_and_gradients(way, name, case, dtype):
    golden = GOLDENS[name][case]
    out, to_features, to_rois = run(name, golden, dtype)
    assert out.dtype == to_features.dtype == dtype
    if name == "roi_pool":
        np.testing.assert_array_equal(out, golden["out"])
    else:
        np.testing.assert_allclose(out, golden["out64"], **{**tolerance(dtype), "rtol": 0})
    gradient = golden["grad_features64" if name == "prroi_pool" else "grad64"]
    np.testing.assert_allclose(tf.convert_to_tensor(to_features), gradient, **tolerance(dtype))
    if name == "prroi_pool":
        expected = np.pad(golden["grad_rois64"], [[0, 0], [1, 0]])
        np.testing.assert_allclose(to_rois, expected, **tolerance(dtype))
    else:
        assert to_rois is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", goldens.cases("multiscale_roi_align"))
def test_multiscale_roi_align(way, case, dtype):
    golden = GOLDENS["multiscale_roi_align"][case]
    pyramid = [tf.constant(golden[f"features_{p}"], dtype) for p in PYRAMID]
    rois = tf.constant(golden["rois"], dtype)
    levels = pyramid_levels(rois, 2, 5)
    np.testing.assert_array_equal(levels + 2, golden["levels"])
    scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    with tf.GradientTape() as tape:
        tape.watch(pyramid)
        out = roi_align(
            pyramid, rois, scales, golden["output_size"].item(), golden["sampling_ratio"].item(), aligned=False,
            levels=levels,
        )  # fmt: skip
        total = tf.reduce_sum(out * tf.constant(golden["upstream"], dtype))
    np.testing.assert_allclose(out, golden["out64"], **{**tolerance(dtype), "rtol": 0})
    for gradient, p in zip(tape.gradient(total, pyramid), PYRAMID, strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(gradient), golden[f"grad_{p}_64"], **tolerance(dtype))


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
@pytest.mark.parametrize("name", OPERATORS)
def test_half_precision_is_summed_in_float32(way, name, dtype):
    """Features that half precision can hold give the values of float32, rounded once."""
    golden = GOLDENS[name][goldens.cases(name)[0]]
    golden = {**golden, "features": tf.cast(tf.cast(golden["features"], dtype), tf.float32)}
    operator, settings = OPERATORS[name]
    settings = {key: golden[key].item() for key in settings}
    arguments = (golden["rois"], goldens.decimal(golden["spatial_scale"]), golden["output_size"].tolist())
    half = operator(tf.cast(golden["features"], dtype), *arguments, **settings)
    whole = operator(golden["features"], *arguments, **settings)
    assert half.dtype == dtype
    np.testing.assert_array_equal(tf.cast(half, tf.float32), tf.cast(tf.cast(whole, dtype), tf.float32))
