"""The thorough check lists every fault of a hostile folder at once and writes a file without faults."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from kerasdet import data
from kerasdet.data import coco, faults, validate

SIZE = (60, 40)
SOUND = [("a.jpg", [10, 5, 20, 15], 1), ("a.jpg", [30, 10, 12, 12], 2), ("b.jpg", [1, 1, 30, 30], 1)]


@pytest.fixture
def folder(tmp_path):
    """Two sound pictures, one cut off, one of another size than stated, one missing."""
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "b.jpg", "cut.jpg"):
        Image.fromarray(rng.integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8)).save(tmp_path / name)
    cut = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(cut[: len(cut) // 2])
    return tmp_path


def write(folder, more_images=(), more=()):
    names = ["a.jpg", "b.jpg", *more_images]
    rows = [{"image_id": names.index(n), "category_id": kind, "bbox": box} for n, box, kind in SOUND]
    content = {
        "categories": [{"id": 1, "name": "egg"}, {"id": 2, "name": "crack"}],
        "images": [{"id": i, "file_name": n, "width": SIZE[0], "height": SIZE[1]} for i, n in enumerate(names)],
        "annotations": [{"id": i, **row} for i, row in enumerate(rows, 1)] + list(more),
    }
    path = folder / "labels.json"
    path.write_text(json.dumps(content))
    return str(path), str(folder)


def check(paths):
    with faults.listed() as refused:
        dataset = coco.read(*paths)
    return validate.check(dataset, refused)


def test_clean_data_has_no_faults(folder):
    findings = check(write(folder))
    assert findings.faults == [] and len(findings.clean) == 2
    assert findings.lines[0] == "labels: 3 photos on disk, 2 pictures, 0 of them without objects"
    assert findings.lines[1] == "3 annotations, 3 boxes, 0 of them regions to ignore, at most 2 in a picture"
    assert findings.text().endswith("nothing is wrong")


def test_all_faults_at_once(folder):
    """A plain reading stops at the first."""
    more = [
        {"id": 10, "image_id": 9, "category_id": 1, "bbox": [1, 1, 5, 5]},
        {"id": 11, "image_id": 0, "category_id": 7, "bbox": [1, 1, 5, 5]},
        {"id": 12, "image_id": 0, "category_id": 1, "bbox": [1, 1, "wide", 5]},
        {"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 1, 5, 5]},
        {"id": 13, "image_id": 1, "category_id": 1, "bbox": [5, 5, 0, 9]},
    ]
    paths = write(folder, ("cut.jpg", "gone.jpg"), more)
    with pytest.raises((ValueError, FileNotFoundError)):
        coco.read(*paths)
    findings = check(paths)
    words = [
        "annotation 10 belongs to image 9", "annotation 11 has category_id 7", "annotation 12 has bbox",
        "annotation 1 occurs twice", "1 of 4 files are missing, first", "cut.jpg: the file is cut off",
        "gone.jpg: cannot be", "1 of 4 boxes are dropped",
    ]  # fmt: skip
    for word in words:
        assert any(word in fault for fault in findings.faults), (word, findings.faults)
    assert any("annotation 13" in note for note in findings.notes)
    assert "faults: " in findings.text(2) and "more" in findings.text(2)


def test_the_clean_file_has_no_faults(folder):
    paths = write(folder, ("cut.jpg",), [{"id": 13, "image_id": 2, "category_id": 1, "bbox": [5, 5, 9, 9]}])
    findings = check(paths)
    out = str(folder / "clean.json")
    root = validate.write(findings.clean, out)
    clean = check((out, root))
    assert clean.faults == [] and clean.notes == []
    assert [record.image for record in clean.clean.records] == [str(folder / name) for name in ("a.jpg", "b.jpg")]
    for one, other in zip(findings.clean.records, clean.clean.records, strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-5)
        np.testing.assert_array_equal(one.classes, other.classes)
    np.testing.assert_allclose(clean.clean.records[0].boxes, [[10, 5, 30, 20], [30, 10, 42, 22]])


def test_a_picture_of_another_size(folder):
    paths = write(folder)
    with faults.listed():
        dataset = coco.read(*paths)
    dataset.records[0].height = 50
    findings = validate.check(dataset)
    assert any("a.jpg: is stated as 60 x 50, but is 60 x 40" in fault for fault in findings.faults)
    assert [record.id for record in findings.clean.records] == [1]


def test_a_wrong_format_is_named_and_nothing_is_clean(folder):
    rows = [
        {"id": 20 + i, "image_id": 1, "category_id": 1, "bbox": [30 + i % 15, 20, 50, 35 + i % 5]} for i in range(150)
    ]
    findings = check(write(folder, more=rows))
    assert any("the boxes look like x1, y1, x2, y2" in fault for fault in findings.faults)
    with pytest.raises(ValueError, match="nothing sound is left"):
        validate.write(findings.clean, str(folder / "clean.json"))


def test_readers_refuse_again_afterwards(folder):
    paths = write(folder, ("gone.jpg",))
    check(paths)
    with pytest.raises(FileNotFoundError, match="gone.jpg"):
        data.read(paths[0], images=paths[1])


def test_the_command_exits_with_1(folder, tmp_path):
    """The folder as Pascal VOC: one object has no area."""
    page = "<annotation>{}</annotation>"
    box = (
        "<object><name>egg</name><bndbox><xmin>{}</xmin><ymin>5</ymin><xmax>{}</xmax><ymax>30</ymax></bndbox></object>"
    )
    (folder / "cut.jpg").unlink()
    (folder / "a.xml").write_text(page.format(box.format(3, 30) + box.format(30, 3)))
    (folder / "b.xml").write_text(page.format(box.format(3, 30)))
    (folder / "train.txt").write_text("a\n")
    (folder / "val.txt").write_text("b\n")
    config = "configs/retinanet/mobilenetv2_fpn_raccoon.py"
    done = subprocess.run(
        [sys.executable, "-m", "tools.inspect", f"--config={config}", f"--config.data.folder={folder}", "--check",
         f"--out={tmp_path}/out", f"--clean={folder}/clean.json"],
        capture_output=True, text=True, env={"PATH": "", "TF_CPP_MIN_LOG_LEVEL": "2"},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr[-2000:]
    assert "1 of 2 boxes are dropped" in done.stdout and "something is wrong" in done.stdout
    assert check((f"{folder}/clean.json", str(folder))).faults == []
    assert check((f"{folder}/clean_validation.json", str(folder))).faults == []
