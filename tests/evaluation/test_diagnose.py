"""Each cause of an AP of 0 is recognized, on detections made from the objects."""

import numpy as np
import pytest

from kerasdet.data import Dataset, Record
from kerasdet.evaluation import coco
from kerasdet.evaluation.diagnose import ZERO, best_overlaps, diagnose

NAMES = ("egg", "crack", "dirt")


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(0)
    records = []
    for number in range(6):
        start = np.stack(np.meshgrid([10, 130, 250], [10, 130]), -1).reshape(-1, 2) + rng.uniform(0, 8, (6, 2))
        boxes = np.concatenate([start, start + rng.uniform(40, 60, (6, 2))], 1).astype(np.float32)
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], 1)
        image = np.zeros((260, 400, 3), np.uint8)
        records.append(
            Record(number, image, 260, 400, boxes, np.arange(6, dtype=np.int32) % 3, np.zeros(6, bool), areas)
        )
    return Dataset("made", NAMES, records)


def found(dataset, shift=0.0, turn=0, score=0.6):
    """The objects as detections, moved by a share of their width, their classes turned on."""
    results = []
    for record in dataset.records:
        for (x1, y1, x2, y2), kind in zip(record.boxes.tolist(), record.classes, strict=True):
            box = [x1 + shift * (x2 - x1), y1, x2 - x1, y2 - y1]
            number = dataset.category_ids[(kind + turn) % 3]
            results.append({"image_id": record.id, "category_id": number, "score": score, "bbox": box})
    return results


def noise(dataset, score, count=90):
    """Small boxes in a corner where no object is."""
    kinds = dataset.category_ids
    return [
        {"image_id": r.id, "category_id": kinds[i % 3], "score": score, "bbox": [0, 0, 5 + i % 3, 5]}
        for r in dataset.records
        for i in range(count)
    ]


def cause(dataset, results):
    truth = coco.ground_truth(dataset)
    assert not results or coco.score(truth, results)["AP50"] < 0.1
    return diagnose(truth, results)


def test_each_cause_is_named(dataset):
    assert cause(dataset, []).startswith("no detection has a score")
    wrong = cause(dataset, found(dataset, turn=1))
    assert wrong.startswith("right places, wrong classes: if classes are ignored, AP50 is 1.00")
    assert "'egg' is called 'crack' 12 times" in wrong
    # Moved by half a width, the IoU is (1/2) / (3/2).
    assert cause(dataset, found(dataset, shift=0.5)).startswith("low IoU: half of the objects")
    assert cause(dataset, found(dataset, shift=3.0)).startswith("boxes elsewhere: 100%")
    low = cause(dataset, found(dataset, score=0.02) + noise(dataset, 0.4))
    assert low.startswith("scores too low: detections of the right class overlap 100%") and "best score 0.40" in low


def test_a_data_set_without_objects(dataset):
    empty = [
        Record(
            0,
            np.zeros((9, 9, 3), np.uint8),
            9,
            9,
            np.zeros((0, 4), "f4"),
            *[np.zeros(0, t) for t in ("i4", bool, "f4")],
        )
    ]
    truth = coco.ground_truth(Dataset("empty", NAMES, empty))
    assert "no objects to find" in diagnose(truth, [])


def test_best_overlaps(dataset):
    truth = coco.ground_truth(dataset)
    np.testing.assert_allclose(best_overlaps(truth, found(dataset, shift=0.5)), np.full(36, 1 / 3), atol=1e-6)
    np.testing.assert_array_equal(best_overlaps(truth, found(dataset, turn=1)), np.zeros(36))


def test_a_good_evaluation_has_no_such_cause(dataset):
    assert coco.score(coco.ground_truth(dataset), found(dataset))["AP50"] > ZERO
