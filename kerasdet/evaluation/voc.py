"""PASCAL VOC's average precision, as the devkit defines it (Everingham et al., IJCV 2010, sections 3.4 and 4.2)."""

import numpy as np

# The mean over 11 recalls, and the area under the curve.
KINDS = ("AP2007", "AP2010")


def score(truth, results, iou=0.5, plus_one=False):
    """Computes VOC's average precision, overall and per class.

    In order of their scores, detections are compared with the object of their class that overlaps them most. Above
    `iou`, a detection is right if the object is not yet matched and wrong if it is; difficult objects and crowds count
    as neither.

    Args:
        truth: a `pycocotools.coco.COCO`, from `coco.ground_truth` or from an annotation file; it uses `bbox`, `iscrowd`
            and, if present, `difficult` of the annotations.
        results: list of COCO result dicts with `bbox`.
        iou: overlap that a detection must exceed.
        plus_one: measure sides as x2 - x1 + 1, for boxes of inclusive pixels like the devkit's.

    Returns:
        Dict of floats in 0...1: `AP2007` (mean over 11 recalls) and `AP2010` (area), both averaged over the classes
        that have objects, -1 if none has; and `per_class`: by class name `AP2007`, `AP2010`, `recall` (the last),
        and the counts `positives` and `detections`.
    """
    objects, detections = _by_class(truth.anns.values()), _by_class(results)
    per_class = {
        category["name"]: _class_score(objects.get(i, []), detections.get(i, []), iou, float(plus_one))
        for i, category in sorted(truth.cats.items())
    }
    scored = [scores for scores in per_class.values() if scores["positives"]]
    means = {key: float(np.mean([s[key] for s in scored])) if scored else -1.0 for key in KINDS}
    return {**means, "per_class": per_class}


def summary(truth, results):
    """VOC's average precisions at an IoU of 0.5 as plain numbers and by class.

    Args:
        truth, results: as in `score`.

    Returns:
        Dict of `AP2007` and `AP2010`, floats, and `per_class_AP2007` and `per_class_AP2010`, dicts of class name to
        float; -1 without objects.
    """
    scores = score(truth, results)
    by_class = {f"per_class_{kind}": {k: v[kind] for k, v in scores["per_class"].items()} for kind in KINDS}
    return {**{kind: scores[kind] for kind in KINDS}, **by_class}


def eleven_points(recall, precision):
    """VOC 2007: the mean of the best precision at a recall of at least 0, 0.1 ... 1.

    Args:
        recall, precision: [N] floats in 0...1, after each detection in order of score.

    Returns:
        A float in 0...1.
    """
    return float(np.mean([np.max(precision[recall >= point / 10], initial=0) for point in range(11)]))


def area(recall, precision):
    """VOC 2010 and later: the area under the curve, with precision made monotonically decreasing.

    Args:
        recall, precision: [N] floats in 0...1, after each detection in order of score.

    Returns:
        A float in 0...1.
    """
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0) * envelope))


def _by_class(entries):
    groups = {}
    for entry in entries:
        groups.setdefault(entry["category_id"], []).append(entry)
    return groups


def _class_score(objects, detections, iou, extra):
    positives = sum(not _neutral(annotation) for annotation in objects)
    counts = {"positives": positives, "detections": len(detections)}
    if not positives:
        return {"AP2007": -1.0, "AP2010": -1.0, "recall": -1.0, **counts}
    right, wrong = _judge(objects, detections, iou, extra)
    recall, precision = right / positives, right / np.maximum(right + wrong, 1)
    return {
        "AP2007": eleven_points(recall, precision),
        "AP2010": area(recall, precision),
        "recall": float(np.max(recall, initial=0)),
        **counts,
    }


def _judge(objects, detections, iou, extra):
    """Counts the right and the wrong detections after each detection in order of score: two [N] arrays."""
    by_image = {}
    for annotation in objects:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    right, wrong = np.zeros(len(detections)), np.zeros(len(detections))
    matched = set()
    for rank, detection in enumerate(sorted(detections, key=lambda detection: -detection["score"])):
        annotations = by_image.get(detection["image_id"], [])
        overlaps = _overlaps(detection["bbox"], [annotation["bbox"] for annotation in annotations], extra)
        if np.max(overlaps, initial=0) <= iou:
            wrong[rank] = 1
            continue
        # Unlike COCO, VOC looks only at the best object: a detection never moves on to one that is still unmatched.
        best = annotations[np.argmax(overlaps)]
        if not _neutral(best):
            (wrong if best["id"] in matched else right)[rank] = 1
            matched.add(best["id"])
    return np.cumsum(right), np.cumsum(wrong)


def _neutral(annotation):
    return bool(annotation.get("iscrowd") or annotation.get("difficult"))


def _overlaps(box, others, extra):
    """IoU of one x, y, width, height box with others: [N]; `extra` is added to every side."""
    box, others = np.asarray(box, np.float64), np.reshape(others, (-1, 4)).astype(np.float64)
    lower, upper = np.maximum(box[:2], others[:, :2]), np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    shared = np.prod(np.maximum(upper - lower + extra, 0), axis=1)
    union = np.prod(box[2:] + extra) + np.prod(others[:, 2:] + extra, axis=1) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
