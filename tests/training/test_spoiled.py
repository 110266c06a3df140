"""BCCD spoiled in six ways: pre-flight or probe names the cause; unspoiled data sets draw no complaint.

KERASDET_DATA names a folder with `bccd`, `raccoon`, `nuclei` and `coco`. The trainings of the probe take minutes:
KERASDET_DATA=… pytest -m "slow or not slow" tests/training/test_spoiled.py
"""

import importlib
import json
import os
import pathlib
import re
import shutil

import keras
import pytest
from PIL import Image

from kerasdet import data
from kerasdet import load as loading
from kerasdet.data import validate
from kerasdet.training import preflight as flight
from kerasdet.training import probe

pytestmark = pytest.mark.skipif("KERASDET_DATA" not in os.environ, reason="KERASDET_DATA names no folder of real data")
REAL = pathlib.Path(os.environ.get("KERASDET_DATA", "/nowhere"))
CORNERS = re.compile(
    r"<xmin>(\d+)</xmin>\s*<ymin>(\d+)</ymin>\s*<xmax>(\d+)</xmax>\s*<ymax>(\d+)</ymax>",
)
LINE = "<xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax>"


def build(name, classes, **changes):
    """The config's model; a small backbone takes the place of its own, for anchors do not depend on it."""
    config = importlib.import_module(f"configs.{name}").get_config()
    config.model.update({"backbone_weights": None, **changes})
    config.model.backbone = None
    config.model.backbone = {"name": "resnet18", "width": 16}
    return loading.build(config.model, classes), config.train.get("transforms", ())


def spoiled(folder, change):
    """A copy of BCCD: pages with other corners beside links to the pictures."""
    shutil.copytree(REAL / "bccd" / "Annotations", folder / "Annotations")
    shutil.copytree(REAL / "bccd" / "ImageSets", folder / "ImageSets")
    if not (folder / "JPEGImages").exists():
        (folder / "JPEGImages").symlink_to(REAL / "bccd" / "JPEGImages")
    for page in (folder / "Annotations").glob("*.xml"):
        text = page.read_text()
        page.write_text(CORNERS.sub(lambda found: LINE.format(*change(*map(int, found.groups()))), text))
    return data.read(folder, "train"), data.read(folder, "val")


def faults(train, validation=None, images=40, **changes):
    model, transforms = build("retinanet.mobilenetv2_fpn_bccd", train.classes, **changes)
    return flight.preflight(model, train, validation, transforms, images)


def test_relative_boxes(tmp_path):
    report = faults(*spoiled(tmp_path, lambda a, b, c, d: (a / 640, b / 480, c / 640, d / 480)))
    assert report.hopeless and "the boxes look relative" in report.faults[0]


def test_xywh_for_xyxy(tmp_path):
    report = faults(*spoiled(tmp_path, lambda a, b, c, d: (a, b, c - a, d - b)))
    assert report.hopeless and "the boxes look like x, y, width, height" in report.faults[0]


def test_xyxy_for_xywh(tmp_path):
    """The other way around, as COCO json."""

    def corners(row):
        x, y, width, height = row["bbox"]
        row["bbox"] = [x, y, x + width, y + height]

    path, root = as_coco(tmp_path, corners)
    report = faults(data.read(path, images=root))
    assert report.hopeless and "the boxes look like x1, y1, x2, y2" in report.faults[0]


def as_coco(folder, change, categories=None):
    path = str(folder / "labels.json")
    root = validate.write(data.read(REAL / "bccd", "train"), path)
    content = json.loads(pathlib.Path(path).read_text())
    for row in content["annotations"]:
        change(row)
    content["categories"] = categories or content["categories"]
    pathlib.Path(path).write_text(json.dumps(content))
    return path, root


