"""COCO's metrics: the input and output of pycocotools. Its numbers are the metric; nothing is re-implemented."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kerasdet.data import coco as files
from kerasdet.data import segments
from kerasdet.decoding import paste

_BOXES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
_KEYPOINTS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
NUMBERS = {"bbox": _BOXES, "segm": _BOXES, "keypoints": _KEYPOINTS}
# Maximum numbers of detections per image: for AR1, AR10 and AR100; the last one is used for all other numbers.
MAX_DETS = (1, 10, 100)
_FIELDS = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}
_COCO_POINTS = 17
_AREAS = {"s": "small", "m": "medium", "l": "large", "": "all"}


def ground_truth(dataset):
    """Converts a data set to pycocotools' ground truth.

    Args:
        dataset: a `kerasdet.data.dataset.Dataset`.

    Returns:
        A `pycocotools.coco.COCO`; annotations are numbered from 1, in the order of the records.
    """
    with silence():
        return _indexed({"info": {}, **files.content(dataset)})


def results(ids, detections, dataset):
    """Converts a batch of detections to the entries of COCO's result files.

    Args:
        ids: [B] integers, image ids of the data set; images with a negative id are skipped.
        detections: dict of arrays in pixels of the original image: `scores` [B, D] in 0...1, `classes` [B, D],
            `counts` [B], `boxes` [B, D, 4], and optionally `keypoints` [B, D, P, 3] and `segments`, B lists of D
            run-length codes (see `pasted`).
        dataset: the `Dataset` that defines the category ids.

    Returns:
        List of dicts `image_id`, `category_id`, `score`, `bbox` (x, y, width, height) and, if present,
        `segmentation` and `keypoints`; plain Python values in full precision, ready for `json.dump`.
    """
    convert = {"boxes": ("bbox", _xywh), "segments": ("segmentation", dict), "keypoints": ("keypoints", _flat)}
    fields = [(key, *convert[key]) for key in convert if key in detections]
    return [
        {
            "image_id": int(image_id),
            "category_id": int(dataset.category_ids[detections["classes"][image][index]]),
            "score": float(detections["scores"][image][index]),
            **{field: change(detections[key][image][index]) for key, field, change in fields},
        }
        for image, image_id in enumerate(ids)
        if image_id >= 0
        for index in range(detections["counts"][image])
    ]


def of_picture(image_id, found, dataset):
    """Converts what `detect` found in a picture to the entries of COCO's result files, with the names of the classes.

    Args:
        image_id: integer of 0 or more.
        found: dict that `Detects.detect` returns.
        dataset: the `Dataset` that defines the category ids.

    Returns:
        List of the dicts of `results`, each with `category`, the name of its class.
    """
    batch = {key: [values] for key, values in found.items()}
    batch["counts"] = [len(found["scores"])]
    if "masks" in found:
        batch["segments"] = [[segments.encode(mask) for mask in found["masks"]]]
    named = zip(results([image_id], batch, dataset), found["names"], strict=True)
    return [{**one, "category": name} for one, name in named]


def only(results, kind):
    """Reduces result dicts to the fields of one kind of score, as in a result file for plain pycocotools.

    Args:
        results: list of result dicts.
        kind: "bbox", "segm" or "keypoints".

    Returns:
        List of dicts `image_id`, `category_id`, `score`, and `bbox`, `segmentation` or `keypoints`.
    """
    keys = ("image_id", "category_id", "score", _FIELDS[kind])
    return [{key: result[key] for key in keys} for result in results]


def pasted(masks, boxes, height, width):
    """Pastes the masks of a picture and encodes each at once, so only one full-size mask is in memory.

    Args:
        masks: [D, S, S] floats in 0...1, grids over the boxes.
        boxes: [D, 4] float32, pixels of the picture.
        height, width: size of the picture, pixels.

    Returns:
        List of D run-length codes (RLE).
    """
    canvas, codes = np.zeros([height, width], np.uint8, order="F"), []
    for mask, box in zip(masks, boxes, strict=True):
        (x, y), values = paste.within(mask, box, height, width)
        inside = canvas[y : y + values.shape[0], x : x + values.shape[1]]
        inside[:] = values > paste.ABOVE
        codes.append(segments.encode(canvas))
        inside[:] = 0
    return codes


def evaluate(truth, results, kind="bbox", image_ids=None, sigmas=None, max_dets=MAX_DETS):
    """Runs COCOeval.

    Args:
        truth: a `pycocotools.coco.COCO`, from `ground_truth` or from an annotation file.
        results: list of COCO result dicts, which may be empty; only the field of `kind` is used.
        kind: "bbox", "segm" or "keypoints"; "keypoints" scores only the categories that have keypoints.
        image_ids: the images to evaluate; None takes all.
        sigmas: [P] floats, tolerance of each keypoint relative to the object's size, or one for all; None takes COCO's
            17.
        max_dets: maximum detections per image, see `check_max_dets`; keypoints are scored at COCO's 20.

    Returns:
        A `pycocotools.cocoeval.COCOeval`, accumulated.

    Raises:
        ValueError: a result's image or category is unknown to the ground truth, an annotation lacks the field of
            `kind`, or the number of sigmas is not that of the keypoints.
    """
    _check_results(truth, results)
    with silence():
        run = COCOeval(truth, _loaded(truth, results, kind), kind)
        if image_ids is not None:
            run.params.imgIds = [int(image_id) for image_id in image_ids]
        if kind == "keypoints":
            run.params.catIds = sorted(i for i, category in truth.cats.items() if category.get("keypoints"))
            if sigmas is not None:
                run.params.kpt_oks_sigmas = _each_point(truth, run.params.catIds, sigmas)
        else:
            run.params.maxDets = list(check_max_dets(max_dets))
        _check_annotations(truth, run.params)
        run.evaluate()
        run.accumulate()
    return run


def check_max_dets(max_dets):
    """Checks the maximum numbers of detections per image.

    Args:
        max_dets: increasing positive integers that include COCO's 100. AP is computed at 100, and also at the last
            number if that is larger.

    Returns:
        The numbers as a tuple.

    Raises:
        ValueError: they are invalid.
    """
    max_dets = tuple(max_dets)
    positive = all(isinstance(limit, int) and limit > 0 for limit in max_dets)
    if not positive or list(max_dets) != sorted(set(max_dets)) or MAX_DETS[-1] not in max_dets:
        raise ValueError(
            f"max_dets must be increasing positive integers that include 100, such as {MAX_DETS}, got {max_dets}."
        )
    return max_dets


def check_sigmas(sigmas, keypoints):
    """Checks that every keypoint has a sigma.

    Args:
        sigmas: [P] floats above 0, one for all, or None for COCO's 17.
        keypoints: names of the P keypoints.

    Raises:
        ValueError: the numbers of sigmas and keypoints differ, or a sigma is not positive.
    """
    count = _COCO_POINTS if sigmas is None else np.size(sigmas)
    if count != len(keypoints) and (sigmas is None or np.ndim(sigmas)):
        raise ValueError(
            f"there are {len(keypoints)} keypoints, {tuple(keypoints)}, but {count} sigmas: give `sigmas`, one per "
            "keypoint or one for all, such as 0.05."
        )
    if sigmas is not None and np.min(sigmas) <= 0:
        raise ValueError(f"sigmas must be above 0, got {sigmas}.")


def score(truth, results, kind="bbox", image_ids=None, sigmas=None, max_dets=MAX_DETS):
    """Computes COCO's numbers, overall and per class.

    Args:
        truth, results, kind, image_ids, sigmas, max_dets: as in `evaluate`.

    Returns:
        The dict of `summary`.
    """
    return summary(evaluate(truth, results, kind, image_ids, sigmas, max_dets))


def summary(evaluation):
    """Names the numbers of an evaluation: COCO's own, and those with more detections per image, if any.

    Args:
        evaluation: an accumulated evaluation from `evaluate`.

    Returns:
        Dict of floats in 0...1, or -1 if there is nothing to find: the names of `NUMBERS[kind]`, of boxes and masks
        also "AP90", by which papers on localization are judged, and the dicts `per_class` (AP) and `per_class_AP50` by
        class name, at 100 detections per image (keypoints at 20). If `max_dets` ends with, say, 300, also "AP@300",
        "AP50@300" and so on at 300.
    """
    params = evaluation.params
    standard = MAX_DETS[-1] if MAX_DETS[-1] in params.maxDets else params.maxDets[-1]
    metrics = _numbers(evaluation, standard)
    if params.iouType != "keypoints":
        recall = evaluation.eval["recall"]
        metrics.update({f"AR{limit}": _mean(recall[:, :, 0, i]) for i, limit in enumerate(params.maxDets)})
    if params.maxDets[-1] != standard:
        more = _numbers(evaluation, params.maxDets[-1])
        metrics.update({f"{name}@{params.maxDets[-1]}": value for name, value in more.items()})
    return metrics


def line(evaluation):
    """AP, AP50 and AP75 of an evaluation as text, followed by those with more detections per image, if any."""
    metrics = summary(evaluation)
    shown = [name for name in metrics if name.partition("@")[0] in ("AP", "AP50", "AP75")]
    return "  ".join(f"{name} {metrics[name]:.3f}" for name in shown)


def _numbers(evaluation, limit):
    """The numbers of `summary` at this many detections per image."""
    params, position = evaluation.params, evaluation.params.maxDets.index(limit)
    arrays = {"AP": evaluation.eval["precision"][..., position], "AR": evaluation.eval["recall"][..., position]}

    def number(name):
        values, suffix = arrays[name[:2]], name[2:]
        if suffix.isdigit():
            return _mean(values[np.isclose(params.iouThrs, int(suffix) / 100)][..., 0])
        return _mean(values[..., params.areaRngLbl.index(_AREAS[suffix])])

    wanted = [name for name in NUMBERS[params.iouType] if name[2:] in ("50", "75", *_AREAS)]
    if params.iouType != "keypoints":
        wanted.append("AP90")
    precision, names = arrays["AP"][..., 0], class_names(evaluation)
    return {
        **{name: number(name) for name in wanted},
        "per_class": {name: _mean(precision[:, :, index]) for index, name in enumerate(names)},
        "per_class_AP50": {name: _mean(precision[0, :, index]) for index, name in enumerate(names)},
    }


def class_names(evaluation):
    """Names of the classes in the order of an evaluation's arrays."""
    return [evaluation.cocoGt.cats[number]["name"] for number in evaluation.params.catIds]


