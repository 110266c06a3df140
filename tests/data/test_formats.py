"""Wrong box formats are named, sloppy boxes are not; EXIF, copies and boxes outside, on records made here."""

import numpy as np
import pytest
from PIL import Image

from kerasdet.data import formats, suspect
from kerasdet.data.dataset import Dataset, Record

WIDTH, HEIGHT = 120, 80


def some_boxes(count=200, seed=0):
    rng = np.random.default_rng(seed)
    sizes = rng.uniform(8, 40, (count, 2))
    start = rng.uniform(0, [WIDTH, HEIGHT] - sizes)
    return np.concatenate([start, start + sizes], 1).astype(np.float32)


def misread(boxes):
    return formats.misread(boxes, np.tile(np.float32([[HEIGHT, WIDTH]]), (len(boxes), 1)))


def record(boxes, classes=None, image=None, size=(HEIGHT, WIDTH), number=0):
    boxes = np.float32(boxes).reshape(-1, 4)
    classes = np.zeros(len(boxes), np.int32) if classes is None else np.int32(classes)
    areas, crowds = np.zeros(len(boxes), np.float32), np.zeros(len(boxes), bool)
    image = np.zeros((*size, 3), np.uint8) if image is None else image
    return Record(number, image, *size, boxes, classes, crowds, areas, stated=boxes)


