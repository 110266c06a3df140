"""Softer-NMS against the reference values: the KL loss and its gradients, the coder of sides, and variance voting."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet.decoding import suppress
from kerasdet.detectors import softer_nms
from tests.golden import goldens

GOLDEN = goldens.load("softer_nms")


def cases(prefix):
    return goldens.cases("softer_nms", prefix)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
@pytest.mark.parametrize("case", cases("kl_"))
def test_loss(case, dtype):
    golden = GOLDEN[case]
    offsets, targets, alphas, mask = (tf.constant(golden[name], dtype) for name in ("pred", "target", "alpha", "mask"))
    with tf.GradientTape() as tape:
        tape.watch([offsets, alphas])
        each = softer_nms.kl(offsets, alphas, targets)
        loss = tf.reduce_sum(each * mask) / golden["normalizer"].item()
    tolerance = {"rtol": 1e-4, "atol": 1e-6} if dtype == tf.float32 else {"rtol": 1e-9, "atol": 1e-12}
    np.testing.assert_allclose(each, golden["elementwise64"], **tolerance)
    np.testing.assert_allclose(loss, golden["loss64"], **tolerance)
    for name, gradient in zip(("pred", "alpha"), tape.gradient(loss, [offsets, alphas]), strict=True):
        np.testing.assert_allclose(gradient, golden[f"grad_{name}64"], **tolerance)


@pytest.mark.parametrize("case", cases("corner_coder"))
def test_coder(case):
    golden = GOLDEN[case]
    assert golden["weights"].tolist() == [softer_nms.WEIGHT] * 4
    proposals = tf.constant(golden["boxes"])
    offsets = softer_nms.encode(proposals, tf.constant(golden["gt"]))
    np.testing.assert_allclose(offsets, golden["deltas64"], rtol=1e-4, atol=1e-4)
    found = softer_nms.decode_sides(proposals, offsets + golden["noise"])
    np.testing.assert_allclose(found, golden["decoded64"], rtol=0, atol=1e-3)


def kind(golden):
    """The `nms` argument of a case."""
    options = {"sigma_t": goldens.decimal(golden["sigma_t"])}
    if "soft_sigma" not in golden:
        return {"name": "voting", **options}
    soft = {name: goldens.decimal(golden[key]) for name, key in (("sigma", "soft_sigma"), ("floor", "floor"))}
    return {"name": "soft_voting", **soft, **options}


def same(found, golden):
    count = len(golden["keep"])
    assert int(found["counts"][0]) == count
    np.testing.assert_allclose(found["scores"][0, :count], golden["keep_scores64"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["boxes"][0, :count], golden["voted64"], rtol=0, atol=5e-3)


@pytest.mark.parametrize("case", [case for case in cases("vote_") if "classes" not in GOLDEN[case]])
def test_voting(way, case):
    golden = GOLDEN[case]
    boxes, scores, variances = (tf.constant(golden[name])[None] for name in ("boxes", "scores", "variances"))
    iou = goldens.decimal(golden["iou_threshold"]) if "iou_threshold" in golden else 0.5
    classes, limit = tf.zeros_like(scores, tf.int32), scores.shape[1]
    same(suppress.per_class(boxes, scores, classes, 1, iou, 0.0, limit, kind(golden), variances=variances), golden)


@pytest.mark.parametrize("case", [case for case in cases("vote_") if "classes" in GOLDEN[case]])
def test_voting_within_classes(way, case):
    """Each class has boxes of its own; the first one is the background, which is not detected."""
    golden = GOLDEN[case]
    count, classes = golden["scores"].shape
    boxes, variances = (
        tf.constant(golden[name].reshape(1, count, classes, 4)[:, :, 1:]) for name in ("boxes", "variances")
    )
    scores, above = tf.constant(golden["scores"][None, :, 1:]), goldens.decimal(golden["score_threshold"])
    found = suppress.within_classes(
        boxes, scores, 0.5, above, count * classes, kind(golden), variances=variances,
        rows=tf.tile(tf.range(count)[None, :, None], [1, 1, classes - 1]),
    )  # fmt: skip
    same(found, golden)
    for name, wanted in (("classes", golden["classes"] - 1), ("rows", golden["keep"])):
        np.testing.assert_array_equal(found[name][0, : len(wanted)], wanted)
