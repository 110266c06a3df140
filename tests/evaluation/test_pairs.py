"""Errors per image and the best threshold, against counts made by hand."""

import numpy as np
import pytest

from kerasdet.evaluation import coco, curves, pairs
from tests.evaluation.test_plots import found, truth

OBJECTS = [(1, 0, 0, 0), (1, 0, 100, 0), (1, 1, 200, 0), (2, 1, 0, 0)]


def test_images_are_ranked_by_their_errors():
    detections = found((1, 0, 0, 0.9), (1, 1, 100, 0.9), (1, 0, 700, 0.9), (2, 1, 0, 0.9), (2, 0, 300, 0.2))
    # Image 1: a wrong class, a detection of nothing, and the third object missed. Image 2: none above 0.5.
    assert pairs.worst(truth(OBJECTS), detections) == [(1, 3)]
    assert pairs.worst(truth(OBJECTS), detections, above=0.1) == [(1, 3), (2, 1)]
    assert pairs.worst(truth(OBJECTS), []) == [(1, 3), (2, 1)]


def test_pairs_name_both_classes():
    detections = found((1, 0, 0, 0.9), (1, 1, 100, 0.8), (1, 0, 700, 0.7))
    assert pairs.by_image(truth(OBJECTS), detections) == {
        1: [(10, 10), (10, 11), (None, 10), (11, None)],
        2: [(11, None)],
    }


def test_best_threshold_is_where_f1_is_highest():
    """Right at 0.9 and 0.6, wrong at 0.3 and 0.2: between 0.3 and 0.6 everything is right."""
    objects = [(1, 0, 0, 0), (1, 0, 100, 0)]
    detections = found((1, 0, 0, 0.9), (1, 0, 100, 0.6), (1, 0, 500, 0.3), (2, 0, 0, 0.2))
    threshold, f1 = curves.threshold(coco.evaluate(truth(objects), detections))
    assert 0.3 < threshold <= 0.6 and f1 == pytest.approx(1.0)


def test_best_threshold_weighs_classes_equally():
    """Class 0 is perfect above 0.4, with two of four wrong from there on; class 1 is found at 0.2 only."""
    objects = [(1, 0, 0, 0), (1, 0, 100, 0), (1, 1, 200, 0)]
    rows = [(1, 0, 0, 0.9), (1, 0, 100, 0.8), (1, 0, 500, 0.4), (1, 0, 600, 0.4), (1, 1, 200, 0.2)]
    threshold, f1 = curves.threshold(coco.evaluate(truth(objects), found(*rows)))
    assert threshold <= 0.2 and f1 == pytest.approx(np.mean([4 / 6, 1.0]))  # at 0.5 it would be 0.5


def test_best_threshold_ignores_crowds():
    objects = [(1, 0, 0, 0), (1, 0, 500, 1)]
    threshold, f1 = curves.threshold(coco.evaluate(truth(objects), found((1, 0, 0, 0.3), (1, 0, 510, 0.9))))
    assert threshold <= 0.3 and f1 == pytest.approx(1.0)


def test_without_detections_there_is_a_threshold():
    assert curves.threshold(coco.evaluate(truth(OBJECTS), [])) == (0.5, 0.0)


def test_f1_over_the_score():
    """Two objects, found at 0.9 and 0.6, and a wrong detection at 0.3; class 1 has no detection."""
    objects = [(1, 0, 0, 0), (1, 0, 100, 0), (1, 1, 200, 0)]
    detections = found((1, 0, 0, 0.9), (1, 0, 100, 0.6), (1, 0, 500, 0.3))
    f1 = curves.f1(coco.evaluate(truth(objects), detections))
    at = {score: f1["class 0"][round(100 * score) - 1] for score in (0.2, 0.3, 0.4, 0.7, 0.95)}
    assert at == pytest.approx({0.2: 4 / 5, 0.3: 4 / 5, 0.4: 1.0, 0.7: 2 / 3, 0.95: 0.0})
    np.testing.assert_array_equal(f1["class 1"], 0)
