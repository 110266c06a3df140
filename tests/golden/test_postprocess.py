"""From raw outputs to detections against the reference values.

These cases of the file await their detector: roi_heads*, rpn*.
"""

import types

import numpy as np
import pytest
import tensorflow as tf

from kerasdet.detectors import SSD, RetinaNet, ssd
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


@pytest.mark.parametrize("case", goldens.cases("postprocess", "retinanet"))
def test_retinanet(case):
    golden = POSTPROCESS[case]
    np.testing.assert_array_equal(golden["weights"], 1)  # the coder's, which RetinaNet leaves at 1
    compare(detect(RetinaNet, golden), golden)


@pytest.mark.parametrize("case", goldens.cases("postprocess", "ssd"))
def test_ssd(case):
    golden = POSTPROCESS[case]
    np.testing.assert_array_equal(golden["weights"], ssd.WEIGHTS)
    compare(detect(SSD, golden), golden, background=1)
