"""The matching rule against the reference values.

These cases of the file await their detector: atss.
"""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet.targets import assign, sample
from tests.golden import goldens

MATCHER = goldens.load("matcher")
CASES = [case for case in goldens.cases("matcher") if case.endswith(("_lq", "_plain"))]
BOXES = [case for case in CASES if "gt" in MATCHER[case]]


def settings(golden):
    """The decimal thresholds that float32 numbers stand for, and whether every object gets an anchor."""
    return *(float(f"{golden[name]:.7g}") for name in ("high", "low")), bool(golden["low_quality"])


@pytest.mark.parametrize("case", CASES)
def test_match(case):
    golden = MATCHER[case]
    matches = assign.match(tf.constant(golden["quality"]), *settings(golden))
    np.testing.assert_array_equal(matches, golden["matches"])


@pytest.mark.parametrize("case", BOXES)
def test_by_iou(case):
    golden = MATCHER[case]
    count = len(golden["gt"])
    objects = {
        "boxes": tf.constant(golden["gt"][None]),
        "classes": tf.range(count)[None],
        "crowds": tf.zeros([1, count], tf.bool),
    }
    found = assign.by_iou(tf.constant(golden["anchors"]), objects, *settings(golden))
    matches = golden["matches"]
    np.testing.assert_array_equal(found.indices[0], matches)
    np.testing.assert_array_equal(found.classes[0], np.maximum(matches, -1))
    boxes = np.where(matches[:, None] >= 0, golden["gt"][np.maximum(matches, 0)], golden["anchors"])
    np.testing.assert_array_equal(found.boxes[0], boxes)


@pytest.mark.parametrize("case", goldens.cases("matcher", "ssd_"))
def test_match_one_to_one(case):
    golden = MATCHER[case]
    matches = assign.match_one_to_one(tf.constant(golden["quality"]), goldens.decimal(golden["threshold"]))
    np.testing.assert_array_equal(matches, golden["matches"])


@pytest.mark.parametrize("case", [case for case in goldens.cases("matcher", "ssd_") if "gt" in MATCHER[case]])
def test_one_to_one(case):
    golden = MATCHER[case]
    count = len(golden["gt"])
    objects = {
        "boxes": tf.constant(golden["gt"][None]),
        "classes": tf.range(count)[None],
        "crowds": tf.zeros([1, count], tf.bool),
    }
    found = assign.one_to_one(tf.constant(golden["anchors"]), objects, goldens.decimal(golden["threshold"]))
    np.testing.assert_array_equal(found.indices[0], golden["matches"])


@pytest.mark.parametrize("order", sample.ORDERS)
@pytest.mark.parametrize("case", goldens.cases("matcher", "sampler_"))
def test_sampler(case, order):
    golden = MATCHER[case]
    labels, batch, fraction = golden["labels"], golden["batch"].item(), goldens.decimal(golden["fraction"])
    keys = sample.keys(order, tf.constant([3, 3, 4], tf.int64), tf.constant(5, tf.int64), len(labels))
    given = [tf.constant(np.tile(mask, [3, 1])) for mask in (labels >= 1, labels == 0)]
    for chosen, allowed, count in zip(
        sample.balanced(*given, keys, batch, fraction), given, ("pos", "neg"), strict=True
    ):
        chosen, allowed = chosen.numpy(), allowed.numpy()
        assert (chosen.sum(axis=1) == golden[f"num_{count}"]).all()
        assert not (chosen & ~allowed).any()
        np.testing.assert_array_equal(chosen[0], chosen[1])  # the image and the step decide
        if order == "first":
            np.testing.assert_array_equal(np.flatnonzero(chosen[0]), np.flatnonzero(allowed[0])[: chosen[0].sum()])
        elif 0 < chosen[0].sum() < allowed[0].sum():
            assert (chosen[0] != chosen[2]).any()


def test_some_cases_hold_boxes():
    assert BOXES
