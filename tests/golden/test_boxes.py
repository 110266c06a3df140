"""Box formats, overlaps and overlap losses against the reference values."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import boxes
from kerasdet.losses import boxes as losses
from tests.golden import goldens

BOXES = goldens.load("boxes")
OVERLAPS = ("iou", "giou", "diou", "ciou")


def in_pixels(got, expected):
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-3)


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", goldens.cases("boxes", "conv_"))
def test_formats(case):
    golden = BOXES[case]
    for name in ("cxcywh", "xywh", "yxyx"):
        in_pixels(getattr(boxes, f"to_{name}")(golden["xyxy"]), golden[name])
        in_pixels(getattr(boxes, f"from_{name}")(golden[name]), golden["xyxy"])


@pytest.mark.parametrize("case", goldens.cases("boxes", "conv_"))
def test_clip_and_area(case):
    golden = BOXES[case]
    height, width = golden["image_size"]
    in_pixels(boxes.clip(golden["xyxy"], tf.constant([0, 0, width, height], tf.float32)), golden["clipped"])
    np.testing.assert_allclose(boxes.area(golden["xyxy"]), golden["area"], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("case", goldens.cases("boxes", "conv_"))
def test_is_large(case):
    golden = BOXES[case]
    kept = {field.removeprefix("keep_small_"): golden[field] for field in golden if field.startswith("keep_small_")}
    assert kept
    for size, indices in kept.items():
        mask = boxes.is_large(golden["xyxy"], float(size.replace("p", ".")))
        np.testing.assert_array_equal(np.flatnonzero(mask), indices)


@pytest.mark.parametrize("case", goldens.cases("boxes", "pair_"))
def test_overlaps(case):
    golden = BOXES[case]
    close(boxes.ioa(golden["a"], golden["b"]), golden["ioa"])
    for name in OVERLAPS:
        close(getattr(boxes, name)(golden["a"], golden["b"]), golden[name])
        exact = getattr(boxes, name)(golden["a"].astype(np.float64), golden["b"].astype(np.float64))
        np.testing.assert_allclose(exact, golden[f"{name}64"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", OVERLAPS)
@pytest.mark.parametrize("case", goldens.cases("boxes", "loss_"))
def test_losses(case, name):
    golden = BOXES[case]
    predictions = tf.constant(golden["pred"])
    with tf.GradientTape() as tape:
        tape.watch(predictions)
        loss = getattr(losses, name)(predictions, golden["target"])
    gradient = tape.gradient(loss, predictions).numpy()
    close(loss, golden[f"{name}_loss"])
    close(loss, golden[f"{name}_loss64"])
    assert np.isfinite(gradient).all()
    rows = golden["grad_ok"]
    np.testing.assert_allclose(gradient[rows], golden[f"{name}_grad64"][rows], rtol=1e-4, atol=1e-4)
