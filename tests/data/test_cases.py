"""Folders as people have them: read right by value, or refused in one line, by `check` and by training alike.

KERASDET_CASES names another folder of the same cases.
"""

import os
import pathlib
import re
import shutil

import numpy as np
import pytest

from kerasdet import data, runs
from kerasdet.data import faults, suspect, validate
from kerasdet.data.dataset import Encoded
from kerasdet.data.parts import parts as parts_of
from kerasdet.detectors import RetinaNet
from tests import companion

CASES = pathlib.Path(os.environ.get("KERASDET_CASES") or pathlib.Path(__file__).parents[1] / "cases")
# The objects of the photos p0 ... p5, the first a cat and the second a dog, x1 y1 x2 y2.
TRUTH = {
    "p0": [[56, 84, 96, 115], [7, 37, 43, 68]],
    "p1": [[95, 34, 134, 72], [102, 3, 146, 36]],
    "p2": [[6, 48, 55, 84], [21, 44, 71, 77]],
    "p3": [[39, 65, 83, 101], [57, 35, 109, 59]],
    "p4": [[32, 51, 64, 87], [49, 47, 88, 74]],
    "p5": [[4, 63, 53, 93], [22, 80, 56, 113]],
}
SIX = sorted(TRUTH)
PARTS = (SIX[:4], SIX[4:])
CATS = ("cat", "dog")


def case(photos=SIX, names=CATS, note=None, empty=()):
    """What reading a folder must give: photos, or those of its own two parts, names, words of a note."""
    return {"photos": photos, "names": names, "note": note, "empty": empty}


READ = {
    "coco_ann_image_id_str": case(),
    "coco_ann_no_id": case(),
    "coco_area_neg": case(),
    "coco_cat_ids_str": case(),
    "coco_cat_names_int": case(names=("1", "2")),
    "coco_crowd_str0": case(),
    "coco_huge_ids": case(note=r"6 image ids are text, negative or too large"),
    "coco_same_file_twice": case(note=r"6 entries are of a photo that has an entry already; they are merged"),
    "coco_seg_two_points": case(note=r"1 mask is refused, its box is kept.*less than three points.*annotation 1 "),
    "coco_train_val_json": case(PARTS),
    "cvat_coco_subsets": case(PARTS),
    "cvat_voc": case(),
    "cvat_voc_subsets": case(PARTS),
    "exif_behind_8bim_yolo": case(SIX[:3]),
    "fiftyone_coco": case(),
    "kitti": case(names=("Car", "Van")),
    "labelimg_yolo_flat": case(),
    "labelme": case(),
    "labelstudio_coco": case(),
    "labelstudio_coco_win": case(),
    "labelstudio_voc": case(),
    "rec_roboflow_parts": case((SIX[:3], SIX[3:4])),
    "roboflow_coco": case(PARTS),
    "roboflow_voc": case(PARTS),
    "voc_case_differs": case(names=("cat", "Cat"), note=r"the names 'cat' \(6 objects\) and 'Cat' \(6 objects\)"),
    "voc_difficult_True": case(),
    "voc_gbk_declared": case(names=("猫", "狗")),
    "voc_images_folder": case(),
    "voc_list_with_ext": case(PARTS),
    "voc_mac_dot_files": case(),
    "voc_mask_png_beside": case(),
    "voc_namespace_some": case(),
    "voc_photos_without_xml": case(
        note=r"2 photos have no XML file and are background: p4\.jpg, p5", empty=("p4", "p5")
    ),
    "vott_csv": case(),
    "webp_exif": case(SIX[:4]),
    "yolo_ipynb": case(PARTS),
    "yolo_norway": case(PARTS, names=("no", "yes")),
    "yolo_other_yaml": case(PARTS),
    "yolo_two_photos_one_label": case(PARTS, note=r"1 photo shares its label file.*p0\.png with p0\.jpg"),
}
REFUSED = {
    "coco_file_name_null": r"labels\.json: image number 0, counted from 0, has no 'file_name'",
    "coco_height_nan": r"labels\.json: image p0\.jpg has height nan",
    "jpeg_without_end": r"p1\.jpg: the file is cut off.*copy it again, or open and save it",
    "val_no_objects": r"instances_val has no objects",
    "voc_photos_larger_than_labelled": r"6 of 6 photos are of another size.*stated as 160 x 120, but 320 x 240, 2 ",
    "yolo_classes_gap": r"classes\.txt, line 2 is empty",
    "yolo_corners_many": r"the boxes look like x1, y1, x2, y2.*Rows must hold class, center x",
    "yolo_pose_no_kptshape_even": r"look like pose labels without kpt_shape",
}
# Those of whom more is asked than one line, below.
OTHERS = {"coco_rotation", "fixed_camera", "huge_picture", "predict [set 2]", "resume_new_class"}


