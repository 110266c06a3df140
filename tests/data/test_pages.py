"""Supervisely's and CreateML's files, by value; LabelMe and KITTI are among the cases."""

import json

import numpy as np
import pytest
from PIL import Image

from kerasdet import data


@pytest.fixture
def photo(tmp_path):
    """A function that writes a photo of 60 x 40 pixels."""

    def write(name):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full([40, 60, 3], 90, np.uint8)).save(tmp_path / name)

    return write


def test_supervisely(tmp_path, photo):
    """Photos in `img`, a file for each in `ann`; a rectangle by two corners, a polygon by its exterior."""
    photo("ds/img/a.png")
    outlines = [("cat", "rectangle", [[30, 20], [10, 5]]), ("dog", "polygon", [[0, 0], [20, 0], [20, 30]])]
    objects = [
        {"classTitle": name, "geometryType": kind, "points": {"exterior": points, "interior": []}}
        for name, kind, points in outlines
    ]
    point = {"classTitle": "cat", "geometryType": "point", "points": {"exterior": [[3, 4]], "interior": []}}
    (tmp_path / "ds/ann").mkdir()
    page = {"size": {"height": 40, "width": 60}, "objects": [*objects, point]}
    (tmp_path / "ds/ann/a.png.json").write_text(json.dumps(page))
    found = data.read(tmp_path)
    assert found.classes == ("cat", "dog")
    np.testing.assert_array_equal(found.records[0].boxes, [[10, 5, 30, 20], [0, 0, 20, 30]])
    np.testing.assert_array_equal(found.records[0].classes, [0, 1])
    assert any("1 object is of the kind 'point' and left out" in note for note in found.notes), found.notes


def test_createml(tmp_path, photo):
    """One list for all photos; a box is its center and its sides."""
    photo("a.png")
    photo("b.png")
    box = {"label": "cat", "coordinates": {"x": 20, "y": 15, "width": 10, "height": 6}}
    entries = [{"image": "a.png", "annotations": [box]}, {"image": "b.png", "annotations": []}]
    (tmp_path / "_annotations.createml.json").write_text(json.dumps(entries))
    found = data.read(tmp_path)
    assert found.classes == ("cat",) and [len(record.boxes) for record in found.records] == [1, 0]
    np.testing.assert_array_equal(found.records[0].boxes, [[15, 12, 25, 18]])
    entries[0]["annotations"][0]["coordinates"]["x"] = "left"
    (tmp_path / "_annotations.createml.json").write_text(json.dumps(entries))
    with pytest.raises(ValueError, match=r"annotation 1 of a.png needs 2 points x, y of finite numbers"):
        data.read(tmp_path)
