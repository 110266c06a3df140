"""Sorts what a detector gets wrong by its kind, as TIDE does (Bolya et al., ECCV 2020, arXiv 2008.08115)."""

import copy
from collections import Counter
from typing import NamedTuple

import numpy as np
from pycocotools import mask

from kerasdet.evaluation import coco

# Section 2.2: a detection that is not right is
KINDS = {
    "class": "in the right place, but of the wrong class",
    "location": "of the right class, but in a loose place",
    "both": "of the wrong class and in a loose place",
    "duplicate": "of an object that a better detection has found",
    "background": "where no object is",
    "missed": "an object that no detection found or was meant for",
}
RIGHT, IGNORED = "right", "ignored"
# Section 2.2: an IoU of 0.5 is a right place, one between 0.1 and 0.5 a loose one.
FOREGROUND, BACKGROUND = 0.5, 0.1


class Verdict(NamedTuple):
    """What a detection is.

    Attributes:
        kind: "right", "ignored" (under a crowd, or beyond the number of detections that count), or one of `KINDS`.
        object: id of the annotation that it found or that it was meant for; None for background.
    """

    kind: str
    object: int | None


def judge(evaluation, results):
    """Judges every detection; how detections and objects are matched is the evaluation's, at IoU 0.5.

    A wrong detection is the first of these that it fits, in TIDE's order: location, class, duplicate, background, both.
    Because a better detection takes its object first, no verdict depends on detections of lower scores.

    Args:
        evaluation: an evaluation of boxes from `coco.evaluate`.
        results: the COCO result dicts that it was given.

    Returns:
        List of `Verdict`, one for each result.
    """
    verdicts = [Verdict(IGNORED, None)] * len(results)
    wrong = {}
    for one in _matched(evaluation):
        if one is None:
            continue
        for number, match, ignored in zip(one["dtIds"], one["dtMatches"][0], one["dtIgnore"][0], strict=True):
            position = number - 1  # pycocotools numbers results from 1, in their order
            if ignored:
                continue
            if match:
                verdicts[position] = Verdict(RIGHT, int(match))
            else:
                wrong.setdefault(one["image_id"], []).append(position)
    for image_id, positions in wrong.items():
        objects = [one for one in evaluation.cocoGt.imgToAnns[image_id] if not one.get("iscrowd")]
        for position, verdict in zip(positions, _wrong([results[i] for i in positions], objects), strict=True):
            verdicts[position] = verdict
    return verdicts


def _matched(evaluation):
    """The matches of every class and picture, of objects of all sizes, in pycocotools' order."""
    ranges, pictures = len(evaluation.params.areaRng), len(evaluation.params.imgIds)
    classes = range(len(evaluation.params.catIds))
    return [one for c in classes for one in evaluation.evalImgs[c * ranges * pictures :][:pictures]]


def _wrong(detections, objects):
    """Verdicts on the wrong detections of a picture."""
    if not objects:
        return [Verdict("background", None)] * len(detections)
    overlaps = mask.iou([d["bbox"] for d in detections], [o["bbox"] for o in objects], [0] * len(objects))
    same = np.equal.outer([d["category_id"] for d in detections], [o["category_id"] for o in objects])
    verdicts = []
    for row, own in zip(overlaps, same, strict=True):
        mine, others = np.where(own, row, 0), np.where(own, 0, row)
        kind, position = "both", np.argmax(row)
        if BACKGROUND <= mine.max() < FOREGROUND:
            kind, position = "location", np.argmax(mine)
        elif others.max() >= FOREGROUND:
            kind, position = "class", np.argmax(others)
        elif mine.max() >= FOREGROUND:
            kind, position = "duplicate", np.argmax(mine)
        elif row.max() <= BACKGROUND:
            kind, position = "background", None
        verdicts.append(Verdict(kind, None if position is None else objects[position]["id"]))
    return verdicts


def missed(truth, results, verdicts, above=0.0):
    """The objects that nothing found, and that no detection of the wrong class or place was meant for.

    Args:
        truth: a `pycocotools.coco.COCO`.
        results, verdicts: as `judge` took and gave them.
        above: minimum score of a detection.

    Returns:
        List of annotation ids, without crowds.
    """
    covered = {
        verdict.object
        for result, verdict in zip(results, verdicts, strict=True)
        if result["score"] >= above and verdict.kind in (RIGHT, "class", "location")
    }
    return [i for i, one in truth.anns.items() if not one.get("iscrowd") and i not in covered]


