"""CSV reader: headers, formats, background, statistically impossible boxes, every refusal."""

import numpy as np
import pytest
from PIL import Image

from kerasdet.data import table

HEAD = "image,x1,y1,x2,y2,class\n"


@pytest.fixture
def write(tmp_path):
    for name in ("a", "b"):
        Image.new("RGB", (60, 40)).save(tmp_path / f"{name}.png")

    def write(text):
        (tmp_path / "boxes.csv").write_text(text)
        return tmp_path / "boxes.csv"

    return write


CASES = {
    "headed": (HEAD + "b.png,10,5,30,20,egg\na.png,1,2,3,4,crack\n", "xyxy", {}),
    "bare": ("b.png,10,5,30,20,egg\na.png,1,2,3,4,crack\n", "xyxy", {}),
    "tensorflow": (
        "filename,width,height,class,xmin,ymin,xmax,ymax\nb.png,60,40,egg,10,5,30,20\na.png,60,40,crack,1,2,3,4\n",
        "xyxy",
        {},
    ),
    "semicolons": (
        "Image;Class;X Min;Y Min;X Max;Y Max\nb.png;egg;10;5;30;20\na.png;crack;1;2;3;4\n",
        "xyxy",
        {},
    ),
    "sides": ("image,x,y,w,h,label\nb.png,10,5,20,15,egg\na.png,1,2,2,2,crack\n", "xywh", {}),
    "center": ("image,cx,cy,w,h,label\nb.png,20,12.5,20,15,egg\na.png,2,3,2,2,crack\n", "cxcywh", {}),
    "relative": (
        HEAD + "b.png,0.16666666666666666,0.125,0.5,0.5,egg\na.png,0.016666666666666666,0.05,0.05,0.1,crack\n",
        "xyxy",
        {"relative": True},
    ),
    "columns": (
        "Datei,links,oben,rechts,unten,Art\nb.png,10,5,30,20,egg\na.png,1,2,3,4,crack\n",
        "xyxy",
        {
            "columns": {
                "image": "Datei",
                "x1": "links",
                "y1": "oben",
                "x2": "rechts",
                "y2": "unten",
                "class": "Art",
            }
        },
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_values(write, name):
    text, form, options = CASES[name]
    dataset = table.read(write(text), format=form, **options)
    first, second = dataset.records
    assert dataset.classes == ("crack", "egg") and dataset.name == "boxes" and dataset.notes == []
    assert (first.id, first.image[-5:], second.id, second.image[-5:]) == (0, "b.png", 1, "a.png")
    np.testing.assert_array_equal(first.boxes, np.float32([[10, 5, 30, 20]]))
    np.testing.assert_array_equal(second.boxes, np.float32([[1, 2, 3, 4]]))
    assert first.classes.tolist() == [1] and second.classes.tolist() == [0]


def test_background_and_crowds(write):
    text = "image,x1,y1,x2,y2,class,iscrowd,difficult\nb.png,,,,,,,\na.png,1,2,3,4,egg,1,\na.png,1,2,9,9,egg,0,yes\n"
    background, record = table.read(write(text + "a.png,1,2,9,8,egg,,\n"), format="xyxy").records
    assert background.boxes.shape == (0, 4) and record.crowds.tolist() == [True, True, False]


def test_the_format_has_to_be_named(write):
    for form in (None, "yxyx"):
        with pytest.raises(ValueError, match=r"boxes\.csv: say how its boxes are written.*format='xyxy'"):
            table.read(write(HEAD + "b.png,10,5,30,20,egg\n"), format=form)


def rows(function, count=40):
    """Rows of good corners, changed by a function."""
    rng = np.random.default_rng(0)
    low, sides = rng.integers(2, 30, (count, 2)), rng.integers(2, 10, (count, 2))
    numbers = [function(*one) for one in np.concatenate([low, low + sides], 1).tolist()]
    return HEAD + "".join(f"b.png,{','.join(map(str, row))},egg\n" for row in numbers)


def test_other_formats_are_detected(write):
    impossible = {
        "x, y, width, height": (rows(lambda a, b, c, d: (a, b, c - a, d - b)), "xyxy", False),
        "relative": (rows(lambda a, b, c, d: (a / 60, b / 40, c / 60, d / 40)), "xyxy", False),
    }
    for words, (text, form, relative) in impossible.items():
        with pytest.raises(ValueError, match=rf"boxes\.csv, read with format='{form}'.*{words}") as error:
            table.read(write(text), format=form, relative=relative)
        assert "\n" not in str(error.value)
    assert len(table.read(write(rows(lambda *box: box)), format="xyxy").records[0].boxes) == 40


def test_a_lone_swapped_corner_is_dropped_with_a_note(write):
    dataset = table.read(write(rows(lambda *box: box, 199) + "a.png,9,9,3,3,egg\n"), format="xyxy")
    assert len(dataset.records[0].boxes) == 199 and len(dataset.records[1].boxes) == 0
    (note,) = dataset.notes
    assert "1 box is dropped" in note and note.endswith("boxes.csv, line 201")


def test_misspelt_class_is_noted(write):
    text = rows(lambda *box: box).replace("egg", "platelet") + "a.png,1,2,3,4,platlet\n"
    assert "class 'platlet' has 1 of 40 'platelet': is it misspelt?" in table.read(write(text), format="xyxy").notes[0]


REFUSED = {
    "words": (HEAD + "b.png,10,five,30,20,egg\n", r"line 2, y1, needs a finite number, but holds 'five'"),
    "half a box": (HEAD + "b.png,10,5,30,,egg\n", r"line 2, y2, needs a finite number, but holds ''"),
    "no class": (HEAD + "b.png,10,5,30,20,\n", "line 2 has a box without a class"),
    "no image": (HEAD + ",10,5,30,20,egg\n", "line 2 names no image"),
    "flag": ("image,x1,y1,x2,y2,class,crowd\nb.png,1,2,3,4,egg,maybe\n", "line 2: crowd and difficult.*'maybe'"),
    "no column": ("image,x1,y1,x2,class\nb.png,1,2,3,egg\n", r"has no column 'y2'; it has \['image'"),
    "empty": ("", "is empty"),
    "header only": (HEAD, "no other"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(write, name):
    text, words = REFUSED[name]
    with pytest.raises(ValueError, match=words) as error:
        table.read(write(text), format="xyxy")
    assert "boxes.csv" in str(error.value) and "\n" not in str(error.value)


def test_given_classes_and_images(write, tmp_path):
    path = write(HEAD + "b.png,10,5,30,20,egg\n")
    assert table.read(path, format="xyxy", classes=["crack", "egg"]).records[0].classes.tolist() == [1]
    with pytest.raises(ValueError, match=r"boxes\.csv, line 2 is of class 'egg', which is none of \('crack',\)"):
        table.read(path, format="xyxy", classes=["crack"])
    with pytest.raises(FileNotFoundError, match=r"boxes\.csv: 1 of 1 files are missing"):
        table.read(path, format="xyxy", images=tmp_path / "nowhere")


OPEN_IMAGES = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsGroupOf\n"


def test_columns_that_name_corners_need_no_format(write, tmp_path):
    corners = np.float32([[10, 5, 30, 20]])
    text = "image,xmin,ymin,xmax,ymax,label\nb.png,10,5,30,20,egg\n"
    np.testing.assert_array_equal(table.read(write(text)).records[0].boxes, corners)
    (tmp_path / "class-descriptions.csv").write_text("/m/01,Egg\n/m/02,Crack\n")
    text = OPEN_IMAGES + "b,x,/m/01,1,0.25,0.5,0.25,0.5,0,0\nb,x,/m/02,1,0,1,0,1,0,1\n"
    dataset = table.read(write(text))
    assert dataset.classes == ("Crack", "Egg") and dataset.records[0].image == str(tmp_path / "b.png")
    np.testing.assert_array_equal(dataset.records[0].boxes, np.float32([[15, 10, 30, 20], [0, 0, 60, 40]]))
    assert dataset.records[0].crowds.tolist() == [False, True]


def test_a_box_in_one_column(write):
    text = 'image_id,width,height,bbox,source\nb,60,40,"[10.0, 5.0, 20.0, 15.0]",x\n'
    with pytest.raises(ValueError, match="say how its boxes are written"):
        table.read(write(text))
    with pytest.raises(ValueError, match="has no column 'class'"):
        table.read(write(text), format="xywh")
    dataset = table.read(write(text), format="xywh", classes=["wheat"])
    np.testing.assert_array_equal(dataset.records[0].boxes, np.float32([[10, 5, 30, 20]]))
    with pytest.raises(ValueError, match="line 2 needs four numbers in its box"):
        table.read(write(text.replace("5.0, ", "")), format="xywh", classes=["wheat"])


def test_photos_of_another_size_than_the_table_states(write, tmp_path):
    text = "filename,width,height,class,xmin,ymin,xmax,ymax\nb.png,30,20,egg,5,2,15,10\n"
    with pytest.raises(
        ValueError, match=r"1 of 1 photos is of another size.*b.png, stated as 30 x 20, but 60 x 40, 2 times"
    ):
        table.read(write(text))
