"""Greedy suppression against slow loops: `suppress.per_class`, and `ops.nms` natively and by its twin."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import ops
from kerasdet.decoding import suppress
from tests.ops.ways import WAYS

NMS = {name: tf.function(ops.nms, reduce_retracing=True) for name in WAYS}


def overlap(a, b):
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    area = [np.prod(np.maximum(box[2:] - box[:2], 0)) for box in (a, b)]
    union = area[0] + area[1] - np.prod(sides)
    return np.float32(np.prod(sides)) / np.float32(union) if union > 0 else 0


def oracle(boxes, scores, classes, iou, above, limit):
    """The highest score first, of equals the lower index; a box stays unless one that stayed overlaps it by more."""
    keep = []
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] > np.float32(above) and len(keep) < limit:
            rivals = (j for j in keep if classes[j] == classes[i])
            if all(overlap(boxes[i], boxes[j]) <= np.float32(iou) for j in rivals):
                keep.append(i)
    return np.array(keep, int)


def draw(rng, count, spread):
    """Clustered boxes of whole pixels: their overlaps are exact in float32, ties with a threshold among them."""
    low = rng.integers(0, spread, (count, 2))
    return np.float32(np.concatenate([low, low + rng.integers(2, 40, (count, 2))], axis=1))


def compare(way, boxes, scores, classes, iou=0.5, above=0.05, limit=100):
    """`per_class` and `nms` against the oracle; arrays of a batch."""
    settings = {"iou": iou, "above": above, "limit": limit}
    indices, picked, valid = (value.numpy() for value in NMS[way](boxes, scores, classes, **settings))
    found = suppress.per_class(boxes, scores, classes, num_classes=int(classes.max(initial=0)) + 1, **settings)
    found = {key: value.numpy() for key, value in found.items()}
    kept = []
    for b in range(len(boxes)):
        keep = oracle(boxes[b], scores[b], classes[b], iou, above, limit)
        rest, size = limit - len(keep), min(limit, len(scores[b]))
        np.testing.assert_array_equal(indices[b], np.pad(keep, (0, size - len(keep))))
        np.testing.assert_array_equal(picked[b], np.pad(scores[b][keep], (0, size - len(keep))))
        np.testing.assert_array_equal(valid[b], np.arange(size) < len(keep))
        assert found["counts"][b] == len(keep)
        np.testing.assert_array_equal(found["boxes"][b], np.pad(boxes[b][keep], ((0, rest), (0, 0))))
        np.testing.assert_array_equal(found["scores"][b], np.pad(scores[b][keep], (0, rest)))
        np.testing.assert_array_equal(found["classes"][b], np.pad(classes[b][keep], (0, rest), constant_values=-1))
        kept.append(keep)
    return kept


@pytest.mark.parametrize("iou", [0.3, 0.5, 0.75])
@pytest.mark.parametrize("spread", [8, 16])
def test_random(way, iou, spread):
    rng = np.random.default_rng(spread)
    boxes = np.stack([draw(rng, 150, spread) for _ in range(3)])
    classes = rng.integers(0, 4, (3, 150)).astype(np.int32)
    scores = rng.uniform(0, 1, (3, 150)).astype(np.float32)
    kept = compare(way, boxes, scores, classes, iou, limit=150)
    assert all(2 < len(keep) < np.sum(s > 0.05) for keep, s in zip(kept, scores, strict=True))  # some stay, some go


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_ties(way, levels):
    """Equal scores, within a class and across: the lower index goes first, in both forms."""
    rng = np.random.default_rng(levels)
    boxes = np.stack([draw(rng, 120, 40) for _ in range(2)])
    scores = np.float32(rng.integers(1, levels + 1, (2, 120)) / 8)
    compare(way, boxes, scores, rng.integers(0, 3, (2, 120)).astype(np.int32))


@pytest.mark.parametrize("limit", [1, 3, 200])
def test_limit(way, limit):
    rng = np.random.default_rng(0)
    boxes = draw(rng, 80, 100)[None]
    scores, classes = np.float32(rng.integers(1, 20, (1, 80)) / 20), rng.integers(0, 2, (1, 80)).astype(np.int32)
    compare(way, boxes, scores, classes, limit=limit)


def test_score_must_be_above(way):
    boxes = np.float32([[[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]]])
    scores = np.float32([[0.5, 0.25, 0.75]])
    classes = np.zeros([1, 3], np.int32)
    assert compare(way, boxes, scores, classes, above=0.5)[0].tolist() == [2]
    assert compare(way, boxes, scores, classes, above=0.0)[0].tolist() == [2, 0, 1]
    assert compare(way, boxes, scores, classes, above=0.75)[0].tolist() == []


def test_overlap_must_be_above(way):
    """[0, 0, 10, 10] covers exactly half of [0, 0, 10, 20]."""
    boxes = np.float32([[[0, 0, 10, 10], [0, 0, 10, 20]]])
    scores, classes = np.float32([[0.9, 0.8]]), np.zeros([1, 2], np.int32)
    assert compare(way, boxes, scores, classes, iou=0.5)[0].tolist() == [0, 1]
    assert compare(way, boxes, scores, classes, iou=0.499)[0].tolist() == [0]


def test_a_suppressed_box_suppresses_no_other(way):
    boxes = np.float32([[[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]]])
    scores, classes = np.float32([[0.9, 0.8, 0.7]]), np.zeros([1, 3], np.int32)
    assert compare(way, boxes, scores, classes, iou=0.3)[0].tolist() == [0, 2]


def test_classes_do_not_suppress_each_other(way):
    boxes = np.tile(np.float32([-50, -50, 10, 10]), (1, 4, 1))
    scores, classes = np.float32([[0.6, 0.9, 0.8, 0.7]]), np.int32([[0, 1, 1, 2]])
    assert compare(way, boxes, scores, classes)[0].tolist() == [1, 3, 0]
    found = NMS[way](boxes, scores, np.zeros_like(classes), iou=0.5, above=0.05, limit=100)
    assert found[2].numpy().sum() == 1  # one class for all suppresses across classes


def test_hostile_boxes(way):
    """Boxes without area, alike boxes, far away and negative ones, and lines; nothing is NaN, nothing is lost."""
    boxes = np.float32(
        [
            [5, 5, 5, 5], [5, 5, 5, 5], [0, 0, 10, 10], [0, 0, 10, 10], [0, 5, 10, 5], [-9e5, -9e5, -8e5, -8e5],
            [1e6, 1e6, 2e6, 2e6], [-3, -3, 9, 9], [0, 0, 1e6, 1e6], [0, 0, 0, 0],
        ]
    )[None]  # fmt: skip
    scores = np.linspace(0.9, 0.1, boxes.shape[1], dtype=np.float32)[None]
    assert compare(way, boxes, scores, np.zeros(scores.shape, np.int32))[0].tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert compare(way, boxes, scores, np.arange(10, dtype=np.int32)[None])[0].tolist() == list(range(10))


def test_images_of_a_batch_are_independent(way):
    rng = np.random.default_rng(5)
    boxes = np.stack([draw(rng, 60, 60), draw(rng, 60, 10)])
    scores = np.stack([rng.uniform(0.1, 1, 60), np.zeros(60)]).astype(np.float32)
    classes = np.zeros([2, 60], np.int32)
    kept = compare(way, boxes, scores, classes)
    assert len(kept[0]) > 1 and len(kept[1]) == 0  # the second ends early and stays empty


def test_nothing_to_suppress(way):
    compare(way, np.zeros([2, 0, 4], np.float32), np.zeros([2, 0], np.float32), np.zeros([2, 0], np.int32))


def test_within_classes():
    """Every class has candidates of its own; the best of all classes stay."""
    rng = np.random.default_rng(5)
    boxes = np.stack([np.stack([draw(rng, 40, 30) for _ in range(3)], axis=1) for _ in range(2)])
    scores = rng.permutation(240).reshape(2, 40, 3).astype(np.float32) / 240
    settings = {"iou": 0.45, "above": 0.2, "limit": 25}
    found = {key: value.numpy() for key, value in suppress.within_classes(boxes, scores, **settings).items()}
    classes = np.tile(np.arange(3), 40)
    for b in range(2):
        keep = oracle(boxes[b].reshape(-1, 4), scores[b].ravel(), classes, **settings)
        count = len(keep)
        assert found["counts"][b] == count > 10
        np.testing.assert_array_equal(found["boxes"][b, :count], boxes[b].reshape(-1, 4)[keep])
        np.testing.assert_array_equal(found["scores"][b], np.pad(scores[b].ravel()[keep], (0, 25 - count)))
        np.testing.assert_array_equal(found["classes"][b], np.pad(classes[keep], (0, 25 - count), constant_values=-1))


def test_batch_size_and_number_of_boxes_are_independent(way):
    """Neither count is known when the graph is made; its optimizer must not take one for the other."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, 4]), tf.TensorSpec([None, None])])
    def suppressed(boxes, scores):
        classes = tf.tile(tf.range(3)[None], [tf.shape(scores)[0], 1])
        return ops.nms(boxes, scores, classes, 0.5, 0.05, 10)

    for batch in (1, 2, 3):
        boxes = np.tile(np.float32([0, 0, 10, 10]), (batch, 3, 1))
        assert suppressed(boxes, np.full((batch, 3), 0.5, np.float32))[2].numpy().sum() == 3 * batch