def count(truth, results, verdicts, above=0.0):
    """Counts the errors of each kind.

    Args:
        truth, results, verdicts, above: as in `missed`.

    Returns:
        Dict of image id to a dict of those of `KINDS` that the image has, and their numbers.
    """
    counts = {}
    for result, verdict in zip(results, verdicts, strict=True):
        if result["score"] >= above and verdict.kind in KINDS:
            own = counts.setdefault(result["image_id"], {})
            own[verdict.kind] = own.get(verdict.kind, 0) + 1
    for number in missed(truth, results, verdicts, above):
        own = counts.setdefault(truth.anns[number]["image_id"], {})
        own["missed"] = own.get("missed", 0) + 1
    return counts


def costs(evaluation, results, verdicts):
    """What each kind of error costs: by how much AP50 would rise if these errors alone were corrected (section 2.3).

    A detection of the wrong class or place becomes right if nothing else has found its object, the best such one if
    there are several; all other wrong detections are removed. Objects that were missed are not counted.

    Args:
        evaluation, results, verdicts: as `judge` took and gave them.

    Returns:
        Dict of each of `KINDS` to the difference in AP50, 0...1.
    """
    truth = evaluation.cocoGt
    rows = _rows(results, verdicts)
    objects = {i: one["category_id"] for i, one in truth.anns.items() if not one.get("iscrowd")}
    found = {verdict.object for verdict in verdicts if verdict.kind == RIGHT}
    now = _precision(evaluation, rows, objects.values(), objects.values())
    gained = {}
    for kind in KINDS:
        gone = set(missed(truth, results, verdicts)) if kind == "missed" else ()
        left = [category for i, category in objects.items() if i not in gone]
        kept, taken = [], set(found)
        for category, right, verdict in rows:
            if right or verdict.kind != kind:
                kept.append((category, right, verdict))
            elif kind in ("class", "location") and verdict.object not in taken:
                taken.add(verdict.object)
                kept.append((objects[verdict.object], True, verdict))
        gained[kind] = _precision(evaluation, kept, left, objects.values()) - now
    return gained


def _rows(results, verdicts):
    """(category id, whether it is right, verdict) of all detections that count, best first, as pycocotools sorts."""
    counted = [(one, verdict) for one, verdict in zip(results, verdicts, strict=True) if verdict.kind != IGNORED]
    counted.sort(key=lambda pair: (-pair[0]["score"], pair[0]["image_id"]))
    return [(one["category_id"], verdict.kind == RIGHT, verdict) for one, verdict in counted]


def _precision(evaluation, rows, objects, present):
    """AP50 of rows of `_rows`: pycocotools sums them up as if one picture had shown all.

    Args:
        evaluation: as in `costs`.
        rows: list of tuples that begin with category id and whether it is right.
        objects: category ids of the objects to find.
        present: category ids of the objects before any was corrected; a class of which none is left has nothing wrong.
    """
    run, params = copy.copy(evaluation), copy.deepcopy(evaluation.params)
    params.iouThrs, params.imgIds, params.maxDets = params.iouThrs[:1], [0], [max(len(rows), 1)]
    params.areaRng, params.areaRngLbl = params.areaRng[:1], params.areaRngLbl[:1]
    own, there = {}, Counter(objects)
    for category, right, *_ in rows:
        own.setdefault(category, []).append(right)
    run.params = run._paramsEval = params
    run.evalImgs = [_sheet(own.get(category, []), there[category]) for category in params.catIds]
    with coco.silence():
        run.accumulate()
    by_class = run.eval["precision"].reshape(len(params.recThrs), len(params.catIds)).mean(0)
    values = [value for category, value in zip(params.catIds, by_class, strict=True) if category in set(present)]
    return float(np.mean(np.where(np.array(values) < 0, 1.0, values))) if values else 0.0


def _sheet(right, objects):
    """The matches of a class in the form that pycocotools sums up; the detections are in order."""
    return {
        "dtScores": -np.arange(len(right), dtype=float),
        "dtMatches": np.array([right], float),
        "dtIgnore": np.zeros((1, len(right)), bool),
        "gtIgnore": np.zeros(objects),
    }
