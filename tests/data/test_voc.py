"""Pascal VOC reader: values of small folders written here, every refusal, and real folders, if available."""

import os

import numpy as np
import pytest
from PIL import Image

from kerasdet.data import voc
from kerasdet.data.read import read

SIZE = "<size><width>60</width><height>40</height><depth>3</depth></size>"


def _object(name, box, more=""):
    corners = "".join(
        f"<{tag}>{value}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name>{more}<bndbox>{corners}</bndbox></object>"


PAGES = {
    "first": SIZE + _object("egg", (11, 6, 30, 20)) + _object("crack", (1, 1, 60, 40), "<difficult>1</difficult>"),
    "second": SIZE,
    "third": SIZE + _object("aphid", (2.5, 3, 10, 12), "<difficult>0</difficult>"),
}


@pytest.fixture
def folder(tmp_path):
    """The standard layout; `train` lists second and first, `val` third."""
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / name).mkdir(parents=True)
    for name, page in PAGES.items():
        _write(tmp_path, name, page)
        Image.new("RGB", (60, 40)).save(tmp_path / "JPEGImages" / f"{name}.jpg")
    (tmp_path / "ImageSets/Main/train.txt").write_text("second\nfirst \n\n")
    (tmp_path / "ImageSets/Main/val.txt").write_text("third\n")
    return tmp_path