def test_class_ids_off_by_one(tmp_path):
    """Ids from 0 for categories from 1: the reader refuses. With a category for the background: the pre-flight."""

    def lower(row):
        row["category_id"] -= 1

    path, root = as_coco(tmp_path, lower)
    with pytest.raises(ValueError, match=r"has category_id 0, which is not among the categories \[1, 2, 3\]"):
        data.read(path, images=root)
    names = ("background", "Platelets", "RBC", "WBC")
    path, root = as_coco(tmp_path, lower, [{"id": i, "name": name} for i, name in enumerate(names)])
    lines = faults(data.read(path, images=root)).faults
    assert "objects are of class 'background', which is not an object: ids are off by one" in lines[0]
    assert "1 of 4 classes have no object, WBC; ids may be off by one" in lines[1]
    names = ("cell", "Platelets", "RBC", "WBC")
    path, root = as_coco(tmp_path, lambda row: None, [{"id": i, "name": name} for i, name in enumerate(names)])
    (line,) = faults(data.read(path, images=root)).faults
    assert "1 of 4 classes have no object, cell; ids may be off by one" in line


def test_anchors_8_times_too_large():
    train = data.read(REAL / "bccd", "train")
    (line,) = faults(train, scale=32.0).faults
    assert line.startswith("anchors miss the objects, ") and '"scale": ' in line


def test_exif_rotated_files(tmp_path):
    """A tag turns the pictures; the boxes stay where they were. Turned boxes for turned pictures draw no complaint."""
    exif = Image.Exif()
    exif[0x0112] = 6
    block = exif.tobytes()
    (tmp_path / "JPEGImages").mkdir()
    for source in (REAL / "bccd" / "JPEGImages").glob("*.jpg"):
        tag = b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block
        (tmp_path / "JPEGImages" / source.name).write_bytes(b"\xff\xd8" + tag + source.read_bytes()[2:])
    report = faults(*spoiled(tmp_path, lambda *corners: corners))
    counts = [re.search(r"(\d+) pictures are turned by their EXIF orientation", fault) for fault in report.faults]
    # Of the others all boxes fit both ways.
    train, val = (int(found[1]) for found in counts if found)
    assert 150 < train <= 205 and 60 < val <= 87
    shutil.rmtree(tmp_path / "Annotations")
    shutil.rmtree(tmp_path / "ImageSets")
    report = faults(*spoiled(tmp_path, lambda a, b, c, d: (481 - d, a, 481 - b, c)))
    assert report.faults == []


@pytest.mark.parametrize("name, config, parts", [
    ("bccd", "retinanet.mobilenetv2_fpn_bccd", ({"split": "train"}, {"split": "val"})),
    ("raccoon", "retinanet.mobilenetv2_fpn_raccoon", ({"split": "train"}, {"split": "val"})),
    ("nuclei/instances.json", "retinanet.own_data", ({"images": "nuclei/images"},)),
    ("coco", "retinanet.r50_fpn_coco", ({},)),
    ("bccd", "faster_rcnn.mobilenetv2_fpn_bccd", ({"split": "train"}, {"split": "val"})),
    ("raccoon", "faster_rcnn.own_data", ({"split": "train"}, {"split": "val"})),
    ("coco", "faster_rcnn.coco", ({},)),
])  # fmt: skip
def test_unspoiled_data_draws_no_complaint(name, config, parts):
    parts = [{**part, **({"images": REAL / part["images"]} if "images" in part else {})} for part in parts]
    train, *validation = (data.read(REAL / name, **part) for part in parts)
    model, transforms = build(config, train.classes)
    report = flight.preflight(model, train, *validation, transforms=transforms, images=200)
    print(report)
    assert report.faults == []


@pytest.mark.slow
@pytest.mark.parametrize("factor, blame", [(1, None), (100, "learning rate")])
def test_learning_rate_100_times_too_high(factor, blame):
    """About 5 minutes each on two cores; KERASDET_IMAGENET names MobileNetV2's weights."""
    config = importlib.import_module("configs.retinanet.mobilenetv2_fpn_bccd").get_config()
    config.model.backbone_weights = os.environ["KERASDET_IMAGENET"]
    train = data.read(REAL / "bccd", "train")

    def make():
        keras.utils.set_random_seed(0)
        return loading.build(config.model, train.classes)

    verdict = probe.probe(make, train, factor * config.train.learning_rate, config.train.batch_size)
    assert verdict.blame == blame, verdict
