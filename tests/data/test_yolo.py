"""YOLO reader: layouts, polygons, background, every refusal."""

import os

import numpy as np
import pytest
from PIL import Image

from kerasdet.data import yolo


@pytest.fixture
def folder(tmp_path):
    """images/train/a.png (20 x 10) with a box, b.png with an empty file, c.png without one."""
    for part in ("images/train", "labels/train"):
        (tmp_path / part).mkdir(parents=True)
    for name in "abc":
        Image.new("RGB", (20, 10)).save(tmp_path / "images/train" / f"{name}.png")
    (tmp_path / "labels/train/a.txt").write_text("1 0.5 0.5 0.2 0.4\n")
    (tmp_path / "labels/train/b.txt").write_text("\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: {0: egg, 1: crack}\nnc: 2\n")
    return tmp_path


def label(folder, text):
    (folder / "labels/train/a.txt").write_text(text)


def test_values(folder):
    dataset = yolo.read(folder, "train")
    first, *others = dataset.records
    assert dataset.classes == ("egg", "crack") and dataset.name == f"{folder.name} train"
    assert (first.id, first.height, first.width, os.path.basename(first.image)) == (0, 10, 20, "a.png")
    np.testing.assert_array_equal(first.boxes, np.float32([[8, 3, 12, 7]]))
    assert first.classes.tolist() == [1] and first.segments is None
    assert [len(other.boxes) for other in others] == [0, 0]
    assert yolo.splits(folder) == ["train"]
    (note,) = dataset.notes
    assert "1 photo has no label file and is background" in note and "c.png" in note


def test_polygons(folder):
    label(folder, "0 0.1 0.2 0.5 0.2 0.3 0.8\n")
    record = yolo.read(folder, "train").records[0]
    np.testing.assert_allclose(record.boxes, [[2, 2, 10, 8]], rtol=1e-6)
    np.testing.assert_allclose(record.segments, [[[2, 2, 10, 2, 6, 8]]])
    np.testing.assert_allclose(record.areas, [24], rtol=1e-6)
    label(folder, "0 0.1 0.2 0.5 0.2 0.3 0.8\n1 0.5 0.5 0.2 0.4\n")
    dataset = yolo.read(folder, "train")
    assert dataset.records[0].segments is None and "masks are dropped" in dataset.notes[0]


@pytest.mark.parametrize("entry", ["images/train", "../images/train", "[images/train]", "list.txt"])
def test_entries(folder, entry):
    (folder / "list.txt").write_text("./images/train/a.png\nimages/train/b.png\n")
    (folder / "data.yaml").write_text(f"path: nowhere\ntrain: {entry}\nnames: [egg, crack]\n")
    dataset = yolo.read(folder / "data.yaml", "train")
    assert len(dataset) == (2 if entry == "list.txt" else 3) and len(dataset.records[0].boxes) == 1


def test_plain_folders(folder):
    (folder / "data.yaml").unlink()
    with pytest.raises(FileNotFoundError, match="classes.txt"):
        yolo.read(folder, "train")
    (folder / "classes.txt").write_text("egg\ncrack\n")
    assert yolo.splits(folder) == ["train"]
    for split in ("train", None):
        assert yolo.read(folder, split).records[0].classes.tolist() == [1]


def test_labels_next_to_the_images(folder):
    (folder / "labels/train/a.txt").rename(folder / "images/train/a.txt")
    assert len(yolo.read(folder, "train").records[0].boxes) == 1


def test_ignored_files_are_noted(folder):
    (folder / "labels/train/z.txt").write_text("0 0.5 0.5 0.2 0.4\n")
    Image.new("RGB", (20, 10)).save(folder / "images/train/d.tif")
    notes = yolo.read(folder, "train").notes
    assert any("1 files have an unsupported format" in note and "d.tif" in note for note in notes)
    assert any("1 label files have no image" in note and "z.txt" in note for note in notes)


def test_ignored_names_are_crowds_of_every_class(folder):
    (folder / "data.yaml").write_text("train: images/train\nnames: [ignore, egg, crack]\n")
    label(folder, "0 0.5 0.5 0.2 0.4\n2 0.5 0.5 0.5 0.4\n")
    dataset = yolo.read(folder, "train")
    record = dataset.records[0]
    assert dataset.classes == ("egg", "crack") and "'ignore' is not a class" in dataset.notes[0]
    assert record.classes.tolist() == [0, 1, 1] and record.crowds.tolist() == [True, True, False]
    np.testing.assert_array_equal(record.boxes[:2], np.float32([[8, 3, 12, 7]] * 2))


