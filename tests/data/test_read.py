"""`read`: each format is recognized by the content of its path, and anything else is refused with advice."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from kerasdet.data import read, shapes
from kerasdet.data.parts import aligned, parts
from kerasdet.data.read import splits

BOX = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}
XML = """
<annotation><object>
    <name>egg</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox>
</object></annotation>
""".strip()


def _coco(path, count=1):
    os.makedirs(path.parent, exist_ok=True)
    images = [{"id": i, "file_name": f"{i}.png", "width": 9, "height": 9} for i in range(1, count + 1)]
    path.write_text(json.dumps({"images": images, "categories": [{"id": 1, "name": "egg"}], "annotations": [BOX]}))


def _pictures(folder, count=1):
    os.makedirs(folder)
    for i in range(1, count + 1):
        Image.new("RGB", (9, 9)).save(folder / f"{i}.png")
    return folder


def test_shapes(monkeypatch):
    monkeypatch.setitem(shapes.COUNTS, "val", 2)
    assert read("shapes", "val", seed=3).records[1].boxes.tolist() == shapes.picture("val", 1, 3).boxes.tolist()


def test_json_file(tmp_path):
    _coco(tmp_path / "labels.json")
    dataset = read(tmp_path / "labels.json", images=_pictures(tmp_path / "photos"), keypoints=["tip"])
    assert dataset.records[0].boxes.tolist() == [[1, 2, 4, 6]] and dataset.keypoints == ("tip",)


@pytest.mark.parametrize("place", ["val2017", "images/val2017", "images"])
def test_coco_folder(tmp_path, place):
    _coco(tmp_path / "annotations/instances_val2017.json", 2)
    _coco(tmp_path / "annotations/instances_train2017.json")
    _pictures(tmp_path / place, 2)
    for split in ("val", "val2017"):
        dataset = read(tmp_path, split)
        assert len(dataset) == 2 and dataset.name == "instances_val2017"
        assert dataset.records[1].image == str(tmp_path / place / "2.png")


def test_coco_folder_with_images_elsewhere(tmp_path):
    _coco(tmp_path / "set/annotations/instances_all.json")
    photos = _pictures(tmp_path / "photos")
    assert read(tmp_path / "set", images=photos).records[0].image == str(photos / "1.png")
    with pytest.raises(FileNotFoundError, match="no image folder for all"):
        read(tmp_path / "set")


@pytest.mark.parametrize("split", [None, "v", "test"])
def test_ambiguous_coco_split_is_refused(tmp_path, split):
    for name in ("val2014", "val2017"):
        _coco(tmp_path / f"annotations/instances_{name}.json")
    with pytest.raises(ValueError, match=r"\['val2014', 'val2017'\].*does not choose one"):
        read(tmp_path, split)


@pytest.mark.parametrize("inner", ["Annotations", "."])
def test_voc_folder(tmp_path, inner):
    (tmp_path / inner).mkdir(exist_ok=True)
    (tmp_path / inner / "1.xml").write_text(XML)
    Image.new("RGB", (9, 9)).save(tmp_path / "1.png")
    (tmp_path / "val.txt").write_text("1\n")
    dataset = read(tmp_path, "val", classes=["crack", "egg"])
    assert dataset.records[0].boxes.tolist() == [[0, 0, 4, 4]] and dataset.records[0].classes.tolist() == [1]


def test_unknown_formats_are_refused_with_advice(tmp_path):
    with pytest.raises(ValueError, match="holds no annotations of a known format.*COCO.*VOC") as error:
        read(tmp_path)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        read(tmp_path / "nowhere")


def test_json_file_needs_its_images_and_no_split(tmp_path):
    _coco(tmp_path / "labels.json")
    photos = _pictures(tmp_path / "photos")
    with pytest.raises(ValueError, match=r"labels\.json.*images=FOLDER"):
        read(tmp_path / "labels.json")
    with pytest.raises(ValueError, match="no split"):
        read(tmp_path / "labels.json", "train", images=photos)


def test_foreign_options_are_refused(tmp_path):
    with pytest.raises(TypeError, match="images"):
        read("shapes", "val", images="photos")


def test_coco_file_next_to_the_images(tmp_path):
    for split in ("train", "valid"):
        _coco(tmp_path / split / "_annotations.coco.json")
        Image.new("RGB", (9, 9)).save(tmp_path / split / "1.png")
    assert splits(tmp_path) == ["train", "valid"]
    assert read(tmp_path, "val").records[0].image == str(tmp_path / "valid" / "1.png")


def test_splits(tmp_path):
    assert splits("shapes") == ["train", "val"]
    for name in ("train2017", "val2017"):
        _coco(tmp_path / f"annotations/instances_{name}.json")
    assert splits(tmp_path) == ["train", "val"]


def test_table_has_no_split(tmp_path):
    (tmp_path / "boxes.csv").write_text("1.png,1,2,3,4,egg\n")
    _pictures(tmp_path / "photos")
    dataset = read(tmp_path / "boxes.csv", images=tmp_path / "photos", format="xywh")
    assert dataset.records[0].boxes.tolist() == [[1, 2, 4, 6]] and splits(tmp_path / "boxes.csv") == []
    with pytest.raises(ValueError, match="give no split"):
        read(tmp_path / "boxes.csv", "train", format="xywh")


def test_coco_file_with_lists_of_splits(tmp_path):
    """The whole, or the images that a list names, with or without their endings and in its order."""
    _coco(tmp_path / "instances.json", 3)
    _pictures(tmp_path / "images", 3)
    (tmp_path / "train.txt").write_text("3\n1.png\n\n")
    (tmp_path / "val.txt").write_text("2\n")
    assert splits(tmp_path) == ["train", "val"] and [r.id for r in read(tmp_path).records] == [1, 2, 3]
    dataset = read(tmp_path, "train")
    assert [r.id for r in dataset.records] == [3, 1] and dataset.name == f"{tmp_path.name} train"
    assert dataset.records[1].boxes.tolist() == [[1, 2, 4, 6]]
    assert dataset.records[1].image == str(tmp_path / "images" / "1.png")
    with pytest.raises(FileNotFoundError, match=r"no split 'test'.*\['train', 'val'\]"):
        read(tmp_path, "test")
    (tmp_path / "val.txt").write_text("2\n4\nx\n")
    with pytest.raises(ValueError, match=r"val.txt: 2 of 3 names are not images of instances.json, first '4'"):
        read(tmp_path, "val")
    _coco(tmp_path / "keypoints.json")
    with pytest.raises(ValueError, match="several JSON files, instances.json, keypoints.json"):
        read(tmp_path, "train")


def test_coco_file_among_its_images(tmp_path):
    _coco(tmp_path / "labels.json")
    Image.new("RGB", (9, 9)).save(tmp_path / "1.png")
    assert read(tmp_path).records[0].image == str(tmp_path / "1.png") and splits(tmp_path) == []


FOREIGN = {
    "via.json": (
        '{"a.jpg12": {"filename": "a.jpg", "regions": [{"shape_attributes": {"name": "rect"}}]}}',
        "VGG Image",
    ),
    "tasks.json": ('[{"id": 1, "annotations": [{"completed_by": 1, "result": []}], "data": {}}]', "Label Studio"),
    "annotations.xml": ("<annotations><version>1.1</version></annotations>", "CVAT"),
    "a-asset.json": ('{"asset": {"format": "jpg"}, "regions": []}', "VoTT"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_formats_of_other_tools_are_named(tmp_path, name):
    text, tool = FOREIGN[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=rf"this is .*{tool}.*export as") as error:
        read(tmp_path)
    assert len(str(error.value)) < 300 + len(str(tmp_path)) and name in str(error.value)


def test_parts_by_the_names_of_files_and_folders(tmp_path):
    """Photos of the same name in both parts are told apart by their folders."""
    for number, part in enumerate(("Train", "valid", "TEST")):
        _coco(tmp_path / f"annotations/{part}.json")
        _pictures(tmp_path / f"images/{part}", 1 + number)
    assert splits(tmp_path) == ["TEST", "Train", "valid"]
    for part in splits(tmp_path):
        assert read(tmp_path, part).records[0].image == str(tmp_path / f"images/{part}/1.png")


def test_the_annotations_may_lie_elsewhere(tmp_path):
    _coco(tmp_path / "labels/all.json")
    photos = _pictures(tmp_path / "deep/photos")
    dataset = read(tmp_path / "deep", annotations=tmp_path / "labels/all.json")
    assert dataset.records[0].image == str(photos / "1.png")
    with pytest.raises(FileNotFoundError, match="nowhere.json does not exist"):
        read(photos, annotations=tmp_path / "nowhere.json")


def test_the_format_may_be_said(tmp_path):
    _coco(tmp_path / "labels.json")
    _pictures(tmp_path / "images")
    (tmp_path / "images/1.xml").write_text(XML)
    assert read(tmp_path).name == tmp_path.name and read(tmp_path, format="coco").name == "labels"
    with pytest.raises(ValueError, match="format must be one of .*'xyxy'.*'labelme'.*got 'paper'"):
        read(tmp_path, format="paper")
    with pytest.raises(ValueError, match="is read as Pascal VOC: format='xywh' is for tables"):
        read(tmp_path, format="xywh")


def _boxed(tmp_path, *names):
    """A YOLO folder with twelve photos in images/all, and a yaml that names some parts."""
    (tmp_path / "labels/all").mkdir(parents=True)
    (tmp_path / "images/all").mkdir(parents=True)
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"images/all/{number}.png")
        (tmp_path / f"labels/all/{number}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    lines = [f"{name}: images/all" for name in names]
    (tmp_path / "set.yaml").write_text("\n".join([*lines, "names: [egg]"]))
    return tmp_path


def test_parts_that_are_the_same_photos_are_split(tmp_path):
    train, validation = parts(_boxed(tmp_path, "train", "val"))
    assert len(train) + len(validation) == 12 and len(validation)
    assert any("its parts 'train' and 'val' are the same 12 photos, which are split" in note for note in train.notes)


def test_what_is_for_testing_is_never_trained_on(tmp_path):
    folder = _boxed(tmp_path, "val")
    assert sum(map(len, parts(folder))) == 12
    for names in (("test",), ("val", "test")):
        (tmp_path / "set.yaml").write_text("\n".join([*(f"{name}: images/all" for name in names), "names: [egg]"]))
        with pytest.raises(ValueError, match="it is unclear which to train on"):
            parts(folder)


def test_classes_of_another_order_are_brought_into_that_of_training(tmp_path):
    for part, categories in (("train", "egg crack"), ("val", "crack egg"), ("test", "crack egg owl")):
        _coco(tmp_path / f"annotations/instances_{part}.json")
        path = tmp_path / f"annotations/instances_{part}.json"
        content = json.loads(path.read_text())
        content["categories"] = [{"id": 5 + i, "name": name} for i, name in enumerate(categories.split())]
        content["annotations"] = [{**BOX, "category_id": 5 + i, "id": i} for i in range(len(content["categories"]))]
        path.write_text(json.dumps(content))
        _pictures(tmp_path / part)
    train, validation = parts(tmp_path)
    assert train.classes == validation.classes == ("egg", "crack") and validation.category_ids == (6, 5)
    assert validation.records[0].classes.tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"instances_test: 1 objects are of class 'owl', which instances_train lacks"):
        aligned(read(tmp_path, "test"), train)
