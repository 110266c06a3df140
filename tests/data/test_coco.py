"""COCO reader: values of small files written here, every refusal, and a real part of val2017, if available."""

import copy
import json
import os
import re

import numpy as np
import pytest
from PIL import Image

from kerasdet.data import coco, files

RLE = {"size": [40, 60], "counts": [0, 2400]}
CONTENT = {
    "categories": [{"id": 7, "name": "crack"}, {"id": 3, "name": "egg"}],
    "images": [
        {"id": 12, "file_name": "b.png", "width": 60, "height": 40},
        {"id": 5, "file_name": "a.png", "width": 50, "height": 30},
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 12,
            "category_id": 7,
            "bbox": [10, 5, 20, 15],
            "area": 150.5,
            "segmentation": [[10, 5, 30, 5, 30, 20]],
        },
        {"id": 2, "image_id": 12, "category_id": 3, "bbox": [-4, 30, 10.5, 20], "iscrowd": 1, "segmentation": RLE},
    ],
}


@pytest.fixture
def write(tmp_path):
    """Writes the images and a changed copy of CONTENT; returns the two paths that `coco.read` takes."""
    Image.new("RGB", (60, 40)).save(tmp_path / "b.png")
    Image.new("RGB", (50, 30)).save(tmp_path / "a.png")

    def write(change=lambda content: None):
        content = copy.deepcopy(CONTENT)
        change(content)
        path = tmp_path / "labels.json"
        path.write_text(json.dumps(content))
        return str(path), str(tmp_path)

    return write


def test_values(write):
    dataset = coco.read(*write())
    first, second = dataset.records
    assert (dataset.name, dataset.classes, dataset.category_ids) == ("labels", ("egg", "crack"), (3, 7))
    assert (first.id, first.height, first.width, os.path.basename(first.image)) == (12, 40, 60, "b.png")
    np.testing.assert_array_equal(first.boxes, np.float32([[10, 5, 30, 20], [0, 30, 6.5, 40]]))
    np.testing.assert_array_equal(first.classes, [1, 0])
    np.testing.assert_array_equal(first.crowds, [False, True])
    np.testing.assert_array_equal(first.areas, np.float32([150.5, 65]))
    assert first.segments == [[[10, 5, 30, 5, 30, 20]], RLE]
    assert first.boxes.dtype == first.areas.dtype == np.float32 and first.classes.dtype == np.int32
    assert first.keypoints is None and dataset.keypoints == () and dataset.notes == []


def test_image_without_annotations_is_background(write):
    record = coco.read(*write()).records[1]
    assert (record.id, record.height, record.width) == (5, 30, 50)
    assert record.boxes.shape == (0, 4) and record.classes.shape == record.crowds.shape == record.areas.shape == (0,)
    assert record.segments == []


def test_no_annotations_at_all(write):
    dataset = coco.read(*write(lambda content: content.update(annotations=[])))
    assert [len(record.boxes) for record in dataset.records] == [0, 0]


@pytest.mark.parametrize("bbox", [[60, 5, 10, 10], [10, -8, 10, 8], [10, 5, 0, 10], [10, 5, 10, -3], [20, 10, 1e-9, 5]])
def test_boxes_without_area_are_dropped_and_noted(write, bbox):
    paths = write(lambda content: content["annotations"][0].update(bbox=bbox))
    dataset = coco.read(*paths)
    np.testing.assert_array_equal(dataset.records[0].boxes, np.float32([[0, 30, 6.5, 40]]))
    np.testing.assert_array_equal(dataset.records[0].classes, [0])
    assert dataset.records[0].segments == [RLE]
    (note,) = dataset.notes
    assert paths[0] in note and "annotation 1 of image 12" in note and "b.png" in note


def test_masks_need_every_segmentation(write):
    dataset = coco.read(*write(lambda content: content["annotations"][1].pop("segmentation")))
    assert dataset.records[0].segments is None
    assert "1 of 2 annotations" in dataset.notes[0] and "first annotation 2" in dataset.notes[0]