def test_boxes_outside_are_clipped_or_dropped_with_a_note(folder):
    label(folder, "0 0.9 0.5 0.4 0.4\n0 1.3 0.5 0.2 0.2\n0 0.5 0.5 0 0.2\n")
    dataset = yolo.read(folder, "train")
    np.testing.assert_array_equal(dataset.records[0].boxes, np.float32([[14, 3, 20, 7]]))
    (note,) = [note for note in dataset.notes if "2 boxes are dropped" in note]
    assert "a.txt, line 2" in note and "a.txt, line 3" in note


def test_ten_thousand_objects(folder):
    label(folder, "0 0.5 0.5 0.2 0.4\n" * 10_000)
    assert yolo.read(folder, "train").records[0].boxes.shape == (10_000, 4)


REFUSED = {
    "class": ("2 0.5 0.5 0.2 0.4", "line 1: class 2 is none of 0 ... 1"),
    "broken class": ("0.5 0.5 0.5 0.2 0.4", "line 1: class 0.5"),
    "words": ("0 0.5 0.5 0.2 0.4\negg 0.5 0.5 0.2 0.4", "line 2: numbers are needed.*'egg"),
    "pixels": ("0 120 90 40 30", r"line 1: its numbers must be fractions"),
    "nan": ("0 nan 0.5 0.2 0.4", r"line 1: its numbers must be fractions"),
    "short": ("0 0.5 0.5 0.2", r"line 1: cx cy w h or at least three points.*not 3"),
    "score": ("0 0.5 0.5 0.2 0.4 0.9", r"line 1: .*not 5"),
    "negative": ("0 0.5 0.5 -0.2 0.4", r"line 1: width and height"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_rows(folder, name):
    text, words = REFUSED[name]
    label(folder, text)
    with pytest.raises(ValueError, match=words) as error:
        yolo.read(folder, "train")
    assert "a.txt" in str(error.value) and "\n" not in str(error.value)


YAMLS = {
    "train: images/train\nnames: [egg]\nnc: 2": "nc is 2, but there are 1 names",
    "train: images/train\nnames: {1: egg, 2: crack}": "keys of names must be 0, 1",
    "train: images/train": "needs names",
    "train: images/train\nnames: [egg, egg]": "two classes have the same name 'egg'",
    "train: images/train\nnames: [egg, crack]\nkpt_shape: [4, 3]": "keypoints",
    "names: [[egg], crack]\ntrain: images/train": "a name must be text",
    "names: {zero: egg}\ntrain: images/train": "keys of names must be 0, 1",
    "names: [egg, crack]": r"has the splits \[\]",
    "train: [": "is not YAML",
    "just words": "needs the keys",
}


@pytest.mark.parametrize("text", YAMLS)
def test_refused_yaml(folder, text):
    (folder / "data.yaml").write_text(text)
    with pytest.raises(ValueError, match=YAMLS[text]) as error:
        yolo.read(folder, "train")
    assert "data.yaml" in str(error.value) and "\n" not in str(error.value)


def test_missing_and_unreadable_files(folder):
    (folder / "labels/train/a.txt").write_bytes(b"0 0.5 0.5 0.2 0.4\n\xff")
    with pytest.raises(ValueError, match=r"a\.txt, line 2: byte 0xff is not UTF-8"):
        yolo.read(folder, "train")
    label(folder, "")
    (folder / "images/train/b.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"b\.png: cannot be opened as an image \(it is empty\)"):
        yolo.read(folder, "train")
    (folder / "list.txt").write_text("images/train/gone.png\n")
    (folder / "data.yaml").write_text("train: list.txt\nnames: [egg]\n")
    with pytest.raises(FileNotFoundError, match=r"1 of 1 files are missing, first .*gone\.png"):
        yolo.read(folder, "train")
    (folder / "data.yaml").write_text("train: gone\nnames: [egg]\n")
    with pytest.raises(FileNotFoundError, match="train is gone"):
        yolo.read(folder, "train")


def test_no_labels_at_all(folder):
    for name in "ab":
        (folder / f"labels/train/{name}.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"none of 3 images has a label file, such as .*labels/train/a\.txt"):
        yolo.read(folder, "train")


def test_words_that_yaml_takes_for_flags_are_names(folder):
    (folder / "data.yaml").write_text("train: images/train\nnames: [no, yes]\n")
    assert yolo.read(folder, "train").classes == ("no", "yes")


@pytest.mark.parametrize("rows", [
    "0 0.5 0.5 0.4 0.4 0.4 0.4 0.6 0.6\n1 0.3 0.3 0.2 0.2 0.25 0.3 0.35 0.25\n",
    "0 0.5 0.5 0.4 0.4 0.4 0.4 2 0.6 0.6 1\n1 0.3 0.3 0.2 0.2 0.25 0.3 2 0 0 0\n",
    "0 0.47 0.82 0.25 0.25 0.5 0.5 0.6 0.6 0.4 0.7 0.1 0.9\n1 0.15 0.43 0.22 0.25 0.5 0.5 0.6 0.6 0.4 0.7 0.1 0.9\n",
])  # fmt: skip
def test_keypoints_are_no_outlines(folder, rows):
    label(folder, rows)
    with pytest.raises(ValueError, match="look like pose labels"):
        yolo.read(folder, "train")


def test_turned_boxes_and_real_outlines_are_read(folder):
    label(folder, "0 0.2 0.1 0.8 0.2 0.7 0.9 0.1 0.8\n1 0.3 0.3 0.5 0.3 0.5 0.6 0.3 0.6\n")
    np.testing.assert_allclose(yolo.read(folder, "train").records[0].boxes, [[2, 1, 16, 9], [6, 3, 10, 6]], rtol=1e-5)
    turns = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    rows = [np.stack([0.5 + side * np.cos(turns), 0.5 + side * np.sin(turns)], 1).ravel() for side in (0.2, 0.3)]
    label(folder, "".join("0 " + " ".join(map(str, row)) + "\n" for row in rows))
    assert len(yolo.read(folder, "train").records[0].segments) == 2


def test_corners_are_refused_and_named(folder):
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 0.6, (40, 2))
    label(folder, "".join(f"0 {x} {y} {x + 0.3} {y + 0.3}\n" for x, y in low))
    with pytest.raises(ValueError, match=r"the boxes look like x1, y1, x2, y2.*Rows must hold class, center x"):
        yolo.read(folder, "train")


def test_an_empty_line_among_the_names_is_refused(folder):
    (folder / "data.yaml").unlink()
    (folder / "classes.txt").write_text("egg\n\ncrack\n\n")
    with pytest.raises(ValueError, match=r"classes\.txt, line 2 is empty"):
        yolo.read(folder)


def test_programs_own_files_are_no_photos(folder):
    (folder / "images/train/.ipynb_checkpoints").mkdir()
    for name in (".ipynb_checkpoints/a-checkpoint.png", "._a.png"):
        Image.new("RGB", (20, 10)).save(folder / "images/train" / name)
    dataset = yolo.read(folder, "train")
    assert len(dataset) == 3 and dataset.tally.found == 5


def test_two_photos_with_one_label_file_are_noted(folder):
    Image.new("RGB", (20, 10)).save(folder / "images/train/a.jpg")
    (note,) = [note for note in yolo.read(folder, "train").notes if "shares its label file" in note]
    assert note.endswith("images/train/a.png with a.jpg")


@pytest.mark.parametrize("train", ["/content/data/images/train", "C:\\\\data\\\\images\\\\train", "./images/train/"])
def test_folders_of_another_computer(folder, train):
    (folder / "data.yaml").rename(folder / "mine.yaml")
    (folder / "mine.yaml").write_text(f"path: ../elsewhere\ntrain: {train}\nnames: [egg, crack]\n")
    assert len(yolo.read(folder, "train")) == 3 and yolo.splits(folder) == ["train"]


def test_darknet_lists(folder, tmp_path_factory):
    """As CVAT writes them."""
    kit = tmp_path_factory.mktemp("darknet")
    os.makedirs(kit / "obj_train_data")
    for name in "ab":
        os.rename(folder / f"images/train/{name}.png", kit / f"obj_train_data/{name}.png")
        os.rename(folder / f"labels/train/{name}.txt", kit / f"obj_train_data/{name}.txt")
    (kit / "obj.names").write_text("egg\ncrack\n")
    (kit / "obj.data").write_text("classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n")
    (kit / "train.txt").write_text("data/obj_train_data/a.png\ndata/obj_train_data/b.png\n")
    assert yolo.splits(kit) == ["train"]
    np.testing.assert_array_equal(yolo.read(kit, "train").records[0].boxes, np.float32([[8, 3, 12, 7]]))
