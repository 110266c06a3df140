"""Kinds of errors against TIDE's rules in NumPy loops, and what they cost against AP computed by hand."""

import numpy as np
import pytest

from kerasdet.evaluation import coco, errors
from tests.evaluation.test_plots import found, truth

# Boxes are 40 x 40; moved by 10 the IoU is 0.6, by 20 it is 1/3, by 36 it is 1/19.
OBJECTS = [(1, 0, 0, 0), (1, 0, 100, 0), (1, 1, 200, 0), (1, 1, 300, 0), (1, 0, 400, 0), (2, 1, 0, 0), (2, 0, 700, 1)]
DETECTIONS = [
    ((1, 0, 0, 0.95), "right", 1),
    ((1, 0, 10, 0.90), "duplicate", 1),
    ((1, 0, 120, 0.85), "location", 2),
    ((1, 0, 210, 0.80), "class", 3),
    ((1, 0, 320, 0.75), "both", 4),
    ((1, 0, 436, 0.70), "background", None),
    ((2, 0, 500, 0.65), "background", None),
    ((2, 0, 710, 0.60), "ignored", None),  # under a crowd
    ((2, 1, 5, 0.55), "right", 6),
]


def judged(objects, detections, classes=2):
    results = found(*detections)
    run = coco.evaluate(truth(objects, classes), results)
    return run, results, errors.judge(run, results)


def test_each_kind():
    run, results, verdicts = judged(OBJECTS, [row for row, *_ in DETECTIONS])
    assert verdicts == [(kind, number) for _, kind, number in DETECTIONS]
    # Objects 4 and 5 have no detection of their place and class; 2 and 3 were meant.
    assert errors.missed(run.cocoGt, results, verdicts) == [4, 5]
    once = {"duplicate": 1, "location": 1, "class": 1, "both": 1, "background": 1, "missed": 2}
    assert errors.count(run.cocoGt, results, verdicts) == {1: once, 2: {"background": 1}}
    assert errors.count(run.cocoGt, results, verdicts, above=0.83)[1] == {"duplicate": 1, "location": 1, "missed": 3}


def overlap(a, b):
    return max(0.0, 40 - abs(a - b)) / (40 + abs(a - b))


def oracle(objects, detections):
    """TIDE's rules, detection by detection, for boxes that differ in x alone."""
    taken, kinds = set(), {}
    for number in sorted(range(len(detections)), key=lambda i: -detections[i][3]):
        image, kind, x, _ = detections[number]
        there = [(i, k, overlap(x, place)) for i, (where, k, place, _) in enumerate(objects) if where == image]
        free = [(iou, i) for i, k, iou in there if k == kind and i not in taken and iou >= 0.5]
        own = max((iou for _, k, iou in there if k == kind), default=0)
        other = max((iou for _, k, iou in there if k != kind), default=0)
        if free:
            taken.add(max(free)[1])
            kinds[number] = "right"
        elif 0.1 <= own < 0.5:
            kinds[number] = "location"
        elif other >= 0.5:
            kinds[number] = "class"
        elif own >= 0.5:
            kinds[number] = "duplicate"
        elif max(own, other) <= 0.1:
            kinds[number] = "background"
        else:
            kinds[number] = "both"
    return [kinds[i] for i in range(len(detections))]


@pytest.mark.parametrize("seed", range(4))
def test_kinds_follow_the_rules_in_numpy(seed):
    rng = np.random.default_rng(seed)
    objects = [(int(rng.integers(1, 3)), int(rng.integers(3)), int(rng.integers(0, 300)), 0) for _ in range(14)]
    scores = rng.permutation(60) / 100
    detections = [(int(rng.integers(1, 3)), int(rng.integers(3)), int(rng.integers(0, 340)), s) for s in scores]
    _, _, verdicts = judged(objects, detections, classes=3)
    kinds = [verdict.kind for verdict in verdicts]
    assert kinds == oracle(objects, detections)
    assert set(kinds) >= {"right", "location", "class", "both", "background"}


def average_precision(rights, objects):
    """The mean precision at 101 recalls of a ranking; the best precision at this recall or a higher one."""
    precisions, recalls = np.cumsum(rights) / np.arange(1, len(rights) + 1), np.cumsum(rights) / objects
    best = [max(precisions[recalls >= recall - 1e-12], default=0) for recall in np.linspace(0, 1, 101)]
    return float(np.mean(best))


def test_costs_are_differences_of_ap():
    """Each kind is corrected by hand: the rows are class 0's ranking and its objects, then class 1's."""
    run, results, verdicts = judged(OBJECTS, [row for row, *_ in DETECTIONS])
    costs = errors.costs(run, results, verdicts)

    def ap(zero, objects, one, others):
        return (average_precision(zero, objects) + average_precision(one, others)) / 2

    now = ap([1, 0, 0, 0, 0, 0, 0], 3, [1], 3)
    assert now == pytest.approx(coco.summary(run)["AP50"])
    corrected = {
        "duplicate": ap([1, 0, 0, 0, 0, 0], 3, [1], 3),
        "location": ap([1, 0, 1, 0, 0, 0, 0], 3, [1], 3),
        "class": ap([1, 0, 0, 0, 0, 0], 3, [1, 1], 3),
        "both": ap([1, 0, 0, 0, 0, 0], 3, [1], 3),
        "background": ap([1, 0, 0, 0, 0], 3, [1], 3),
        "missed": ap([1, 0, 0, 0, 0, 0, 0], 2, [1], 2),
    }
    for kind, value in corrected.items():
        assert costs[kind] == pytest.approx(value - now, abs=1e-9), kind
    assert costs["location"] > 0.03 and costs["missed"] > 0.1


def test_one_object_corrects_one_detection():
    """Two loose boxes of one object: the better one becomes right, the other is removed."""
    objects = [(1, 0, 0, 0), (1, 0, 200, 0)]
    run, results, verdicts = judged(objects, [(1, 0, 20, 0.9), (1, 0, 22, 0.8), (1, 0, 200, 0.7)], classes=1)
    assert [verdict.kind for verdict in verdicts] == ["location", "location", "right"]
    now = average_precision([0, 0, 1], 2)
    assert errors.costs(run, results, verdicts)["location"] == pytest.approx(1 - now)


def test_nothing_found_is_missed():
    run, results, verdicts = judged([(1, 0, 0, 0), (2, 1, 0, 0)], [])
    assert errors.count(run.cocoGt, results, verdicts) == {1: {"missed": 1}, 2: {"missed": 1}}
    assert errors.costs(run, results, verdicts) == {**dict.fromkeys(errors.KINDS, 0.0), "missed": 1.0}


def test_a_data_set_without_objects():
    run, results, verdicts = judged([], [(1, 0, 0, 0.9)])
    assert [verdict.kind for verdict in verdicts] == ["background"]
    assert errors.costs(run, results, verdicts)["background"] == 0.0
