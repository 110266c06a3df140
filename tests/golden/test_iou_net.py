"""IoU-Net against the reference values: the boxes that the IoU branch learns from, its loss, and refinement."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import boxes, ops
from kerasdet.detectors import iou_net
from kerasdet.losses import boxes as losses
from kerasdet.targets import jitter
from tests.golden import goldens

GOLDEN = goldens.load("iou_net")


def cases(prefix):
    return goldens.cases("iou_net", prefix)


@pytest.mark.parametrize("case", cases("target_"))
def test_targets(case):
    golden = GOLDEN[case]
    own = tf.constant(golden["gt"].astype(np.float64)[golden["candidate_gt"]])
    overlaps = boxes.matched_iou(tf.constant(golden["candidates"].astype(np.float64)), own)
    np.testing.assert_allclose(overlaps, golden["iou64"], atol=1e-12)
    np.testing.assert_array_equal(overlaps >= jitter.LEAST, golden["kept"])
    rows, valid = jitter.evenly(overlaps[None], tf.constant(golden["draws"].astype(np.float64))[None])
    assert bool(valid[0])
    np.testing.assert_array_equal(rows[0], golden["selected"])
    labels = iou_net.scaled(tf.gather(overlaps, rows[0]))
    np.testing.assert_allclose(labels, golden["label64"], atol=1e-12)
    predicted = tf.constant(golden["pred"], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(predicted)
        loss = tf.reduce_mean(losses.smooth_l1(predicted, labels, beta=1.0))
    np.testing.assert_allclose(loss, golden["loss64"], rtol=1e-9)
    np.testing.assert_allclose(tape.gradient(loss, predicted), golden["grad64"], atol=1e-9)


@pytest.mark.parametrize("case", cases("refine_"))
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_refinement(way, case, dtype):
    """Step by step: boxes, predicted IoUs, and which boxes still move."""
    golden = GOLDEN[case]
    features, weights = (tf.constant(golden[name], dtype) for name in ("features", "weights"))

    def predict(boxes):
        rois = tf.concat([tf.zeros_like(boxes[:, :1]), boxes], axis=1)
        pooled = ops.prroi_pool(features, rois, goldens.decimal(golden["spatial_scale"]), golden["pool"].item())
        score = tf.reduce_sum(pooled * weights, axis=[1, 2, 3]) + golden["bias"].item()
        return tf.sigmoid(score) if golden["activation"] else score

    numbers = {name: goldens.decimal(golden[name]) for name in ("step_size", "early_stop", "degeneration")}
    start = before = tf.constant(golden["boxes"], dtype)
    np.testing.assert_allclose(predict(start), golden["scores64"][0], atol=1e-4)
    tolerance = 1e-8 if dtype == tf.float64 else 1e-2
    for step in range(1, golden["steps"].item() + 1):
        found, ious = iou_net.refined(start, predict, step, **numbers)
        np.testing.assert_allclose(found, golden["boxes64"][step], rtol=0, atol=tolerance)
        np.testing.assert_allclose(ious, golden["scores64"][step], rtol=0, atol=max(tolerance / 10, 1e-8))
        moved = np.any(found != before, axis=1)
        np.testing.assert_array_equal(moved, golden["active"][step - 1])
        before = found
    np.testing.assert_allclose(found, golden["final64"], rtol=0, atol=tolerance)
