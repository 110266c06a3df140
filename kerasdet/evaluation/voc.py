"""PASCAL VOC's average precision, as the devkit defines it (Everingham et al., IJCV 2010, sections 3.4 and 4.2)."""

import numpy as np

# The mean over 11 recalls, and the area under the curve.
KINDS = ("AP2007", "AP2010")


def score(truth, results, iou=0.5, plus_one=False):
    """Gives VOC's average precision, in all and per class.

    A detection, best score first, looks at the object of its class that overlaps it most. Above `iou` it is right if
    the object is still free and wrong if it is taken; objects that are difficult or a crowd make it neither.

    Args:
        truth: a `pycocotools.coco.COCO`, from `coco.ground_truth` or from an annotation file; of an annotation, `bbox`,
            `iscrowd` and, where present, `difficult` count.
        results: list of COCO result dicts with `bbox`.
        iou: the overlap above which a detection has found its object.
        plus_one: measure sides as x2 - x1 + 1, for boxes that count inclusive pixels as the devkit's do.

    Returns:
        Dict of floats in 0...1: `AP2007` (mean over 11 recalls) and `AP2010` (area), both the mean over the classes
        that have objects, -1 where none has; and `per_class`: by class name `AP2007`, `AP2010`, `recall` (the last),
        and the counts `positives` and `detections`.
    """
    objects, found = _by_class(truth.anns.values()), _by_class(results)
    per_class = {
        category["name"]: _class_score(objects.get(number, []), found.get(number, []), iou, float(plus_one))
        for number, category in sorted(truth.cats.items())
    }
    scored = [one for one in per_class.values() if one["positives"]]
    means = {key: float(np.mean([one[key] for one in scored])) if scored else -1.0 for key in KINDS}
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
    """VOC 2010 and later: the area under the curve, with precision made to fall monotonically.

    Args:
        recall, precision: [N] floats in 0...1, after each detection in order of score.

    Returns:
        A float in 0...1.
    """
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0) * envelope))


def _by_class(entries):
    groups = {}
    for one in entries:
        groups.setdefault(one["category_id"], []).append(one)
    return groups


def _class_score(objects, found, iou, extra):
    positives = sum(not _neutral(one) for one in objects)
    counts = {"positives": positives, "detections": len(found)}
    if not positives:
        return {"AP2007": -1.0, "AP2010": -1.0, "recall": -1.0, **counts}
    right, wrong = _judge(objects, found, iou, extra)
    recall, precision = right / positives, right / np.maximum(right + wrong, 1)
    return {
        "AP2007": eleven_points(recall, precision),
        "AP2010": area(recall, precision),
        "recall": float(np.max(recall, initial=0)),
        **counts,
    }


def _judge(objects, found, iou, extra):
    """Counts the right and the wrong detections after each detection in order of score: two [N] arrays."""
    images = {}
    for one in objects:
        images.setdefault(one["image_id"], []).append(one)
    right, wrong = np.zeros(len(found)), np.zeros(len(found))
    taken = set()
    for rank, one in enumerate(sorted(found, key=lambda one: -one["score"])):
        rivals = images.get(one["image_id"], [])
        overlap = _overlaps(one["bbox"], [rival["bbox"] for rival in rivals], extra)
        if np.max(overlap, initial=0) <= iou:
            wrong[rank] = 1
            continue
        best = rivals[np.argmax(overlap)]
        if not _neutral(best):
            (wrong if best["id"] in taken else right)[rank] = 1
            taken.add(best["id"])
    return np.cumsum(right), np.cumsum(wrong)


def _neutral(one):
    return bool(one.get("iscrowd") or one.get("difficult"))


def _overlaps(box, others, extra):
    """IoU of one x, y, width, height box with others: [N]; `extra` is added to every side."""
    box, others = np.asarray(box, np.float64), np.reshape(others, (-1, 4)).astype(np.float64)
    lower, upper = np.maximum(box[:2], others[:, :2]), np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    shared = np.prod(np.maximum(upper - lower + extra, 0), axis=1)
    union = np.prod(box[2:] + extra) + np.prod(others[:, 2:] + extra, axis=1) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
