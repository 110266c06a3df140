"""The page of an evaluation: numbers, classes, curves, confusion, errors by kind, and photos."""

import os

import numpy as np

from kerasdet.evaluation import coco, curves, errors
from kerasdet.report import page

# How many photos are drawn at random, so that the worst ones are not taken for all.
RANDOM = 12
_KINDS = {"bbox": "boxes", "segm": "masks", "keypoints": "keypoints"}
_WORDS = {"APs": "AP, small", "APm": "AP, medium", "APl": "AP, large", "AR100": "AR at 100"}


def write(evaluator, metrics, verdicts, matrix, worst, path, above):
    """Writes the page.

    Args:
        evaluator: an `Evaluator` that has run.
        metrics: the metrics that it returned, with the "errors" of metrics.json.
        verdicts: of `errors.judge`.
        matrix: of `plots.confusion_matrix`.
        worst: ids of the images to show first.
        path: HTML file to write.
        above: the score from which detections are shown at first, and counted in the matrix.
    """
    dataset, results, boxes = evaluator.dataset, evaluator.results, evaluator.evaluations["bbox"]
    costs = {kind: one["cost"] for kind, one in metrics["errors"].items()}
    dearest = max(*costs.values(), 0.01)
    rest = [record.id for record in dataset.records if record.id not in set(worst)]
    chosen = np.random.default_rng(0).permutation(len(rest))[:RANDOM]
    groups = {**dict.fromkeys(worst, "worst"), **{rest[i]: "random" for i in sorted(chosen)}}
    best, _ = curves.threshold(boxes)
    precision, f1 = curves.precision(boxes), curves.f1(boxes)
    names = list(coco.class_names(boxes))
    page.write(
        "evaluation.html",
        path,
        title=dataset.name,
        images=len(dataset),
        objects=sum(int((~record.crowds).sum()) for record in dataset.records),
        threshold=best,
        above=above,
        tiles=_tiles(evaluator, metrics),
        classes=_classes(boxes, names, above),
        precision=_lines(precision, names, boxes.params.recThrs),
        mean_precision=_mean(precision, boxes.params.recThrs),
        f1=_lines(f1, names, curves.SCORES),
        mean_f1=_mean(f1, curves.SCORES),
        matrix=_shaded(matrix),
        matrix_names=[*names, "background"],
        kinds=[
            {"name": kind, "words": words, "cost": costs[kind], "width": 100 * max(costs[kind] / dearest, 0)}
            for kind, words in errors.KINDS.items()
        ],
        data={
            "judged": True,
            "classes": names,
            "counts": _counts(boxes, results, verdicts),
            "photos": _photos(evaluator, verdicts, groups),
        },
    )


def _tiles(evaluator, metrics):
    """Pairs of a kind of score and its (name, number) pairs."""
    tiles = []
    for kind, evaluation in evaluator.evaluations.items():
        numbers = {k: v for k, v in coco.summary(evaluation).items() if not isinstance(v, dict) and v >= 0}
        shown = [(_WORDS.get(k, k), f"{v:.3f}") for k, v in numbers.items() if k[:2] == "AP" or k == "AR100"]
        tiles.append((_KINDS[kind], shown))
    more = [("F1", f"{curves.threshold(evaluator.evaluations['bbox'])[1]:.3f}")]
    more += [(name, f"{metrics[key]:.3f}") for name, key in _MORE if key in metrics]
    tiles[0][1].extend(more)
    return tiles


_MORE = (("VOC's AP of 2007", "voc/AP2007"), ("VOC's AP of 2010", "voc/AP2010"), ("loss", "loss"))