def _write(folder, name, page):
    (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{page}</annotation>")


def test_values(folder):
    dataset = voc.read(folder, "train")
    background, record = dataset.records
    assert dataset.name == f"{folder.name} train" and dataset.classes == ("aphid", "crack", "egg")
    assert dataset.category_ids == (1, 2, 3) and dataset.notes == []
    assert (record.id, record.height, record.width) == (1, 40, 60)
    assert record.image == str(folder / "JPEGImages" / "first.jpg")
    np.testing.assert_array_equal(record.boxes, np.float32([[10, 5, 30, 20], [0, 0, 60, 40]]))
    np.testing.assert_array_equal(record.classes, [2, 1])
    np.testing.assert_array_equal(record.crowds, [False, True])
    np.testing.assert_array_equal(record.areas, [300, 2400])
    assert background.id == 0 and background.boxes.shape == (0, 4) and background.crowds.dtype == bool


def test_difficult_objects_as_objects(folder):
    """As SSD's release trains them; a name that is no class stays a crowd."""
    _write(folder, "first", PAGES["first"] + _object("ignore", (1, 1, 9, 9), "<difficult>1</difficult>"))
    crowds = voc.read(folder, "train").records[1].crowds
    objects = voc.read(folder, "train", difficult="object").records[1].crowds
    assert crowds.tolist() == [False, True] + [True] * 3 and objects.tolist() == [False, False] + [True] * 3
    assert read(folder, "train", difficult="object").records[1].crowds.tolist() == objects.tolist()
    with pytest.raises(ValueError, match=r"difficult must be one of \('crowd', 'object'\), got 'easy'"):
        voc.read(folder, "train", difficult="easy")


def test_difficult_is_of_this_reader_alone():
    with pytest.raises(ValueError, match="shapes is read as the built-in shapes: difficult='object' is for Pascal VOC"):
        read("shapes", "train", difficult="object")


def test_every_split_has_the_same_classes(folder):
    assert voc.read(folder, "train").classes == voc.read(folder, "val").classes == voc.read(folder).classes
    assert len(voc.read(folder)) == 3


def test_given_classes_keep_their_order(folder):
    dataset = voc.read(folder, "train", classes=["egg", "crack"])
    assert dataset.classes == ("egg", "crack") and dataset.records[1].classes.tolist() == [0, 1]


def test_unknown_class_is_refused(folder):
    with pytest.raises(ValueError, match=r"first\.xml: object 2 \(crack\).*\('egg',\)") as error:
        voc.read(folder, "train", classes=["egg"])
    assert "\n" not in str(error.value)


def test_list_in_the_same_folder(folder):
    (folder / "mine.txt").write_text("third\n")
    (record,) = voc.read(folder, "mine").records
    np.testing.assert_array_equal(record.boxes, np.float32([[1.5, 2, 10, 12]]))


def test_everything_in_one_folder(tmp_path):
    (tmp_path / "photo 1.xml").write_text(f"<annotation>{PAGES['third']}</annotation>")
    Image.new("RGB", (60, 40)).save(tmp_path / "photo 1.png")
    (record,) = voc.read(tmp_path).records
    assert record.image == str(tmp_path / "photo 1.png") and len(record.boxes) == 1


@pytest.mark.parametrize("box", [(30, 20, 30, 20), (30, 20, 30, 25), (30, 20, 20, 25), (61, 1, 70, 9), (-9, 1, 0, 9)])
def test_boxes_without_area_are_dropped_and_noted(folder, box):
    _write(folder, "first", SIZE + _object("egg", box) + _object("crack", (1, 1, 2, 2)))
    dataset = voc.read(folder, "train")
    np.testing.assert_array_equal(dataset.records[1].boxes, np.float32([[0, 0, 2, 2]]))
    assert dataset.records[1].classes.tolist() == [1] and dataset.records[1].areas.tolist() == [4]
    (note,) = dataset.notes
    assert "first.xml: object 1 (egg)" in note


def test_boxes_are_clipped(folder):
    _write(folder, "first", SIZE + _object("egg", (0, 0, 99, 99)))
    np.testing.assert_array_equal(voc.read(folder, "train").records[1].boxes, np.float32([[0, 0, 60, 40]]))


@pytest.mark.parametrize("size", ["", "<size><width>0</width><height>0</height></size>"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_size_comes_from_the_image_if_the_page_has_none(folder, size, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (60, 40)).save(folder / "JPEGImages" / "first.jpg", exif=exif)
    _write(folder, "first", size)
    record = voc.read(folder, "train").records[1]
    assert (record.height, record.width) == ((60, 40) if orientation == 6 else (40, 60))


def test_parts_of_an_object_are_not_objects(folder):
    part = "<part><name>yolk</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    _write(folder, "first", SIZE + _object("egg", (11, 6, 30, 20), part))
    dataset = voc.read(folder, "train")
    assert "yolk" not in dataset.classes
    np.testing.assert_array_equal(dataset.records[1].boxes, np.float32([[10, 5, 30, 20]]))


REFUSED = {
    "broken": ("<object>", r"first\.xml is not readable XML"),
    "no name": (SIZE + "<object><bndbox/></object>", r"first\.xml: object 1 \(\)"),
    "no box": (SIZE + "<object><name>egg</name></object>", r"first\.xml: object 1 \(egg\).*<xmin>"),
    "words": (SIZE + _object("egg", (1, 2, "wide", 4)), r"first\.xml: object 1 \(egg\).*<xmax>.*'wide'"),
    "nan": (SIZE + _object("egg", (1, 2, 3, "nan")), r"first\.xml: object 1 \(egg\).*<ymax>.*'nan'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(folder, name):
    page, words = REFUSED[name]
    _write(folder, "first", page)
    with pytest.raises(ValueError, match=words) as error:
        voc.read(folder, "train")
    assert "\n" not in str(error.value)


def test_missing_files(folder):
    with pytest.raises(FileNotFoundError, match="no split 'test'"):
        voc.read(folder, "test")
    (folder / "JPEGImages" / "first.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 2 files are missing, first .*first\.jpg"):
        voc.read(folder, "train")
    (folder / "Annotations" / "second.xml").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 2 files are missing, first .*second\.xml"):
        voc.read(folder, "train")


def test_list_of_a_class(folder):
    """Its second column says whether the class is in the picture; all are in the split. A name may end on a number."""
    _write(folder, "photo 1", SIZE)
    Image.new("RGB", (60, 40)).save(folder / "JPEGImages" / "photo 1.jpg")
    (folder / "ImageSets/Main/egg_val.txt").write_text("first  1\nsecond -1\nthird  0\nphoto 1\n")
    assert [os.path.basename(record.image) for record in voc.read(folder, "egg_val").records] == [
        "first.jpg", "second.jpg", "third.jpg", "photo 1.jpg",
    ]  # fmt: skip
    assert voc.splits(folder) == ["train", "val"]


def test_devkit(folder, tmp_path_factory):
    kit = tmp_path_factory.mktemp("VOCdevkit")
    (kit / "VOC2007").symlink_to(folder)
    assert len(voc.read(kit, "train")) == len(voc.read(kit / "VOC2007", "train")) == 2
    (kit / "VOC2012").symlink_to(folder)
    with pytest.raises(ValueError, match="several years; give one of them: .*VOC2007, .*VOC2012"):
        voc.read(kit, "train")


def test_encodings(folder):
    """A page is read as its first line says; a name that is not UTF-8 is refused."""
    page = f"<annotation>{SIZE}{_object('œuf', (11, 6, 30, 20))}</annotation>"
    for code in ("iso-8859-15", "utf-16"):
        (folder / "Annotations/first.xml").write_bytes(f'<?xml version="1.0" encoding="{code}"?>{page}'.encode(code))
        assert "œuf" in voc.read(folder, "train").classes
    (folder / "Annotations/first.xml").write_bytes(page.encode("iso-8859-15"))
    with pytest.raises(ValueError, match=r"first\.xml is not readable XML"):
        voc.read(folder, "train")
    _write(folder, "first", SIZE)
    for part, end in (("Annotations", b"xml"), ("JPEGImages", b"jpg")):
        os.rename(folder / part / f"third.{end.decode()}", os.fsencode(folder / part) + b"/caf\xe9." + end)
    with pytest.raises(ValueError, match=r"the file name '.*caf\\udce9\.xml' is not UTF-8, one of 1 such") as error:
        voc.read(folder)
    assert str(error.value).isprintable()


def test_ignored_objects_hide_every_class(folder):
    _write(folder, "second", SIZE + _object("DontCare", (11, 6, 30, 20)))
    dataset = voc.read(folder, "train")
    record = dataset.records[0]
    assert dataset.classes == ("aphid", "crack", "egg") and "'DontCare' is not a class" in dataset.notes[0]
    assert record.classes.tolist() == [0, 1, 2] and record.crowds.all()
    np.testing.assert_array_equal(record.boxes, np.float32([[10, 5, 30, 20]] * 3))


def test_namespaces_encodings_and_other_kinds_of_xml(folder):
    path = folder / "Annotations/first.xml"
    path.write_text(f'<annotation xmlns="http://a.b/voc">{PAGES["first"]}</annotation>')
    assert len(voc.read(folder, "train").records[1].boxes) == 2
    page = f'<?xml version="1.0" encoding="gb2312"?><annotation>{_object("猫", (1, 1, 9, 9))}</annotation>'
    path.write_bytes(page.encode("gbk"))
    assert "猫" in voc.read(folder, "train").classes
    path.write_text("<annotations><image/></annotations>")
    with pytest.raises(ValueError, match=r"first\.xml is no Pascal VOC file: its root is <annotations>.*CVAT"):
        voc.read(folder, "train")


@pytest.mark.parametrize("text, hard", [("True", True), ("1.0", True), ("yes", True), ("false", False), ("0", False)])
def test_difficult_in_words(folder, text, hard):
    _write(folder, "first", SIZE + _object("egg", (1, 1, 9, 9), f"<difficult>{text}</difficult>"))
    assert voc.read(folder, "train").records[1].crowds.tolist() == [hard]
    _write(folder, "first", SIZE + _object("egg", (1, 1, 9, 9), "<difficult>very</difficult>"))
    with pytest.raises(ValueError, match=r"first\.xml: object 1 \(egg\) is difficult 'very'"):
        voc.read(folder, "train")


def test_misspelt_class_is_noted(folder):
    _write(folder, "first", SIZE + _object("crack", (1, 2, 3, 4)) * 40 + _object("crak", (1, 2, 9, 9)))
    assert "class 'crak' has 1 of 40 'crack': is it misspelt?" in voc.read(folder, "train").notes[0]


def test_wrong_size_is_noted_and_the_file_size_used(folder):
    Image.new("RGB", (62, 40)).save(folder / "JPEGImages/first.jpg")
    dataset = voc.read(folder, "train")
    record = dataset.records[1]
    assert (record.height, record.width) == (40, 62) and record.boxes.max() == 60
    assert "1 photo is stated in a wrong size" in dataset.notes[0]
    assert "first.jpg, stated as 60 x 40, but 62 x 40" in dataset.notes[0]


def test_photos_of_another_size_are_refused_with_the_ratio(folder):
    Image.new("RGB", (120, 80)).save(folder / "JPEGImages/first.jpg")
    words = (
        r"1 of 2 photos is of another size than its annotations.*first.jpg, stated as 60 x 40, but 120 x 80, 2 times"
    )
    with pytest.raises(ValueError, match=words) as error:
        voc.read(folder, "train")
    assert "\n" not in str(error.value)


@pytest.mark.skipif("KERASDET_DATA" not in os.environ, reason="KERASDET_DATA names no folder of real data")
def test_real_folders():
    folder = os.path.join(os.environ["KERASDET_DATA"], "bccd")
    counts = {}
    for split in ("train", "val", "test"):
        dataset = voc.read(folder, split)
        assert dataset.classes == ("Platelets", "RBC", "WBC")
        numbers = np.concatenate([record.classes for record in dataset.records])
        counts[split] = (len(dataset), *np.bincount(numbers).tolist(), len(dataset.notes))
    assert counts == {"train": (205, 209, 2381, 214, 1), "val": (87, 83, 967, 87, 1), "test": (72, 69, 805, 71, 0)}
    raccoon = voc.read(os.path.join(os.environ["KERASDET_DATA"], "raccoon"), "train")
    assert len(raccoon) == 39 and raccoon.classes == ("raccoon",)
    for record in raccoon.records:
        with Image.open(record.image) as image:
            assert image.size == (record.width, record.height)
