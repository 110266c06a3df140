"""Plots: the counts behind them, and the sizes of the pictures."""

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from kerasdet.evaluation import coco, plots


def truth(annotations, classes=2):
    """Annotations are (image, class, x, crowd); all boxes are 40 x 40 at y = 0."""
    api = COCO()
    api.dataset = {
        "images": [{"id": 1, "height": 200, "width": 900}, {"id": 2, "height": 200, "width": 900}],
        "categories": [{"id": 10 + index, "name": f"class {index}"} for index in range(classes)],
        "annotations": [
            {"id": number, "image_id": image, "category_id": 10 + index, "bbox": [x, 0, 40, 40], "area": 1600}
            | {"iscrowd": crowd}
            for number, (image, index, x, crowd) in enumerate(annotations, 1)
        ],
    }
    api.createIndex()
    return api


def found(*rows):
    """Rows are (image, class, x, score)."""
    return [
        {"image_id": image, "category_id": 10 + index, "bbox": [x, 0, 40, 40], "score": score}
        for image, index, x, score in rows
    ]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "plot.png"


def test_confusion_matrix(path):
    objects = [(1, 0, 0, 0), (1, 0, 100, 0), (1, 1, 200, 0), (2, 1, 0, 0)]
    detections = found(
        (1, 0, 5, 0.9),  # right
        (1, 0, 0, 0.8),  # a second one of the same object
        (1, 1, 100, 0.7),  # the wrong class
        (1, 1, 225, 0.9),  # overlaps too little, and the object is missed
        (2, 1, 0, 0.6),  # right
        (2, 0, 500, 0.55),  # nothing is there
        (2, 0, 600, 0.4),  # below the threshold
    )
    matrix = plots.confusion_matrix(truth(objects), detections, path)
    np.testing.assert_array_equal(matrix, [[1, 1, 0], [0, 1, 1], [2, 1, 0]])


def test_an_object_prefers_its_own_class(path):
    """Two objects of different classes almost coincide; the better-overlapping one is not the detection's."""
    objects = [(1, 0, 0, 0), (1, 1, 4, 0)]
    matrix = plots.confusion_matrix(truth(objects), found((1, 0, 4, 0.9), (1, 1, 0, 0.8)), path)
    np.testing.assert_array_equal(matrix, np.diag([1, 1, 0]))


def test_crowds_are_not_counted(path):
    objects = [(1, 0, 0, 1)]
    matrix = plots.confusion_matrix(truth(objects), found((1, 0, 10, 0.9), (1, 1, 10, 0.9)), path)
    np.testing.assert_array_equal(matrix, [[0, 0, 0], [0, 0, 0], [0, 1, 0]])


def test_thresholds_are_arguments(path):
    objects, detections = [(1, 0, 0, 0)], found((1, 0, 20, 0.3))
    assert plots.confusion_matrix(truth(objects), detections, path, iou=0.3, above=0.3)[0, 0] == 1
    assert plots.confusion_matrix(truth(objects), detections, path, iou=0.4, above=0.3)[0, 2] == 1
    assert plots.confusion_matrix(truth(objects), detections, path, iou=0.3, above=0.31)[2, 0] == 0


@pytest.mark.parametrize("classes", [1, 3, 80])
def test_pictures_fit_the_number_of_classes(path, classes):
    objects = [(1, index, 10 * index, 0) for index in range(classes)]
    detections = found(*[(1, index, 10 * index + index % 9, 0.9) for index in range(classes)])
    api = truth(objects, classes)
    plots.confusion_matrix(api, detections, path)
    size = Image.open(path).size
    assert min(size) >= 8 * classes and max(size) < 2600
    plots.precision_recall(coco.evaluate(api, detections), path)
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert picture.shape[0] == 600 and picture.shape[1] > 800
    assert (picture.max(axis=-1) < 60).sum() > 500, "the mean's dark line is missing"


def test_precision_recall_without_objects(path):
    plots.precision_recall(coco.evaluate(truth([]), []), path)
    assert Image.open(path).size[1] == 600