def _classes(evaluation, names, above):
    """A row for each class, the best AP first."""
    numbers, counts, f1 = coco.summary(evaluation), curves.counts(evaluation), curves.f1(evaluation)
    at = int(np.argmin(np.abs(curves.SCORES - above)))
    rows = []
    for index, name in enumerate(names):
        row = {"name": name, "color": page.color(index), "objects": 0}
        row |= dict.fromkeys(("ap", "ap50", "precision", "recall", "f1", "score"))
        if name in counts:
            shown, right, objects = counts[name]
            row |= {"objects": objects, "recall": right[at] / objects, "f1": f1[name].max()}
            row |= {"ap": numbers["per_class"][name], "ap50": numbers["per_class_AP50"][name]}
            row["precision"] = right[at] / shown[at] if shown[at] else None
            row["score"] = curves.SCORES[f1[name].argmax()] if f1[name].max() else None
        rows.append(row)
    return sorted(rows, key=lambda row: -1 if row["ap"] is None else row["ap"], reverse=True)


def _lines(values, names, x):
    return [{"name": k, "color": page.color(names.index(k)), "path": page.line(x, y)} for k, y in values.items()]


def _mean(values, x):
    """The path of the mean of the classes; none where one class is the mean."""
    return page.line(x, np.mean(list(values.values()), axis=0)) if len(values) > 1 else None


def _shaded(matrix):
    """Counts of a confusion matrix, with their share of the row."""
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    pairs = zip(matrix.tolist(), shares.round(3).tolist(), strict=True)
    return [[{"count": n, "share": s} for n, s in zip(*row, strict=True)] for row in pairs]


def _covered(results, verdicts):
    """Dicts of an annotation id to the highest score of a right detection of it, and of a wrong one meant for it."""
    found, meant = {}, {}
    for result, verdict in zip(results, verdicts, strict=True):
        scores = {errors.RIGHT: found, "class": meant, "location": meant}.get(verdict.kind)
        if scores is not None:
            scores[verdict.object] = max(scores.get(verdict.object, 0.0), result["score"])
    return found, meant


def _counts(evaluation, results, verdicts):
    """Dict of a kind to its number of errors at each of `curves.SCORES`."""
    scores = {kind: [] for kind in errors.KINDS}
    for result, verdict in zip(results, verdicts, strict=True):
        if verdict.kind in scores:
            scores[verdict.kind].append(result["score"])
    counts = {kind: (np.array(some)[:, None] >= curves.SCORES).sum(0) for kind, some in scores.items()}
    found, meant = _covered(results, verdicts)
    objects = [i for i, one in evaluation.cocoGt.anns.items() if not one.get("iscrowd")]
    covered = np.array([max(found.get(i, 0.0), meant.get(i, 0.0)) for i in objects])
    counts["missed"] = (covered[:, None] < curves.SCORES).sum(0)
    return {kind: some.tolist() for kind, some in counts.items()}


def _photos(evaluator, verdicts, groups):
    """What report.js knows of each photo."""
    dataset, results = evaluator.dataset, evaluator.results
    number_of = {category: number for number, category in enumerate(evaluator.evaluations["bbox"].params.catIds)}
    found, meant = _covered(results, verdicts)
    detections = {image_id: [] for image_id in groups}
    for result, verdict in zip(results, verdicts, strict=True):
        if result["image_id"] in detections and result["score"] >= curves.SCORES[0]:
            x, y, width, height = result["bbox"]
            (box,) = page.rounded([x, y, x + width, y + height])
            kind, number = verdict.kind, number_of[result["category_id"]]
            detections[result["image_id"]].append([*box, number, round(result["score"], 4), kind])
    records = {record.id: record for record in dataset.records}
    photos = []
    for image_id, group in groups.items():
        record, objects = records[image_id], []
        for one in evaluator.truth.imgToAnns[image_id]:
            x, y, width, height = one["bbox"]
            (box,) = page.rounded([x, y, x + width, y + height])
            scores = [round(some.get(one["id"], 0.0), 4) for some in (found, meant)]
            objects.append([*box, number_of[one["category_id"]], int(one.get("iscrowd", 0)), *scores])
        photos.append({
            "name": os.path.basename(record.name), "group": group, "source": page.data(record.pixels()),
            "width": record.width, "height": record.height, "objects": objects, "detections": detections[image_id],
        })  # fmt: skip
    return photos