def _xywh(box):
    x1, y1, x2, y2 = (float(value) for value in box)
    return [x1, y1, x2 - x1, y2 - y1]


def _flat(points):
    return [float(value) for value in np.reshape(points - np.float32([files.MIDDLE, files.MIDDLE, 0]), -1)]


def _loaded(truth, results, kind):
    """Loads copies of the results with one field each, because `loadRes` derives the areas from the first it finds."""
    if not results:
        return _indexed({**truth.dataset, "annotations": []})
    return truth.loadRes(only(results, kind))


def _indexed(content):
    api = COCO()
    api.dataset = content
    api.createIndex()
    return api


def _check_results(truth, results):
    for key, known, what in (("image_id", truth.imgs, "image"), ("category_id", truth.cats, "category")):
        unknown = {result[key] for result in results} - set(known)
        if unknown:
            raise ValueError(f"The results name {what} {min(unknown)}, which is not in the ground truth.")


def _each_point(truth, categories, sigmas):
    """[P] sigmas; a single number is repeated for every keypoint."""
    sigmas = np.asarray(sigmas, np.float64)
    return sigmas if sigmas.ndim else np.repeat(sigmas, len(truth.cats[categories[0]]["keypoints"]))


def _check_annotations(truth, params):
    field = _FIELDS[params.iouType]
    for one in truth.anns.values():
        if one["category_id"] in params.catIds and field not in one:
            raise ValueError(f"Annotation {one['id']} has no '{field}', so there is no '{params.iouType}' score.")
        if field == "keypoints" and field in one and len(one[field]) != 3 * len(params.kpt_oks_sigmas):
            raise ValueError(
                f"Annotation {one['id']} has {len(one[field]) // 3} keypoints, but there are "
                f"{len(params.kpt_oks_sigmas)} sigmas; give one sigma per keypoint."
            )


def _mean(precision):
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else -1.0


def silence():
    """Keeps what pycocotools prints from the terminal."""
    return contextlib.redirect_stdout(io.StringIO())
