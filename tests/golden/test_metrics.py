"""COCO and VOC scores against the reference values."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from kerasdet.data import coco as files
from kerasdet.data.dataset import Dataset, Record
from kerasdet.evaluation import coco, voc
from tests.golden import goldens

METRICS = goldens.load("metrics")


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)


def read(name):
    return json.loads((goldens.FOLDER / f"metrics_{name}.json").read_text())


@pytest.fixture
def truth():
    return COCO(goldens.FOLDER / "metrics_gt.json")


def as_dataset(content):
    """The annotation file as a data set, which loses nothing that the COCO metrics look at."""
    numbers = [category["id"] for category in content["categories"]]
    count = next(len(one["keypoints"]) // 3 for one in content["annotations"] if "keypoints" in one)
    records = []
    for image in content["images"]:
        found = [one for one in content["annotations"] if one["image_id"] == image["id"]]
        points = np.reshape([one.get("keypoints", [0] * 3 * count) for one in found], (-1, count, 3))
        corners = [[one["bbox"][0], one["bbox"][1], *np.add(one["bbox"][:2], one["bbox"][2:])] for one in found]
        records.append(
            Record(
                id=image["id"],
                image=image["file_name"],
                height=image["height"],
                width=image["width"],
                boxes=np.reshape(corners, (-1, 4)).astype(np.float32),
                classes=np.array([numbers.index(one["category_id"]) for one in found], np.int32),
                crowds=np.array([one["iscrowd"] for one in found], bool),
                areas=np.array([one["area"] for one in found], np.float32),
                segments=[one["segmentation"] for one in found],
                keypoints=files.moved(points.astype(np.float32), files.MIDDLE),
            )
        )
    names = [category["name"] for category in content["categories"]]
    return Dataset("goldens", names, records, numbers, keypoints=[f"point {index}" for index in range(count)])


@pytest.mark.parametrize("name", goldens.cases("metrics", "coco_"))
def test_coco(name, truth):
    case, kind = METRICS[name], name.split("_")[1]
    run = coco.evaluate(truth, read(f"det_{kind}"), kind, case["image_ids"])
    assert list(run.params.catIds) == list(case["class_ids"])
    close(run.eval["precision"], case["precision64"])
    close(run.eval["recall"], case["recall64"])
    close([coco.summary(run)[number] for number in coco.NUMBERS[kind]], case["stats64"])


@pytest.mark.parametrize("name", goldens.cases("metrics", "coco_"))
def test_coco_from_a_dataset(name):
    case, kind = METRICS[name], name.split("_")[1]
    truth = coco.ground_truth(as_dataset(read("gt")))
    numbers = coco.score(truth, read(f"det_{kind}"), kind, case["image_ids"])
    close([numbers[number] for number in coco.NUMBERS[kind]], case["stats64"])


@pytest.mark.parametrize("name", goldens.cases("metrics", "voc_"))
def test_voc(name, truth):
    case = METRICS[name]
    threshold = round(float(case["iou_threshold"]), 6)
    scores = voc.score(truth, read("det_bbox"), iou=threshold, plus_one=bool(case["plus_one"]))
    per_class = [scores["per_class"][truth.cats[number]["name"]] for number in case["class_ids"]]
    close([one["AP2007"] for one in per_class], case["ap07_64"])
    close([one["AP2010"] for one in per_class], case["ap12_64"])
    close([one["recall"] for one in per_class], case["recall_last64"])
    assert [one["positives"] for one in per_class] == list(case["num_positive"])
    assert [one["detections"] for one in per_class] == list(case["num_detections"])
    close(scores["AP2007"], np.mean(case["ap07_64"]))
    close(scores["AP2010"], np.mean(case["ap12_64"]))
