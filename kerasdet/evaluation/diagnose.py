"""Explains an AP near 0 from the objects and detections of an evaluation."""

import numpy as np
from pycocotools import mask
from pycocotools.coco import COCO

from kerasdet.evaluation import coco

# AP50 below which an evaluation counts as one that found nothing.
ZERO = 0.01
# If AP50 is above this when classes are ignored, the boxes are right.
_FOUND = 0.1
# If detections overlap at least this share of the objects by half, the boxes are right and the scores wrong.
_RECALLED = 0.3


def diagnose(truth, results):
    """Finds the cause of an AP near 0.

    Args:
        truth: a `pycocotools.coco.COCO`, from `coco.ground_truth` or from an annotation file.
        results: list of COCO result dicts with `bbox`.

    Returns:
        A message: no objects, no detections, wrong classes, scores that rank wrong boxes first, low overlap, or boxes
        elsewhere.
    """
    objects = [annotation for annotation in truth.dataset["annotations"] if not annotation.get("iscrowd")]
    if not objects:
        return "the data set has no objects to find: check its path and split."
    if not results:
        return "no detection has a score above the model's threshold: train longer, lower `above`, or try --probe."
    best_score = max(result["score"] for result in results)
    without_classes = coco.score(*_one_class(truth, results))["AP50"]
    if without_classes > _FOUND:
        return (
            f"right places, wrong classes: if classes are ignored, AP50 is {without_classes:.2f}; "
            f"{_confusion(truth, results)}: are the ids of training and validation the same, and do the names fit?"
        )
    overlaps = best_overlaps(truth, results)
    recalled, low = np.mean(overlaps >= 0.5), np.mean((overlaps >= 0.1) & (overlaps < 0.5))
    median = np.median(overlaps)
    if recalled >= _RECALLED:
        return (
            f"scores too low: detections of the right class overlap {recalled:.0%} of the objects by half, but wrong "
            f"ones rank higher (best score {best_score:.2f}): train longer, or raise the learning rate."
        )
    if low + recalled >= 0.5:
        return (
            f"low IoU: half of the objects have no detection of their class with an IoU above {median:.2f}: the "
            "boxes are loose; check the box format and the anchors with tools/inspect, or train longer."
        )
    return (
        f"boxes elsewhere: {np.mean(overlaps < 0.1):.0%} of the objects have no detection of their class near them "
        f"(best score {best_score:.2f}): check the annotations with tools/inspect --check, try --probe, or train "
        "longer."
    )


def best_overlaps(truth, results):
    """Each object's best IoU with a detection of its class.

    Args:
        truth, results: as in `diagnose`.

    Returns:
        [N] float64 in 0...1, without crowds.
    """
    detections = {}
    for result in results:
        detections.setdefault((result["image_id"], result["category_id"]), []).append(result["bbox"])
    objects = {}
    for annotation in truth.dataset["annotations"]:
        if not annotation.get("iscrowd"):
            objects.setdefault((annotation["image_id"], annotation["category_id"]), []).append(annotation["bbox"])
    best = [np.zeros(0)]
    for key, boxes in objects.items():
        detected = detections.get(key)
        best.append(mask.iou(detected, boxes, [0] * len(boxes)).max(axis=0) if detected else np.zeros(len(boxes)))
    return np.concatenate(best)


def _one_class(truth, results):
    """The same objects and detections, all of one class."""
    content = truth.dataset
    merged = COCO()
    merged.dataset = {
        **content,
        "categories": [{"id": 1, "name": "object"}],
        "annotations": [{**annotation, "category_id": 1} for annotation in content["annotations"]],
    }
    with coco.silence():
        merged.createIndex()
    return merged, [{**result, "category_id": 1} for result in results]


def _confusion(truth, results):
    """The pair of classes that is confused most often, among objects and the best detections that overlap them."""
    counts = {}
    by_image = {}
    for result in results:
        by_image.setdefault(result["image_id"], []).append(result)
    for image_id, detected in by_image.items():
        objects = [annotation for annotation in truth.imgToAnns.get(image_id, []) if not annotation.get("iscrowd")]
        if not objects:
            continue
        overlaps = mask.iou([d["bbox"] for d in detected], [o["bbox"] for o in objects], [0] * len(objects))
        for column, annotation in enumerate(objects):
            right = np.flatnonzero(overlaps[:, column] >= 0.5)
            if len(right):
                best = max(right, key=lambda row: detected[row]["score"])
                pair = annotation["category_id"], detected[best]["category_id"]
                counts[pair] = counts.get(pair, 0) + 1
    wrong = {pair: count for pair, count in counts.items() if pair[0] != pair[1]}
    if not wrong:
        return "no single pair of classes stands out"
    actual, predicted = max(wrong, key=wrong.get)
    return (
        f"'{truth.cats[actual]['name']}' is called '{truth.cats[predicted]['name']}' {wrong[actual, predicted]} times"
    )
