"""The benchmark of the data pipeline: its files, its floor, its arithmetic."""

import pytest
from PIL import Image

from kerasdet.benchmark import input as inputs
from kerasdet.benchmark import measure


def test_files_and_objects(tmp_path):
    paths = inputs.write(tmp_path, 3)
    for path in paths:
        with Image.open(path) as picture:
            assert (picture.format, picture.size) == ("JPEG", (640, 480))
    dataset = inputs.read(paths)
    for record in dataset.records:
        assert (record.height, record.width, len(record.boxes)) == (480, 640, 8)
        assert (record.boxes >= 0).all() and (record.boxes <= [640, 480, 640, 480]).all()
        assert (record.boxes[:, 2:] > record.boxes[:, :2]).all()


def test_shares(tmp_path, monkeypatch):
    """The floor is its own whole; others are compared with it by their medians."""
    monkeypatch.setattr(inputs, "TRANSFORMS", {"flip": (("flip", 0.5),)})
    monkeypatch.setattr(measure, "MATMUL_SIDE", 64)
    monkeypatch.setattr(measure, "COPY_BYTES", 2**16)
    report = inputs.inputs(inputs.write(tmp_path, 2), rounds=3, batch_size=2, batches=2)["input"]
    floor, flip = report["cases"]
    assert floor["name"] == inputs.FLOOR and floor["floor_share"] == pytest.approx(1)
    assert flip["floor_share"] == pytest.approx(floor["median_ms"] / flip["median_ms"])
    assert flip["images_s"] == pytest.approx(4 / flip["median_ms"] * 1e3) and flip["rounds"] == 3


def test_no_such_files():
    with pytest.raises(FileNotFoundError, match="nowhere/\\*.jpg: no such files"):
        inputs.files("nowhere/*.jpg", 1)