def begin(folder):
    """What training does before its first step."""
    train, validation = parts_of(str(folder))
    for dataset in (train, validation):
        wrong = suspect.boxes(dataset)[0] + suspect.classes(dataset)[1]
        assert not wrong or dataset is validation, wrong
    found, _ = suspect.between(train, validation)
    if found:
        raise ValueError(found[0])
    return train, validation


def check(folder):
    """What the command prints, and whether it finds faults."""
    lines, wrong, looked = [], False, {}
    try:
        for _, _, findings in validate.examined(folder):
            lines += findings.text().splitlines()
            wrong |= bool(findings.faults)
            looked.update(findings.looked)
        more, faulty = ([], []) if wrong else validate.parts(folder, looked)
    except (ValueError, FileNotFoundError) as error:
        return [*lines, str(error)], True
    return lines + more + faulty, wrong or bool(faulty)


def stem(record):
    name = record.image.name if isinstance(record.image, Encoded) else record.image
    return os.path.basename(name).split(".")[0].split("_jpg")[0]


def test_every_case_is_known():
    assert {path.name for path in CASES.iterdir() if path.is_dir()} == {*READ, *REFUSED, *OTHERS}


@pytest.mark.parametrize("name", READ)
def test_read_by_value(name):
    wanted = READ[name]
    parts = begin(CASES / name)
    photos = wanted["photos"]
    if isinstance(photos, tuple):
        assert [sorted({stem(record) for record in part.records}) for part in parts] == list(photos)
    else:
        assert sorted(stem(record) for part in parts for record in part.records) == photos
    for part in parts:
        assert sorted(part.classes) == sorted(wanted["names"])
        for record in part.records:
            truth = [] if stem(record) in wanted["empty"] else TRUTH[stem(record)]
            assert (record.height, record.width) == (120, 160) == record.pixels().shape[:2]
            np.testing.assert_allclose(record.boxes, np.float32(truth).reshape(-1, 4), atol=1e-3)
            assert [part.classes[number] for number in record.classes] == list(wanted["names"])[: len(truth)]
            hard = [name == "voc_difficult_True" and number == 0 for number in range(len(truth))]
            assert record.crowds.tolist() == hard and (record.areas > 0).all()
    notes = parts[0].notes + parts[1].notes
    assert wanted["note"] is None or any(re.search(wanted["note"], note) for note in notes), notes
    assert all(len(note) <= 300 and "\n" not in note for note in notes)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_the_first_step(name):
    with pytest.raises(ValueError, match=REFUSED[name]) as error:
        begin(CASES / name)
    assert len(str(error.value)) <= 300 and "\n" not in str(error.value)


@pytest.mark.parametrize("name", sorted({*READ, *REFUSED, *OTHERS} - {"huge_picture", "predict [set 2]"}))
def test_check_agrees_with_training(name):
    lines, wrong = check(str(CASES / name))
    assert wrong == (name in REFUSED), lines
    assert name not in REFUSED or any(re.search(REFUSED[name], line) for line in lines), lines
    assert all(len(line) <= 310 for line in lines)


def test_the_commands_exit(tmp_path):
    good, bad = (
        companion.command("check", CASES / name, f"--out={tmp_path}", "--pictures=2", folder=tmp_path)
        for name in ("roboflow_voc", "jpeg_without_end")
    )
    assert (good.returncode, bad.returncode) == (0, 1) and "Traceback" not in good.stderr + bad.stderr
    assert len(list(tmp_path.glob("train/*.png"))) == len(list(tmp_path.glob("valid/*.png"))) == 2
    assert re.search(REFUSED["jpeg_without_end"], bad.stdout)


def test_rotated_boxes_become_their_upright_hull():
    """By 45 degrees both sides of the hull are (width + height) / sqrt(2)."""
    parts = begin(CASES / "coco_rotation")
    assert any(re.search("12 boxes are rotated; their upright hull", note) for note in parts[0].notes)
    record = next(record for part in parts for record in part.records if stem(record) == "p3")
    for box, (x1, y1, x2, y2) in zip(record.boxes, TRUTH["p3"], strict=True):
        half = (x2 - x1 + y2 - y1) / 2**1.5
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        hull = np.clip([x - half, y - half, x + half, y + half], 0, [160, 120, 160, 120])
        np.testing.assert_allclose(box, hull, atol=1e-3)


