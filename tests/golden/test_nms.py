"""Greedy, soft and IoU-guided suppression and voting against the reference values, natively and by the twins."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import ops
from kerasdet.decoding import suppress
from tests.golden import goldens
from tests.ops.ways import WAYS

NMS = goldens.load("nms")
CASES = [(case, True) for case in goldens.cases("nms", "batched_")]
CASES += [(case, False) for case in goldens.cases("nms", "nms_")]

SOFT = [case for case in goldens.cases("nms", "soft_")]

GREEDY = {name: tf.function(ops.nms, reduce_retracing=True) for name in WAYS}
SOFT_NMS = {name: tf.function(ops.soft_nms, reduce_retracing=True) for name in WAYS}


def inputs(case):
    """Boxes, scores and classes of a case, or of the nms_ case of another threshold that it shares them with."""
    if "boxes" not in NMS[case]:
        shared = "nms_" + case.split("_", 1)[1].rsplit("_", 1)[0] + "_"
        case = next(other for other in sorted(NMS) if other.startswith(shared) and "boxes" in NMS[other])
    return NMS[case]["boxes"], NMS[case]["scores"], NMS[case]["classes"]


def settings(case, count):
    golden = NMS[case]
    limit = golden["max_output"].item() if "max_output" in golden else max(count, 1)
    return {"iou": goldens.decimal(golden["iou_threshold"]), "above": 0.0, "limit": limit}


@pytest.mark.parametrize("case, split", CASES, ids=[case for case, _ in CASES])
def test_greedy(way, case, split):
    boxes, scores, classes = inputs(case)
    classes = classes if split else np.zeros_like(classes)
    indices, picked, valid = GREEDY[way](boxes[None], scores[None], classes[None], **settings(case, len(boxes)))
    keep = NMS[case]["keep"]
    np.testing.assert_array_equal(indices[0][valid[0]], keep)
    np.testing.assert_array_equal(picked[0][valid[0]], scores[keep])
    assert not np.any(indices[0][len(keep) :]) and not np.any(picked[0][len(keep) :])


@pytest.mark.parametrize("case, split", CASES, ids=[case for case, _ in CASES])
def test_per_class(case, split):
    boxes, scores, classes = inputs(case)
    classes = classes if split else np.zeros_like(classes)
    found = suppress.per_class(
        boxes[None], scores[None], classes[None], num_classes=int(np.max(classes, initial=0)) + 1,
        **settings(case, len(boxes)),
    )  # fmt: skip
    keep = NMS[case]["keep"]
    assert found["counts"][0] == len(keep)
    np.testing.assert_array_equal(found["boxes"][0][: len(keep)], boxes[keep])
    np.testing.assert_array_equal(found["scores"][0][: len(keep)], scores[keep])
    np.testing.assert_array_equal(found["classes"][0][: len(keep)], classes[keep])
    np.testing.assert_array_equal(found["classes"][0][len(keep) :], -1)
    assert not np.any(found["boxes"][0][len(keep) :]) and not np.any(found["scores"][0][len(keep) :])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", SOFT)
def test_soft(way, case, dtype):
    golden = NMS[case]
    boxes, scores = (tf.constant(golden[key], dtype)[None] for key in ("boxes", "scores"))
    classes = golden["classes"][None] if case.endswith("_perclass") else None
    indices, picked, valid = SOFT_NMS[way](
        boxes, scores, classes, limit=max(boxes.shape[1], 1),
        method=case.split("_")[1], sigma=goldens.decimal(golden['sigma']),
        iou=goldens.decimal(golden['iou_threshold']), above=goldens.decimal(golden['score_threshold']),
    )  # fmt: skip
    np.testing.assert_array_equal(indices[0][valid[0]], golden["keep"])
    atol = 1e-9 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose(picked[0][valid[0]], golden["soft_scores64"], rtol=atol, atol=atol)


@pytest.mark.parametrize("case", goldens.cases("nms", "iou_guided"))
def test_iou_guided(way, case):
    golden = NMS[case]
    boxes, scores, ious = (tf.constant(golden[key])[None] for key in ("boxes", "scores", "loc_conf"))
    classes = tf.zeros_like(scores, tf.int32)
    rows, picked, valid = suppress.iou_guided(
        boxes, scores, classes, ious, 1, goldens.decimal(golden["iou_threshold"]), above=-1.0
    )
    np.testing.assert_array_equal(rows[0][valid[0]], golden["keep"])
    np.testing.assert_allclose(picked[0][valid[0]], golden["cls_scores64"], rtol=1e-6)


@pytest.mark.parametrize("case", goldens.cases("nms", "softer_"))
def test_voting(way, case):
    golden = NMS[case]
    boxes, variances = tf.constant(golden["boxes"])[None], tf.constant(golden["variances"])[None]
    classes = tf.zeros([1, boxes.shape[1]], tf.int32)
    kept = tf.gather(boxes, golden["keep"], axis=1)
    found = suppress.voted(
        kept, classes[:, : kept.shape[1]], boxes, classes, variances, goldens.decimal(golden["sigma_t"])
    )
    np.testing.assert_allclose(found[0], golden["voted64"], atol=1e-3)
