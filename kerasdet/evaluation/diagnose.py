"""Says why AP is 0, from the objects and detections of an evaluation."""

import contextlib
import io

import numpy as np
from pycocotools import mask
from pycocotools.coco import COCO

from kerasdet.evaluation import coco

# AP50 below which an evaluation counts as one that found nothing.
ZERO = 0.01
# AP50 without regard to classes from which on the boxes are right.
_FOUND = 0.1
# Share of the objects that a detection overlaps by half, from which on boxes are right and scores wrong.
_RECALLED = 0.3


def diagnose(truth, results):
    """Finds the cause of an AP near 0.

    Args:
        truth: a `pycocotools.coco.COCO`, from `coco.ground_truth` or from an annotation file.
        results: list of COCO result dicts with `bbox`.

    Returns:
        One line: no objects, no detections, wrong classes, scores that rank wrong boxes first, low overlap, or boxes
        elsewhere.
    """
    objects = [one for one in truth.dataset["annotations"] if not one.get("iscrowd")]
    if not objects:
        return "the data set has no objects to find: check its path and split."
    if not results:
        return "no detection has a score above the model's threshold: train longer, lower `above`, or try --probe."
    best_score = max(one["score"] for one in results)
    without_classes = coco.score(*_one_class(truth, results))["AP50"]
    if without_classes > _FOUND:
        return (
            f"right places, wrong classes: without regard to classes AP50 is {without_classes:.2f}; "
            f"{_confusion(truth, results)}: are the ids of training and validation the same, and do the names fit?"
        )
    overlaps = best_overlaps(truth, results)
    recalled, low = np.mean(overlaps >= 0.5), np.mean((overlaps >= 0.1) & (overlaps < 0.5))
    middle = np.median(overlaps)
    if recalled >= _RECALLED:
        return (
            f"scores too low: detections of the right class overlap {recalled:.0%} of the objects by half, but others "
            f"stand before them (best score {best_score:.2f}): train longer, or raise the learning rate."
        )
    if low + recalled >= 0.5:
        return (
            f"low IoU: half of the objects have no detection of their class that overlaps them by {middle:.2f}: the "
            "boxes are loose; check the box format and the anchors by tools/inspect, or train longer."
        )
    return (
        f"boxes elsewhere: {np.mean(overlaps < 0.1):.0%} of the objects have no detection of their class near them "
        f"(best score {best_score:.2f}): check the annotations by tools/inspect --check, try --probe, or train longer."
    )


def best_overlaps(truth, results):
    """Each object's best IoU with a detection of its class.

    Args:
        truth, results: as in `diagnose`.

    Returns:
        [N] float64 in 0...1, crowds left out.
    """
    found = {}
    for one in results:
        found.setdefault((one["image_id"], one["category_id"]), []).append(one["bbox"])
    objects = {}
    for one in truth.dataset["annotations"]:
        if not one.get("iscrowd"):
            objects.setdefault((one["image_id"], one["category_id"]), []).append(one["bbox"])
    best = [np.zeros(0)]
    for key, boxes in objects.items():
        near = found.get(key)
        best.append(mask.iou(near, boxes, [0] * len(boxes)).max(axis=0) if near else np.zeros(len(boxes)))
    return np.concatenate(best)


def _one_class(truth, results):
    """The same objects and detections, all of one class."""
    content = truth.dataset
    merged = COCO()
    merged.dataset = {
        **content,
        "categories": [{"id": 1, "name": "object"}],
        "annotations": [{**one, "category_id": 1} for one in content["annotations"]],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        merged.createIndex()
    return merged, [{**one, "category_id": 1} for one in results]


def _confusion(truth, results):
    """The pair of classes that are taken for each other most, of objects and the detections that overlap them."""
    counts = {}
    found = {}
    for one in results:
        found.setdefault(one["image_id"], []).append(one)
    for image_id, near in found.items():
        objects = [one for one in truth.imgToAnns.get(image_id, []) if not one.get("iscrowd")]
        if not objects:
            continue
        overlaps = mask.iou([one["bbox"] for one in near], [one["bbox"] for one in objects], [0] * len(objects))
        for column, one in enumerate(objects):
            right = np.flatnonzero(overlaps[:, column] >= 0.5)
            if len(right):
                first = max(right, key=lambda row: near[row]["score"])
                pair = one["category_id"], near[first]["category_id"]
                counts[pair] = counts.get(pair, 0) + 1
    wrong = {pair: count for pair, count in counts.items() if pair[0] != pair[1]}
    if not wrong:
        return "no single pair of classes stands out"
    actual, said = max(wrong, key=wrong.get)
    return f"{wrong[actual, said]} times '{truth.cats[actual]['name']}' is called '{truth.cats[said]['name']}'"
