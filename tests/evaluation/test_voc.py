"""VOC average precision on cases small enough for a pencil."""

import numpy as np
import pytest
from pycocotools.coco import COCO

from kerasdet.data.dataset import Dataset, Record
from kerasdet.evaluation import coco, voc

FIRST, SECOND, NOWHERE = [0, 0, 40, 40], [100, 0, 40, 40], [200, 100, 40, 40]


def truth(*annotations):
    """Objects of class 1 in image 1; each is a box and what else its annotation says."""
    api = COCO()
    api.dataset = {
        "images": [{"id": 1}, {"id": 2}],
        "categories": [{"id": 1, "name": "egg"}, {"id": 2, "name": "crack"}],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": 1, "bbox": box, "iscrowd": 0, **more}
            for number, (box, more) in enumerate(annotations, 1)
        ],
    }
    api.createIndex()
    return api


def found(*boxes):
    """Detections of class 1 in image 1, best first."""
    return [{"image_id": 1, "category_id": 1, "bbox": box, "score": 1 - rank / 100} for rank, box in enumerate(boxes)]


def egg(objects, detections, **options):
    return voc.score(truth(*objects), detections, **options)["per_class"]["egg"]


TWO = [(FIRST, {}), (SECOND, {})]


def test_perfect_detections_score_1():
    scores = voc.score(truth(*TWO), found(FIRST, SECOND))
    assert scores["AP2007"] == scores["AP2010"] == 1
    nothing = {"AP2007": -1, "AP2010": -1, "recall": -1, "positives": 0, "detections": 0}
    assert scores["per_class"]["crack"] == nothing


def test_right_wrong_right():
    """Precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1: six recalls up to 0.5 see 1, five above see 2/3."""
    one = egg(TWO, found(FIRST, NOWHERE, SECOND))
    assert one["AP2007"] == pytest.approx((6 + 5 * 2 / 3) / 11)
    assert one["AP2010"] == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)
    assert (one["recall"], one["positives"], one["detections"]) == (1, 2, 3)


def test_the_score_decides_the_order_not_the_list():
    assert egg(TWO, found(FIRST, NOWHERE, SECOND)[::-1]) == egg(TWO, found(FIRST, NOWHERE, SECOND))


def test_a_second_detection_of_an_object_is_wrong():
    assert egg(TWO, found(FIRST, FIRST, SECOND))["AP2010"] == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)


def test_a_detection_considers_only_its_best_object():
    """The second overlaps a free object by 0.6, but a taken one by more."""
    neighbors = [(FIRST, {}), ([0, 10, 40, 40], {})]
    assert egg(neighbors, found(FIRST, [0, 2, 40, 40]))["recall"] == 0.5


@pytest.mark.parametrize("kind", ["difficult", "iscrowd"])
def test_difficult_objects_are_neither_positive_nor_error(kind):
    objects = [(FIRST, {}), (SECOND, {kind: 1})]
    for detections in (found(FIRST), found(SECOND, SECOND, FIRST)):
        one = egg(objects, detections)
        assert (one["positives"], one["AP2007"], one["AP2010"]) == (1, 1, 1)


def test_other_images_and_classes_do_not_mix():
    assert egg(TWO, [{**one, "image_id": 2} for one in found(FIRST, SECOND)])["AP2010"] == 0
    assert egg(TWO, [{**one, "category_id": 2} for one in found(FIRST, SECOND)])["detections"] == 0


def test_overlap_must_exceed_the_threshold():
    """20 of 40 pixels wide: IoU 0.5, or 21 * 41 of 41 * 41 with inclusive pixels."""
    half = found([0, 0, 20, 40])
    assert egg([(FIRST, {})], half, iou=0.5)["AP2010"] == 0
    assert egg([(FIRST, {})], half, iou=0.49)["AP2010"] == 1
    assert egg([(FIRST, {})], half, iou=0.5, plus_one=True)["AP2010"] == 1
    assert egg([(FIRST, {})], half, iou=0.52, plus_one=True)["AP2010"] == 0


def test_no_results_score_0():
    scores = voc.score(truth(*TWO), [])
    assert scores["AP2007"] == scores["AP2010"] == scores["per_class"]["egg"]["recall"] == 0


def test_nothing_to_find_is_minus_1():
    assert voc.score(truth(), found(FIRST))["AP2010"] == -1


def test_from_a_data_set():
    boxes = np.array([[0, 0, 40, 40], [100, 0, 140, 40]], np.float32)
    objects = Record(1, "1.jpg", 200, 300, boxes, np.zeros(2, np.int32), np.array([False, True]), np.full(2, 1600.0))
    dataset = Dataset("eggs", ("egg",), [objects])
    detections = {
        "boxes": boxes[None, ::-1],
        "scores": np.array([[0.9, 0.8]]),
        "classes": np.zeros((1, 2), np.int32),
        "counts": np.array([2]),
    }
    scores = voc.score(coco.ground_truth(dataset), coco.results([1], detections, dataset))
    assert scores["AP2010"] == 1 and scores["per_class"]["egg"]["positives"] == 1
