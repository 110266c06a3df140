"""Writes the report of an evaluation: numbers, COCO results, curves, and the photos with the most errors."""

import json
import pathlib

import numpy as np

from kerasdet import draw
from kerasdet.data import coco as annotations
from kerasdet.data import segments
from kerasdet.evaluation import coco, errors, pairs, plots
from kerasdet.report import evaluation as page


def write(evaluator, metrics, folder, pictures=0, worst=20, above=None):
    """Writes the files of a report.

    They are metrics.json, with the number and the cost of each kind of error; ground_truth.json, which is COCO's
    whatever the data set's format was; results.json, with results_segm.json and results_keypoints.json for masks and
    keypoints (plain pycocotools computes the same numbers from them), and pr_curves.png for each; confusion.png; the
    first pictures of the data set as ID.png; in `worst` those with the most errors; and report.html, a page of it.

    Args:
        evaluator: an `Evaluator` that has run.
        metrics: the metrics that it returned.
        folder: folder for the files; created if needed.
        pictures: how many of the data set's first images to draw.
        worst: how many of the images with the most errors to draw.
        above: minimum score of drawn detections and of errors; by default the evaluation's best threshold.

    Returns:
        Dict of a kind of error to its "count" and its "cost" (see `errors`); and a list of (name, number of errors,
        dict of their kinds) of the worst images, whose name is their file or "image ID".
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    dataset, above = evaluator.dataset, metrics["threshold"] if above is None else above
    truth, results, boxes = evaluator.truth, evaluator.results, evaluator.evaluations["bbox"]
    verdicts = errors.judge(boxes, results)
    by_image = errors.count(truth, results, verdicts, above)
    kinds = {
        kind: {"count": sum(some.get(kind, 0) for some in by_image.values()), "cost": cost}
        for kind, cost in errors.costs(boxes, results, verdicts).items()
    }
    metrics = {"data": dataset.name, "images": len(dataset), **metrics, "errors": kinds}
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    scored = {"info": {}, **annotations.content(dataset)}
    for image, record in zip(scored["images"], dataset.records, strict=True):
        image["file_name"] = record.name
    (folder / "ground_truth.json").write_text(json.dumps(scored), encoding="utf-8")
    for kind, evaluation in evaluator.evaluations.items():
        ending = "" if kind == "bbox" else f"_{kind}"
        own = json.dumps(coco.only(results, kind))
        (folder / f"results{ending}.json").write_text(own, encoding="utf-8")
        plots.precision_recall(evaluation, folder / f"pr_curves{ending}.png")
    matrix = plots.confusion_matrix(truth, results, folder / "confusion.png", above=above)
    for record in dataset.records[:pictures]:
        beside_truth(evaluator, record, above).save(folder / f"{record.id:06d}.png")
    records = {record.id: record for record in dataset.records}
    ranked = pairs.worst(truth, results, above=above)[:worst]
    (folder / "worst").mkdir(exist_ok=True)
    for old in (folder / "worst").glob("*.png"):
        old.unlink()
    for rank, (image_id, _) in enumerate(ranked, start=1):
        beside_truth(evaluator, records[image_id], above).save(folder / "worst" / f"{rank:02d}_{image_id:06d}.png")
    first = [image_id for image_id, _ in ranked]
    page.write(evaluator, metrics, verdicts, matrix, first, folder / "report.html", above)
    return kinds, [(records[image_id].name, number, by_image.get(image_id, {})) for image_id, number in ranked]


def beside_truth(evaluator, record, above):
    """Draws one image twice: with its objects and with its detections.

    Args:
        evaluator: an `Evaluator` that has run.
        record: a record of its data set.
        above: minimum score of a drawn detection.

    Returns:
        A PIL image.
    """
    dataset = evaluator.dataset
    detections = [result for result in evaluator.found(record.id) if result["score"] >= above]
    more = {}
    if detections and "segmentation" in detections[0]:
        more["masks"] = [segments.decode(d["segmentation"], record.height, record.width) for d in detections]
    if detections and "keypoints" in detections[0]:
        more["keypoints"] = [np.reshape(d["keypoints"], (-1, 3)) for d in detections]
    drawn = draw.boxes(
        record.pixels(),
        [(x, y, x + width, y + height) for x, y, width, height in (d["bbox"] for d in detections)],
        [dataset.category_ids.index(d["category_id"]) for d in detections],
        dataset.classes,
        [d["score"] for d in detections],
        skeleton=dataset.skeleton,
        **more,
    )
    return draw.beside(draw.truth(record, dataset), drawn, ("ground truth", "detections"))
