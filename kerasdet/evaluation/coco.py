"""COCO's metrics: what goes into pycocotools and what comes out. Its numbers are the metric; none is computed anew."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kerasdet.data import coco as files
from kerasdet.data import segments

_BOXES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
_KEYPOINTS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
NUMBERS = {"bbox": _BOXES, "segm": _BOXES, "keypoints": _KEYPOINTS}
_FIELDS = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}


def ground_truth(dataset):
    """Turns a data set into the ground truth that pycocotools reads.

    Args:
        dataset: a `kerasdet.data.dataset.Dataset`.

    Returns:
        A `pycocotools.coco.COCO`; annotations are numbered from 1, in the order of the records.
    """
    with _silence():
        return _indexed({"info": {}, **files.content(dataset)})


def results(ids, detections, dataset, kind="bbox"):
    """Lists a batch of detections the way COCO's result files do.

    Args:
        ids: [B] integers, image ids of the data set; images with a negative id are skipped.
        detections: dict of arrays: `scores` [B, D] in 0...1, `classes` [B, D], `counts` [B], and in pixels of the
            original image what `kind` needs: `boxes` [B, D, 4] for "bbox", `keypoints` [B, D, P, 3] for "keypoints",
            `masks`, B arrays [D, height, width] of 0/1, for "segm".
        dataset: the `Dataset` that gives the category ids.
        kind: "bbox", "segm" or "keypoints".

    Returns:
        List of dicts `image_id`, `category_id`, `score` and `bbox` (x, y, width, height), `segmentation` (RLE) or
        `keypoints`; plain Python values in full precision, ready for `json.dump`.
    """
    key, convert = {
        "bbox": ("boxes", _xywh),
        "segm": ("masks", segments.encode),
        "keypoints": ("keypoints", _flat),
    }[kind]
    return [
        {
            "image_id": int(image_id),
            "category_id": int(dataset.category_ids[detections["classes"][image][index]]),
            "score": float(detections["scores"][image][index]),
            _FIELDS[kind]: convert(detections[key][image][index]),
        }
        for image, image_id in enumerate(ids)
        if image_id >= 0
        for index in range(detections["counts"][image])
    ]


def evaluate(truth, results, kind="bbox", image_ids=None, sigmas=None):
    """Runs COCOeval.

    Args:
        truth: a `pycocotools.coco.COCO`, from `ground_truth` or from an annotation file.
        results: list of COCO result dicts, which may be empty; only the field of `kind` is looked at.
        kind: "bbox", "segm" or "keypoints"; the last looks at the categories that have keypoints.
        image_ids: the images to evaluate; None takes all.
        sigmas: [P] floats, spread of each keypoint relative to the object's size; None takes COCO's 17.

    Returns:
        A `pycocotools.cocoeval.COCOeval`, accumulated and summarized.

    Raises:
        ValueError: a result's image or category is unknown to the ground truth, an annotation lacks the field of
            `kind`, or the number of sigmas is not that of the keypoints.
    """
    _check_results(truth, results)
    with _silence():
        run = COCOeval(truth, _loaded(truth, results, kind), kind)
        if image_ids is not None:
            run.params.imgIds = [int(image_id) for image_id in image_ids]
        if kind == "keypoints":
            run.params.catIds = sorted(number for number, one in truth.cats.items() if one.get("keypoints"))
            if sigmas is not None:
                run.params.kpt_oks_sigmas = np.asarray(sigmas, np.float64)
        _check_annotations(truth, run.params)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run


def score(truth, results, kind="bbox", image_ids=None, sigmas=None):
    """Gives COCO's numbers, in all and per class.

    Args:
        truth, results, kind, image_ids, sigmas: as in `evaluate`.

    Returns:
        The dict of `summary`.
    """
    return summary(evaluate(truth, results, kind, image_ids, sigmas))


def summary(evaluation):
    """Names the numbers of an evaluation.

    Args:
        evaluation: what `evaluate` returned.

    Returns:
        Dict of floats in 0...1, -1 where there is nothing to find: the names of `NUMBERS[kind]`, and the dicts
        `per_class` (AP) and `per_class_AP50` by class name.
    """
    totals = zip(NUMBERS[evaluation.params.iouType], evaluation.stats, strict=True)
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    names = _names(evaluation)
    return {
        **{name: float(value) for name, value in totals},
        "per_class": {name: _mean(precision[:, :, index]) for index, name in enumerate(names)},
        "per_class_AP50": {name: _mean(precision[0, :, index]) for index, name in enumerate(names)},
    }


def curves(evaluation):
    """Gives the precision of each class that has objects, at IoU 0.5, over objects of all sizes.

    Args:
        evaluation: what `evaluate` returned.

    Returns:
        Dict of class name to [101] floats in 0...1, the precision at the recalls 0, 0.01 ... 1.
    """
    precision = evaluation.eval["precision"][0, :, :, 0, -1]
    return {name: precision[:, index] for index, name in enumerate(_names(evaluation)) if precision[0, index] > -1}


def threshold(evaluation):
    """Finds the score from which on detections are best shown: where F1 at IoU 0.5, averaged over classes, is highest.

    Args:
        evaluation: what `evaluate` returned.

    Returns:
        (score in 0.01...0.99, that F1 in 0...1); (0.5, 0.0) where nothing was found.
    """
    candidates = np.arange(1, 100) / 100
    sizes, pictures = len(evaluation.params.areaRng), len(evaluation.params.imgIds)
    f1 = []
    for index in range(len(evaluation.params.catIds)):
        start = index * sizes * pictures  # the first range of areas holds all
        seen = [one for one in evaluation.evalImgs[start : start + pictures] if one is not None]
        objects = sum(int(np.sum(np.logical_not(one["gtIgnore"]))) for one in seen)
        if objects:
            scores = np.concatenate([one["dtScores"] for one in seen])
            right = np.concatenate([one["dtMatches"][0] > 0 for one in seen])
            counted = np.concatenate([np.logical_not(one["dtIgnore"][0]) for one in seen])
            shown = (scores >= candidates[:, None]) & counted
            f1.append(2 * (shown & right).sum(axis=1) / (shown.sum(axis=1) + objects))
    mean = np.mean(f1, axis=0) if f1 else np.zeros(len(candidates))
    if mean.max() == 0:
        return 0.5, 0.0
    best = np.flatnonzero(mean >= mean.max() - 1e-9)
    return float(candidates[best[len(best) // 2]]), float(mean.max())


def _xywh(box):
    x1, y1, x2, y2 = (float(value) for value in box)
    return [x1, y1, x2 - x1, y2 - y1]


def _flat(points):
    return [float(value) for value in np.reshape(points, -1)]


def _loaded(truth, results, kind):
    """Loads results without touching the caller's dicts; with the one field that counts, areas are that field's own."""
    if not results:
        return _indexed({**truth.dataset, "annotations": []})
    keys = ("image_id", "category_id", "score", _FIELDS[kind])
    return truth.loadRes([{key: one[key] for key in keys} for one in results])


def _indexed(content):
    api = COCO()
    api.dataset = content
    api.createIndex()
    return api


def _check_results(truth, results):
    for key, known, what in (("image_id", truth.imgs, "image"), ("category_id", truth.cats, "category")):
        unknown = {one[key] for one in results} - set(known)
        if unknown:
            raise ValueError(f"The results name {what} {min(unknown)}, which the ground truth does not hold.")


def _check_annotations(truth, params):
    field = _FIELDS[params.iouType]
    for one in truth.anns.values():
        if one["category_id"] in params.catIds and field not in one:
            raise ValueError(f"Annotation {one['id']} has no '{field}', so there is no '{params.iouType}' score.")
        if field == "keypoints" and field in one and len(one[field]) != 3 * len(params.kpt_oks_sigmas):
            raise ValueError(
                f"Annotation {one['id']} has {len(one[field]) // 3} keypoints, but there are "
                f"{len(params.kpt_oks_sigmas)} sigmas; give one sigma a keypoint."
            )


def _names(evaluation):
    return [evaluation.cocoGt.cats[number]["name"] for number in evaluation.params.catIds]


def _mean(precision):
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else -1.0


def _silence():
    return contextlib.redirect_stdout(io.StringIO())