def test_a_fixed_camera_is_split_in_blocks():
    train, validation = begin(CASES / "fixed_camera")
    assert len(train) and len(validation) and len(train) + len(validation) == 12
    assert any(re.search("cut into 2 blocks of 8 consecutive ones", note) for note in train.notes)


def test_a_new_class_is_named_by_resume(tmp_path):
    folder, run = tmp_path / "set", tmp_path / "run"
    shutil.copytree(CASES / "resume_new_class", folder)
    config = runs.ConfigDict({"data": {"folder": str(folder)}})
    files = sorted((folder / "annotations").glob("*.json"))
    grown = [file.read_text() for file in files]
    for file, text in zip(files, grown, strict=True):
        file.write_text(text.replace(', {"id": 99, "name": "owl"}', ""))
    assert runs.datasets(config, run)[0].classes == CATS
    for file, text in zip(files, grown, strict=True):
        file.write_text(text)
    with pytest.raises(ValueError, match=r"new: 'owl'.*--init_from") as error:
        runs.datasets(config, run, again=True)
    assert "\n" not in str(error.value)


def test_photos_that_came_later_stay_out_of_a_resumed_run(tmp_path):
    folder, run = tmp_path / "set", tmp_path / "run"
    shutil.copytree(CASES / "labelimg_yolo_flat", folder)
    config = runs.ConfigDict({"data": {"folder": str(folder), "share": 0.3, "seed": 0}})
    for suffix in (".jpg", ".txt"):
        (folder / f"p5{suffix}").rename(tmp_path / f"p5{suffix}")
    before = runs.datasets(config, run)
    for suffix in (".jpg", ".txt"):
        (tmp_path / f"p5{suffix}").rename(folder / f"p5{suffix}")
    after = runs.datasets(config, run, again=True)
    assert [[stem(r) for r in part.records] for part in after] == [[stem(r) for r in part.records] for part in before]
    assert any("1 photos came after this run was begun" in note and "p5.jpg" in note for note in after[0].notes)


def test_validation_photos_must_not_be_those_that_the_start_was_trained_on(tmp_path):
    source = {"folder": str(CASES / "labelimg_yolo_flat"), "share": 0.3, "seed": 0}
    runs.write_config(tmp_path / "first", runs.ConfigDict({"data": source}))
    runs.datasets(runs.ConfigDict({"data": source}), tmp_path / "first")
    runs.datasets(runs.ConfigDict({"data": source}), tmp_path / "second", init_from=str(tmp_path / "first"))
    others = (seed for seed in range(1, 20))
    moved = next(seed for seed in others if set(validation(source, seed)) - set(validation(source, 0)))
    with pytest.raises(ValueError, match=r"first: it was trained on \d of the \d photos that are for validation now"):
        config = runs.ConfigDict({"data": {**source, "seed": moved}})
        runs.datasets(config, tmp_path / "third", init_from=str(tmp_path / "first"))


def validation(source, seed):
    return [stem(record) for record in parts_of(**{**source, "seed": seed})[1].records]


@pytest.mark.slow
def test_a_huge_picture_is_read():
    """It is larger than TensorFlow decodes."""
    with faults.listed() as refused:
        dataset = data.read(CASES / "huge_picture")
    assert not refused
    slide = next(record for record in dataset.records if record.width == 14000)
    assert slide.pixels().shape == (13000, 14000, 3) and slide.boxes.tolist() == [[100, 100, 900, 900]]


def test_predict_goes_on_after_a_broken_photo(tmp_path):
    """The folder has brackets in its name, and one broken photo among good ones."""
    folder = tmp_path / "photos [set 2]"
    folder.mkdir()
    for name in ("p0.jpg", "p2.jpg"):
        shutil.copy(CASES / "predict [set 2]" / "p0.jpg", folder / name)
    (folder / "p1.jpg").write_bytes((folder / "p0.jpg").read_bytes()[:700])
    model = tmp_path / "model.keras"
    RetinaNet(**{**RetinaNet.tiny(), "classes": list(CATS)}).save(model)
    done = companion.command("predict", str(model), str(folder), f"--out={tmp_path}/seen", folder=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert re.search(r"error: 1 of 3 files could not be read: .*p1\.jpg", done.stderr.splitlines()[-1])
    assert sorted(path.name for path in (tmp_path / "seen").glob("*.png")) == ["p0.png", "p2.png"]
    assert (tmp_path / "seen/results.json").is_file()
