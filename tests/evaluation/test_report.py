"""The report's files: bare pycocotools repeats the number from them."""

import contextlib
import io
import json

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kerasdet import data
from kerasdet.evaluation import coco, report


class Stub:
    """What `report.write` needs of an evaluator that has run: half of the objects are found, one of them badly."""

    def __init__(self, dataset):
        self.dataset, self.truth, self.results = dataset, coco.ground_truth(dataset), []
        for record in dataset.records:
            for number, (x1, y1, x2, y2) in enumerate(record.boxes.tolist()[::2]):
                self.results.append({
                    "image_id": record.id, "score": 0.9 - 0.1 * number,
                    "category_id": dataset.category_ids[record.classes[2 * number]],
                    "bbox": [x1, y1, (x2 - x1) * (0.6 if number else 1), y2 - y1],
                })  # fmt: skip
        self.evaluations = {"bbox": coco.evaluate(self.truth, self.results, "bbox")}

    def found(self, image_id):
        return [result for result in self.results if result["image_id"] == image_id]


def test_pycocotools_repeats_the_number(tmp_path):
    shapes = data.read("shapes", "val")
    few = data.Dataset("few", shapes.classes, shapes.records[:6], category_ids=tuple(range(3, 3 + len(shapes.classes))))
    stub = Stub(few)
    metrics = {"threshold": 0.3}
    report.write(stub, metrics, tmp_path, worst=1)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "ground_truth.json"))
        bare = COCOeval(truth, truth.loadRes(str(tmp_path / "results.json")), "bbox")
        bare.evaluate()
        bare.accumulate()
        bare.summarize()
    precision = stub.evaluations["bbox"].eval["precision"]
    np.testing.assert_allclose(bare.eval["precision"], precision)
    assert (
        0.2 < bare.stats[0] < 0.9 and json.loads((tmp_path / "ground_truth.json").read_text())["images"][0]["file_name"]
    )