def _posed(content):
    content["categories"][1]["keypoints"] = ["nose", "tail"]
    content["annotations"][0]["keypoints"] = [12, 6.5, 2, 28, 19, 1]


def test_keypoints(write):
    dataset = coco.read(*write(_posed))
    assert dataset.keypoints == ("nose", "tail")
    np.testing.assert_array_equal(
        dataset.records[0].keypoints, np.float32([[[12.5, 7, 2], [28.5, 19.5, 1]], np.zeros([2, 3])])
    )
    assert dataset.records[1].keypoints.shape == (0, 2, 3)


def test_skeleton(write):
    """The file counts points from 1; lines to points that there are not are left out."""

    def joined(content):
        _posed(content)
        content["categories"][1]["skeleton"] = [[1, 2], [2, 3]]

    dataset = coco.read(*write(joined))
    assert dataset.skeleton == ((0, 1),)
    assert coco.content(dataset)["categories"][0]["skeleton"] == [[1, 2]]
    assert coco.read(*write(_posed)).skeleton == ()


def test_keypoints_are_named_by_the_caller_or_dropped(write):
    paths = write(lambda content: content["annotations"][0].update(keypoints=[12, 6.5, 2]))
    assert coco.read(*paths, keypoints=["nose"]).records[0].keypoints[0].tolist() == [[12.5, 7, 2]]
    unnamed = coco.read(*paths)
    assert unnamed.records[0].keypoints is None and "keypoints are dropped" in unnamed.notes[0]


def _photo(path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (60, 40)).save(path, exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("stated", [True, False])
def test_size_of_the_upright_picture(write, tmp_path, orientation, stated):
    _photo(tmp_path / "photo.jpg", orientation)

    def change(content):
        content["images"][0]["file_name"] = "photo.jpg"
        if not stated:
            del content["images"][0]["width"], content["images"][0]["height"]

    dataset = coco.read(*write(change))
    sideways = orientation >= 5
    assert (dataset.records[0].height, dataset.records[0].width) == ((60, 40) if sideways else (40, 60))
    assert any("EXIF" in note and "photo.jpg" in note for note in dataset.notes) == (sideways and stated)


def test_size_stated_upright_is_kept(write, tmp_path):
    _photo(tmp_path / "photo.jpg", 6)
    upright = {"file_name": "photo.jpg", "width": 40, "height": 60}

    def change(content):
        content["images"][0].update(upright)
        content["annotations"][1]["segmentation"] = {"size": [60, 40], "counts": [0, 2400]}

    dataset = coco.read(*write(change))
    assert (dataset.records[0].height, dataset.records[0].width) == (60, 40) and dataset.notes == []


def test_stated_sizes_cost_no_decoding(write, monkeypatch):
    monkeypatch.setattr(files.Image, "open", lambda path: pytest.fail(f"{path} was opened"))
    assert len(coco.read(*write())) == 2


def test_ignored_category_hides_every_class(write):
    def change(content):
        content["categories"].append({"id": 5, "name": "ignored regions"})
        content["annotations"][0]["category_id"] = 5

    dataset = coco.read(*write(change))
    record = dataset.records[0]
    assert (dataset.classes, dataset.category_ids) == (("egg", "crack"), (3, 7))
    assert record.classes.tolist() == [0, 1, 0] and record.crowds.all() and len(record.segments) == 3
    np.testing.assert_array_equal(record.boxes[:2], np.float32([[10, 5, 30, 20]] * 2))
    assert "'ignored regions' is not a class" in dataset.notes[0]


def test_empty_and_missized_pictures(write, tmp_path):
    paths = write()
    Image.new("RGB", (90, 60)).save(tmp_path / "b.png")
    paths = write(lambda content: content["annotations"][1].update(bbox=[0, 30, 5, 5]))
    with pytest.raises(ValueError, match=r"1 of 2 photos is of another.*b\.png, stated as 60 x 40, but 90 x 60, 1\.5"):
        coco.read(*paths)
    Image.new("RGB", (61, 40)).save(tmp_path / "b.png")
    dataset = coco.read(*paths)
    assert dataset.records[0].width == 61 and any("b.png, stated as 60 x 40, but 61 x 40" in n for n in dataset.notes)
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"b\.png: cannot be opened as an image \(it is empty\)"):
        coco.read(*paths)


