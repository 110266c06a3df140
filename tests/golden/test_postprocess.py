"""From raw outputs to detections and proposals against the reference values."""

import types

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import coders
from kerasdet.decoding import regions
from kerasdet.detectors import SSD, RetinaNet
from tests.golden import goldens

POSTPROCESS = goldens.load("postprocess")


class Anchors:
    """The stored anchors in the place of a model's own."""

    def __init__(self, golden):
        self.golden = golden

    def __call__(self, size):
        return tf.constant(self.golden["anchors"])

    def counts(self, size):
        return self.golden["level_count"].tolist()


def detect(kind, golden):
    """What a detector makes of the stored outputs."""
    model = types.SimpleNamespace(
        anchors=Anchors(golden),
        num_classes=golden["cls_logits"].shape[-1],
        per_level=golden["topk"].item(),
        per_class=golden["topk"].item(),
        scores="softmax",
        above=goldens.decimal(golden["score_threshold"]),
        suppression=goldens.decimal(golden["nms_threshold"]),
        limit=golden["detections"].item(),
        nms="hard",
    )
    sizes = golden["image_sizes"].astype(np.float32)
    count, (height, width) = len(sizes), golden["image_sizes"].max(axis=0)
    images = {
        "pixels": tf.zeros([count, height, width, 3]),
        "windows": tf.constant(np.column_stack([np.zeros_like(sizes), sizes[:, ::-1]])),
        "ids": tf.range(count, dtype=tf.int64),
    }
    outputs = {"logits": tf.constant(golden["cls_logits"]), "deltas": tf.constant(golden["deltas"])}
    return {name: value.numpy() for name, value in kind.detections(model, outputs, images).items()}


def compare(found, golden, background=0):
    """Compares with the stored detections, whose labels count a background or not."""
    np.testing.assert_array_equal(found["counts"], golden["count"])
    real = np.arange(found["scores"].shape[1]) < found["counts"][:, None]
    np.testing.assert_array_equal(found["classes"][real] + background, golden["labels"])
    np.testing.assert_allclose(found["scores"][real], golden["scores"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["boxes"][real], golden["boxes"], rtol=0, atol=1e-3)
    np.testing.assert_array_equal(found["classes"][~real], -1)
    assert not found["scores"][~real].any() and not found["boxes"][~real].any()


def by_image(rows, counts):
    """Rows of all images, one below another, as [B, most, ...] padded with zeros."""
    padded = np.zeros([len(counts), max(counts.max(), 1), *rows.shape[1:]], np.float32)
    for image, part in enumerate(np.split(rows, np.cumsum(counts)[:-1])):
        padded[image, : len(part)] = part
    return tf.constant(padded)


def windows(golden):
    sizes = golden["image_sizes"].astype(np.float32)
    return tf.constant(np.column_stack([np.zeros_like(sizes), sizes[:, ::-1]]))


@pytest.mark.parametrize("case", goldens.cases("postprocess", "roi_heads"))
def test_roi_heads(case):
    golden = POSTPROCESS[case]
    count, outputs = golden["proposals_count"], golden["class_logits"].shape[1]
    assert goldens.decimal(golden["min_size"]) == regions.DETECTION_SIDE
    found = regions.detections(
        {
            "logits": by_image(golden["class_logits"], count),
            "deltas": by_image(golden["deltas"].reshape(-1, outputs, 4), count),
        },
        by_image(golden["proposals"], count), windows(golden), tuple(golden["weights"]),
        goldens.decimal(golden["nms_threshold"]), goldens.decimal(golden["score_threshold"]),
        golden["detections"].item(),
    )  # fmt: skip
    compare({name: value.numpy() for name, value in found.items()}, golden, background=1)


@pytest.mark.parametrize("case", goldens.cases("postprocess", "rpn"))
def test_rpn(case):
    golden = POSTPROCESS[case]
    np.testing.assert_array_equal(golden["weights"], 1)
    assert goldens.decimal(golden["min_size"]) == regions.PROPOSAL_SIDE
    least = goldens.decimal(golden["score_threshold"])
    boxes, logits = regions.proposals(
        tf.constant(golden["objectness"]), tf.constant(golden["deltas"]), tf.constant(golden["anchors"]),
        golden["level_count"].tolist(), windows(golden), golden["topk"].item(), golden["detections"].item(),
        goldens.decimal(golden["nms_threshold"]), np.log(least / (1 - least)) if least else None,
    )  # fmt: skip
    real = tf.reduce_any(boxes != 0, axis=-1).numpy()
    np.testing.assert_array_equal(real.sum(axis=1), golden["count"])
    np.testing.assert_allclose(boxes.numpy()[real], golden["boxes"], rtol=0, atol=1e-3)
    np.testing.assert_allclose(tf.sigmoid(logits).numpy()[real], golden["scores"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", goldens.cases("postprocess", "retinanet"))
def test_retinanet(case):
    golden = POSTPROCESS[case]
    np.testing.assert_array_equal(golden["weights"], 1)  # the coder's, which RetinaNet leaves at 1
    compare(detect(RetinaNet, golden), golden)


@pytest.mark.parametrize("case", goldens.cases("postprocess", "ssd"))
def test_ssd(case):
    golden = POSTPROCESS[case]
    np.testing.assert_array_equal(golden["weights"], coders.WEIGHTS)
    compare(detect(SSD, golden), golden, background=1)
