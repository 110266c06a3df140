"""Targets, losses and places of masks and keypoints against the reference values."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet.decoding import keypoints as decode
from kerasdet.losses import regions as losses
from kerasdet.targets import keypoints, masks
from tests.golden import goldens

GOLDEN = goldens.load("mask_keypoint")


def close(got, expected, tolerance=1e-5):
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", goldens.cases("mask_keypoint", "mask_targets"))
def test_mask_targets(case):
    """The stored masks cover the whole picture."""
    golden = GOLDEN[case]
    height, width = golden["masks"].shape[1:]
    frames = np.tile(np.float32([0, 0, width, height]), [1, len(golden["masks"]), 1])
    got = masks.cut(
        tf.constant(golden["masks"][None]), tf.constant(frames), tf.constant(golden["boxes"][None]),
        tf.constant(golden["matched"][None]), golden["mask_size"].item(), aligned=False,
    )  # fmt: skip
    close(got[0], golden["targets64"], 1e-4)
    close(got[0], golden["targets"], 1e-4)


@pytest.mark.parametrize("case", goldens.cases("mask_keypoint", "mask_loss"))
def test_mask_loss(case):
    golden = GOLDEN[case]
    logits, count = tf.constant(golden["logits"]), max(len(golden["labels"]), 1)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        each = losses.mask(logits, tf.constant(golden["targets"]), tf.constant(golden["labels"]))
        loss = tf.reduce_sum(each) / count
    close(loss, golden["loss64"])
    close(tape.gradient(loss, logits), golden["grad64"])


@pytest.mark.parametrize("case", goldens.cases("mask_keypoint", "keypoint_targets"))
def test_keypoint_targets(case):
    golden = GOLDEN[case]
    cells, valid = keypoints.cells(
        tf.constant(golden["keypoints"]), tf.constant(golden["rois"]), golden["heatmap_size"].item()
    )
    np.testing.assert_array_equal(cells, golden["flat_index"])
    np.testing.assert_array_equal(valid, golden["valid"])


@pytest.mark.parametrize("case", goldens.cases("mask_keypoint", "keypoint_loss"))
def test_keypoint_loss(case):
    golden = GOLDEN[case]
    logits = tf.constant(golden["logits"])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        each = losses.keypoints(logits, tf.constant(golden["flat_index"]))
        loss = tf.reduce_sum(each * golden["valid"]) / max(golden["valid"].sum(), 1)
    close(loss, golden["loss64"])
    close(tape.gradient(loss, logits), golden["grad64"])


@pytest.mark.parametrize("case", goldens.cases("mask_keypoint", "keypoint_decode"))
def test_keypoint_places(case):
    golden = GOLDEN[case]
    got = decode.peaks(tf.constant(golden["heatmaps"]), tf.constant(golden["rois"])).numpy()
    np.testing.assert_allclose(got[..., :2], golden["xy"][..., :2], rtol=0, atol=1e-3)
    np.testing.assert_allclose(got[..., 2], golden["scores"], rtol=1e-4, atol=1e-4)
