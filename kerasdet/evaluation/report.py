"""What an evaluation leaves on disk: numbers, COCO results, curves, and the photos worth looking at."""

import json
import pathlib

import numpy as np

from kerasdet import draw
from kerasdet.data import segments
from kerasdet.evaluation import coco, pairs, plots


def write(evaluator, metrics, folder, pictures=0, worst=20, above=None):
    """Writes the files of a report.

    metrics.json; results.json, and of masks and keypoints results_segm.json and results_keypoints.json (which bare
    pycocotools scores to the same numbers), with pr_curves.png for each; confusion.png, the first pictures of the data
    set as ID.png, and in `worst` those with most errors.

    Args:
        evaluator: an `Evaluator` that has run.
        metrics: what it returned.
        folder: for the files; made if needed.
        pictures: how many of the data set's first images are drawn.
        worst: how many of those with most errors are drawn.
        above: least score of a drawn detection and of an error; by default the evaluation's best threshold.

    Returns:
        List of (name, errors) of the worst images: their file, or "image ID".
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    dataset, above = evaluator.dataset, metrics["threshold"] if above is None else above
    metrics = {"data": dataset.name, "images": len(dataset), **metrics}
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    for kind, evaluation in evaluator.evaluations.items():
        ending = "" if kind == "bbox" else f"_{kind}"
        results = json.dumps(coco.only(evaluator.results, kind))
        (folder / f"results{ending}.json").write_text(results, encoding="utf-8")
        plots.precision_recall(evaluation, folder / f"pr_curves{ending}.png")
    plots.confusion_matrix(evaluator.truth, evaluator.results, folder / "confusion.png", above=above)
    for record in dataset.records[:pictures]:
        beside_truth(evaluator, record, above).save(folder / f"{record.id:06d}.png")
    records = {record.id: record for record in dataset.records}
    ranked = pairs.worst(evaluator.truth, evaluator.results, above=above)[:worst]
    (folder / "worst").mkdir(exist_ok=True)
    for old in (folder / "worst").glob("*.png"):
        old.unlink()
    for place, (number, _) in enumerate(ranked, start=1):
        beside_truth(evaluator, records[number], above).save(folder / "worst" / f"{place:02d}_{number:06d}.png")
    return [(records[number].name, errors) for number, errors in ranked]


def beside_truth(evaluator, record, above):
    """Draws one image twice: with its objects, and with what was found in it.

    Args:
        evaluator: an `Evaluator` that has run.
        record: of its data set.
        above: least score of a drawn detection.

    Returns:
        A PIL image.
    """
    dataset = evaluator.dataset
    found = [one for one in evaluator.found(record.id) if one["score"] >= above]
    more = {}
    if found and "segmentation" in found[0]:
        more["masks"] = [segments.decode(one["segmentation"], record.height, record.width) for one in found]
    if found and "keypoints" in found[0]:
        more["keypoints"] = [np.reshape(one["keypoints"], (-1, 3)) for one in found]
    seen = draw.boxes(
        record.pixels(),
        [(x, y, x + width, y + height) for x, y, width, height in (one["bbox"] for one in found)],
        [dataset.category_ids.index(one["category_id"]) for one in found],
        dataset.classes,
        [one["score"] for one in found],
        skeleton=dataset.skeleton,
        **more,
    )
    return draw.beside(draw.truth(record, dataset), seen, ("ground truth", "detections"))
