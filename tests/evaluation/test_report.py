"""The report's files: bare pycocotools repeats the number from them."""

import contextlib
import io
import json
import pathlib

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kerasdet import data
from kerasdet.data.read import splits
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


CASES = pathlib.Path(__file__).parents[1] / "cases"


def scenes():
    shapes = data.read("shapes", "val")
    return data.Dataset(
        "few", shapes.classes, shapes.records[:6], category_ids=tuple(range(3, 3 + len(shapes.classes)))
    )


def folder(name):
    path = str(CASES / name)
    return lambda: data.read(path, (splits(path) or [None])[0])


@pytest.mark.parametrize(
    "read",
    [scenes, *map(folder, ("yolo_other_yaml", "voc_images_folder", "vott_csv", "labelme", "kitti", "coco_huge_ids"))],
)
def test_pycocotools_repeats_the_number(read, tmp_path):
    stub = Stub(read())
    report.write(stub, {"threshold": 0.3}, tmp_path, worst=1)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "ground_truth.json"))
        bare = COCOeval(truth, truth.loadRes(str(tmp_path / "results.json")), "bbox")
        bare.evaluate()
        bare.accumulate()
        bare.summarize()
    precision = stub.evaluations["bbox"].eval["precision"]
    np.testing.assert_allclose(bare.eval["precision"], precision)
    assert 0 < bare.stats[0] and (precision > -1).any()
    names = [image["file_name"] for image in json.loads((tmp_path / "ground_truth.json").read_text())["images"]]
    assert names == [record.name for record in stub.dataset.records]


def test_errors_are_counted_by_kind(tmp_path):
    stub = Stub(scenes())
    kinds, ((name, number, own),) = report.write(stub, {"threshold": 0.3}, tmp_path, worst=1)
    assert json.loads((tmp_path / "metrics.json").read_text())["errors"] == kinds
    assert kinds["missed"]["count"] > 5 and kinds["missed"]["cost"] > 0.1
    assert name in {record.name for record in stub.dataset.records} and number >= own["missed"] > 0