def test_ten_thousand_objects(write):
    one = CONTENT["annotations"][1]
    paths = write(lambda c: c.update(annotations=[{**one, "id": number} for number in range(10_000)]))
    assert coco.read(*paths).records[0].boxes.shape == (10_000, 4)


REFUSED = {
    "unknown category": (lambda c: c["annotations"][1].update(category_id=4), "annotation 2 .*category_id 4"),
    "unknown image": (lambda c: c["annotations"][1].update(image_id=99), "annotation 2 .*image 99"),
    "same annotation id": (lambda c: c["annotations"][1].update(id=1), "annotation 1 occurs twice"),
    "same image id": (lambda c: c["images"][1].update(id=12), "id 12.*b.png and a.png"),
    "same category id": (lambda c: c["categories"][1].update(id=7), "id 7"),
    "same category name": (lambda c: c["categories"][1].update(name="crack"), "name 'crack'"),
    "image id is a list": (lambda c: c["images"][1].update(id=[5]), r"image id \[5\] of a.png"),
    "image id is a fraction": (lambda c: c["images"][1].update(id=0.5), "image id 0.5 of a.png"),
    "an image is no dict": (lambda c: c["images"].append(None), "number 2 of its images"),
    "crowd in words": (lambda c: c["annotations"][1].update(iscrowd="many"), "annotation 2 has iscrowd 'many'"),
    "nan height": (lambda c: c["images"][1].update(height=float("nan")), "image a.png has height nan"),
    "negative width": (lambda c: c["images"][1].update(width=-3), "image a.png has width -3"),
    "file_name null": (lambda c: c["images"][1].update(file_name=None), "image number 1.*'file_name'.*None"),
    "huge bbox": (lambda c: c["annotations"][1].update(bbox=[0, 0, 10**400, 5]), "annotation 2 has bbox"),
    "no image_id": (lambda c: c["annotations"][1].pop("image_id"), "annotation 2 has no 'image_id'"),
    "no category_id": (lambda c: c["annotations"][1].pop("category_id"), "annotation 2 has no 'category_id'"),
    "no bbox": (lambda c: c["annotations"][1].pop("bbox"), "annotation 2 has no 'bbox'"),
    "no file_name": (lambda c: c["images"][1].pop("file_name"), "image number 1.*'file_name'"),
    "no category name": (lambda c: c["categories"][1].pop("name"), "category number 1.*'name'"),
    "nan": (lambda c: c["annotations"][1].update(bbox=[0, 0, float("nan"), 5]), "annotation 2 has bbox"),
    "infinity": (lambda c: c["annotations"][1].update(bbox=[0, float("-inf"), 5, 5]), "annotation 2 has bbox"),
    "short bbox": (lambda c: c["annotations"][1].update(bbox=[0, 0, 5]), "annotation 2 has bbox"),
    "bbox in words": (lambda c: c["annotations"][1].update(bbox=["0", "0", "5", "5"]), "annotation 2 has bbox"),
    "bbox null": (lambda c: c["annotations"][1].update(bbox=None), "annotation 2 has bbox None"),
    "nan area": (lambda c: c["annotations"][1].update(area=float("nan")), "annotation 2 has area"),
    "short keypoints": (lambda c: (_posed(c), c["annotations"][0]["keypoints"].pop()), "annotation 1 has keypoints"),
    "two lists of keypoints": (lambda c: (_posed(c), c["categories"][0].update(keypoints=["tip"])), "keypoints"),
    "no images": (lambda c: c.update(images=[]), "no images"),
    "no categories": (lambda c: c.update(categories=[]), "no categories"),
    "no list of annotations": (lambda c: c.pop("annotations"), "'annotations'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(write, name):
    change, words = REFUSED[name]
    path, images = write(change)
    with pytest.raises(ValueError, match=words) as error:
        coco.read(path, images)
    assert path in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("change, ids", [
    (lambda c: c["images"][1].update(id="five"), [0, 1]),
    (lambda c: c["images"][1].update(id=-1), [0, 1]),
    (lambda c: c["images"][1].update(id=2**64), [0, 1]),
    (lambda c: c["annotations"][0].update(image_id="12"), [12, 5]),
    (lambda c: c["images"][0].update(id="12"), [12, 5]),
    (lambda c: c["annotations"][0].update(image_id=12.0), [12, 5]),
    (lambda c: [one.pop("id") for one in c["annotations"]], [12, 5]),
    (lambda c: (c["categories"][0].update(id="7"), c["annotations"][1].update(category_id="3")), [12, 5]),
    (lambda c: c["annotations"][1].update(iscrowd="1"), [12, 5]),
    (lambda c: c["annotations"][0].update(iscrowd="0"), [12, 5]),
    (lambda c: c["annotations"][0].update(iscrowd=False, area=150.5), [12, 5]),
])  # fmt: skip
def test_ids_and_flags_of_any_kind(write, change, ids):
    dataset = coco.read(*write(change))
    assert [record.id for record in dataset.records] == ids and dataset.category_ids == (3, 7)
    assert dataset.records[0].classes.tolist() == [1, 0] and dataset.records[0].crowds.tolist() == [False, True]


SPOILED = {
    "two points": ([[10, 5, 30, 20]], "polygon of … numbers"),
    "nan": ([[10, 5, 30, float("nan"), 30, 20]], "not finite"),
    "far away": ([[10, 5, 30, 1e9, 30, 20]], "far outside"),
    "odd": ([[10, 5, 30, 5, 30, 20, 1]], "odd"),
    "text": ([["10", 5, 30, 5, 30, 20]], "something else than numbers"),
    "words": ("here", "neither polygons nor RLE"),
    "size": ({"size": [30, 60], "counts": [0, 1800]}, "RLE of size"),
    "sum": ({"size": [40, 60], "counts": [0, 2401]}, "RLE of … pixels"),
    "negative": ({"size": [40, 60], "counts": [2401, -1]}, "whole numbers"),
    "broken": ({"size": [40, 60], "counts": "~~~"}, "whole numbers"),
    "cut": ({"size": [40, 60], "counts": "o"}, "whole numbers"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_masks_that_cannot_be_decoded_are_refused_and_their_boxes_kept(write, name):
    segment, words = SPOILED[name]
    dataset = coco.read(*write(lambda content: content["annotations"][0].update(segmentation=segment)))
    assert len(dataset.records[0].boxes) == 2 and dataset.records[0].segments is None
    assert any(words in note and "annotation 1 of image 12" in note and "1 mask" in note for note in dataset.notes)


def test_a_slip_beside_a_good_polygon_is_left_out(write):
    good = [10, 5, 30, 5, 30, 20]
    paths = write(lambda content: content["annotations"][0].update(segmentation=[good, [1, 1, 2, 2]], area=-1))
    dataset = coco.read(*paths)
    assert dataset.records[0].segments[0] == [good] and "1 mask loses a polygon" in dataset.notes[0]
    assert 130 < dataset.records[0].areas[0] < 170


def test_rotated_boxes_become_their_hull(write):
    dataset = coco.read(*write(lambda content: content["annotations"][0].update(attributes={"rotation": 90.0})))
    np.testing.assert_allclose(dataset.records[0].boxes[0], [12.5, 2.5, 27.5, 22.5], atol=1e-5)
    assert "1 box is rotated; its upright hull is taken: annotation 1" in dataset.notes[0]


def test_two_entries_of_a_photo_are_merged(write):
    def change(content):
        content["images"].append({**content["images"][0], "id": 77})
        content["annotations"].append({**content["annotations"][0], "id": 9, "image_id": 77})
        content["annotations"].append({**content["annotations"][0], "id": 10, "image_id": 77, "bbox": [1, 1, 5, 5]})

    dataset = coco.read(*write(change))
    assert [record.id for record in dataset.records] == [12, 5] and len(dataset.records[0].boxes) == 3
    assert "1 entry is of a photo that has an entry already; they are merged: image 77 (b.png)" in dataset.notes[0]


def test_a_category_that_groups_others_is_no_class(write):
    def change(content):
        content["categories"][0]["supercategory"] = content["categories"][1]["supercategory"] = "eggs"
        content["categories"].append({"id": 0, "name": "eggs", "supercategory": "none"})

    dataset = coco.read(*write(change))
    assert (dataset.classes, dataset.category_ids) == (("egg", "crack"), (3, 7))


@pytest.mark.parametrize("name", [
    "C:\\photos\\b.png", "/home/me/photos/b.png", "./b.png", "b%2Epng", "photos/b.png",
    "http://host/data/local-files/?d=photos/b.png", "/data/upload/3/0a1b2c3d-b.png",
])  # fmt: skip
def test_photos_are_found_by_their_name(write, tmp_path, name):
    dataset = coco.read(*write(lambda content: content["images"][0].update(file_name=name)))
    assert dataset.records[0].image == str(tmp_path / "b.png")


@pytest.mark.parametrize("text", ["", "<annotation/>", "[]", '{"images": 3}', '{"images": [{"id": 1'])
def test_other_files_than_coco_are_refused(write, text):
    path, images = write()
    with open(path, "w") as file:
        file.write(text)
    with pytest.raises(ValueError, match=re.escape(path)) as error:
        coco.read(path, images)
    assert "\n" not in str(error.value)


def test_byte_order_mark(write):
    path, images = write()
    with open(path, "w", encoding="utf-8-sig") as file:
        json.dump(CONTENT, file)
    assert len(coco.read(path, images)) == 2


def test_missing_image_files(write, tmp_path):
    paths = write()
    (tmp_path / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"labels\.json: 1 of 2 files are missing, first .*a\.png") as error:
        coco.read(*paths)
    assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match="2 of 2"):
        coco.read(paths[0], str(tmp_path / "nowhere"))


def test_images_in_subfolders(write, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "deep" / "a.png")
    dataset = coco.read(*write(lambda content: content["images"][1].update(file_name="deep/a.png")))
    assert os.path.exists(dataset.records[1].image)


@pytest.mark.skipif("KERASDET_DATA" not in os.environ, reason="KERASDET_DATA names no folder of real data")
def test_real_coco():
    folder = os.path.join(os.environ["KERASDET_DATA"], "coco")
    dataset = coco.read(f"{folder}/annotations/instances_val2017.json", f"{folder}/val2017")
    records = dataset.records
    assert (len(dataset), len(dataset.classes), sum(len(record.boxes) for record in records)) == (158, 80, 1424)
    assert sum(record.crowds.sum() for record in records) == 16 and dataset.notes == []
    assert dataset.classes[0] == "person" and dataset.classes[79] == "toothbrush" and dataset.category_ids[79] == 90
    areas = np.concatenate([record.areas[~record.crowds] for record in records])
    assert np.histogram(areas, [0, 32**2, 96**2, np.inf])[0].tolist() == [607, 458, 343]
    people = coco.read(f"{folder}/annotations/person_keypoints_val2017.json", f"{folder}/val2017")
    assert len(people.keypoints) == 17 and sum(not len(record.boxes) for record in people.records) == 40
    posed = sum((record.keypoints[..., 2] > 0).any(1).sum() for record in people.records)
    assert posed == 68