# What corners x1, y1, x2, y2 become when the file's numbers mean something else than the reader believes.
SPOILED = {
    "relative": ("relative", lambda a, b, c, d: (a / WIDTH, b / HEIGHT, c / WIDTH, d / HEIGHT)),
    "relative sizes": ("relative", lambda a, b, c, d: (a / WIDTH, b / HEIGHT, (c - a) / WIDTH, (d - b) / HEIGHT)),
    "xywh as corners": ("like x, y, width, height", lambda a, b, c, d: (a, b, c - a, d - b)),
    "corners as xywh": ("like x1, y1, x2, y2", lambda a, b, c, d: (a, b, a + c, b + d)),
    "centers as xywh": (
        "like center x",
        lambda a, b, c, d: ((a + c) / 2, (b + d) / 2, 1.5 * c - a / 2, 1.5 * d - b / 2),
    ),
    "centers as corners": ("like center x", lambda a, b, c, d: ((a + c) / 2, (b + d) / 2, c - a, d - b)),
    "y first": ("y before x", lambda a, b, c, d: (b, a, d, c)),
    "swapped": ("swapped corners: x2 < x1 or y2 < y1 in 100.0%", lambda a, b, c, d: (c, d, a, b)),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_wrong_format_is_named(name):
    words, change = SPOILED[name]
    assert words in misread(np.stack(change(*some_boxes().T), 1))


def test_sloppy_boxes_of_the_right_format_are_accepted():
    boxes = some_boxes()
    assert misread(boxes) is None
    boxes[:10, 2:] += 9  # one in twenty leaves its picture
    assert misread(boxes) is None
    assert misread(np.zeros((0, 4), np.float32)) is None
    boxes[:1] = boxes[:1, [2, 3, 0, 1]]  # one in 200 has swapped corners
    assert misread(boxes) is None


def test_boxes_mostly_outside_are_counted():
    boxes = [[100, 10, 130, 40], [110, 10, 130, 40], [5, 5, 5, 9], [0, 0, 120, 80], [200, 0, 210, 9]]
    np.testing.assert_array_equal(formats.outside(record(boxes)), [False, True, True, False, True])


def test_copies_are_found_within_a_class():
    boxes = [[0, 0, 40, 40], [0, 0, 40, 40.5], [0, 0, 40, 40], [0, 0, 30, 40]]
    np.testing.assert_array_equal(formats.repeats(record(boxes, [0, 0, 1, 0])), [False, True, False, False])


@pytest.mark.parametrize("orientation, boxes, turned", [
    (6, [[50, 10, 110, 70]], True),
    (6, [[10, 10, 70, 70]], False),  # fits both ways
    (6, [[10, 50, 70, 110]], False),  # made on the upright picture
    (1, [[50, 10, 110, 70]], False),
    (3, [[50, 10, 110, 70]], False),
])  # fmt: skip
def test_boxes_of_the_picture_before_its_rotation(tmp_path, orientation, boxes, turned):
    """A file of 120 x 80 that stands upright as 80 x 120."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = str(tmp_path / "photo.jpg")
    Image.new("RGB", (WIDTH, HEIGHT)).save(path, exif=exif)
    assert formats.orientation(path) == orientation
    assert formats.unturned(record(boxes, image=path, size=(WIDTH, HEIGHT))) == turned


def dataset(*records, classes=("egg", "crack")):
    return Dataset("few", classes, list(records))


def test_suspicious_boxes_are_one_line_each():
    good = [record(some_boxes(40, seed), number=seed) for seed in range(3)]
    assert suspect.boxes(dataset(*good)) == ([], False)
    stray = record(np.tile([[200, 0, 220, 20]], (4, 1)) + np.arange(4)[:, None], number=7)
    (line,), hopeless = suspect.boxes(dataset(*good, stray))
    assert "4 of 124 boxes have no area or lie mostly outside" in line and "image 7" in line
    assert not hopeless
    copied = record(np.repeat(some_boxes(4), 2, 0), number=8)
    (line,), _ = suspect.boxes(dataset(*good, copied))
    assert "4 of 128 boxes repeat another" in line and "image 8" in line
    (line,), hopeless = suspect.boxes(dataset(record(some_boxes() / 100)))
    assert "the boxes look relative" in line and hopeless


@pytest.mark.parametrize("kinds, names, words, hopeless", [
    ([0, 1, 1], ("egg", "crack"), None, False),
    ([1, 2, 2], ("egg", "crack"), "2 objects have class ids outside of 0...1, first 2: ids are off by one", True),
    ([-1, 0, 0], ("egg", "crack"), "1 objects have class ids outside of 0...1, first -1", True),
    ([0, 0, 1], ("background", "egg"), "2 objects are of class 'background', which is not an object", False),
    ([], ("egg",), "has no objects", True),
])  # fmt: skip
def test_class_ids_and_names(kinds, names, words, hopeless):
    counts, faults, stop = suspect.classes(dataset(record(some_boxes(len(kinds)), kinds), classes=names))
    assert stop == hopeless and len(faults) == (words is not None)
    assert words is None or words in faults[0]
    np.testing.assert_array_equal(counts, [kinds.count(i) for i in range(len(names))])


@pytest.mark.parametrize("kinds, words", [
    ([1, 1, 2], "1 of 3 classes have no object, egg; ids may be off by one"),
    ([0, 1, 1], "1 of 3 classes have no object, dirt; ids may be off by one"),
    ([0, 2, 2], "1 of 3 classes have no object, crack: check"),
    ([0, 1, 2], None),
    ([], None),
])  # fmt: skip
def test_classes_without_objects_are_noted(kinds, words):
    few = dataset(record(some_boxes(len(kinds)), kinds), classes=("egg", "crack", "dirt"))
    notes = suspect.unused(few, suspect.classes(few)[0])
    assert len(notes) == (words is not None) and all(words in note for note in notes)


def test_parts_are_compared():
    one, two, three = (record(some_boxes(4), image=np.full((8, 8, 3), gray, np.uint8)) for gray in (1, 2, 3))
    assert suspect.between(dataset(one, two), dataset(three)) == ([], False)
    (line,), hopeless = suspect.between(dataset(one, two), dataset(two, three))
    assert "1 of 2 validation pictures are in the training set too" in line and not hopeless
    empty = record([], image=np.full((8, 8, 3), 9, np.uint8))
    (line,), hopeless = suspect.between(dataset(one), dataset(empty))
    assert "has no objects, all 1 photos are background" in line and hopeless
