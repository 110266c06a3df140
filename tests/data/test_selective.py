"""Selective search: its proposals, its determinism, and that an interrupted call continues."""

import sys

import numpy as np
import pytest

from kerasdet import boxes, data
from kerasdet.data import proposals, selective


def scene(number=0):
    """Two flat rectangles on a background with some noise, and their boxes."""
    rng = np.random.default_rng(number)
    pixels = np.full((80, 120, 3), 200, np.float64)
    objects = np.float32([[10 + number, 15, 45, 60], [70, 20, 110, 50 + number]])
    for (x1, y1, x2, y2), color in zip(objects.astype(int), [(250, 40, 30), (20, 80, 240)], strict=True):
        pixels[y1:y2, x1:x2] = color
    return np.uint8(np.clip(pixels + rng.normal(0, 2, pixels.shape), 0, 255)), objects


def dataset(*numbers):
    records = []
    for i in numbers:
        pixels, objects = scene(i)
        records.append(
            data.Record(
                id=i, image=pixels, height=80, width=120, boxes=objects, classes=np.int32([0, 0]),
                crowds=np.zeros(2, bool), areas=np.float32([1, 1]),
            )
        )  # fmt: skip
    return data.Dataset("scenes", ("thing",), records)


def test_without_opencv(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cv2", None)
    for call in (lambda: selective.search(scene()[0]), lambda: selective.make(dataset(0), tmp_path / "p.npz")):
        with pytest.raises(ValueError, match=r"needs OpenCV's contributed modules: pip install kerasdet\[proposals\]"):
            call()


@pytest.mark.parametrize("side", [120, 240])
def test_finds_distinct_regions(side):
    pytest.importorskip("cv2")
    pixels, objects = scene()
    found = selective.search(pixels, side=side, least=side // 10)
    assert found.dtype == np.float32 and (found >= 0).all() and (found <= [120, 80, 120, 80]).all()
    assert (found[:, 2:] - found[:, :2] >= 11.5).all()
    assert (np.asarray(boxes.iou(objects, found)).max(1) > 0.9).all()
    selective.search(scene(3)[0], side=side)
    np.testing.assert_array_equal(selective.search(pixels, side=side, least=side // 10), found)
    np.testing.assert_array_equal(selective.search(pixels, side=side, least=side // 10, count=2), found[:2])


def test_interrupted_call_continues(tmp_path):
    """What is in the file stays, whatever it is; other settings are refused."""
    pytest.importorskip("cv2")
    path, settings = tmp_path / "p.npz", {"side": 120, "least": 10}
    selective.make(dataset(0), path, 1, **settings)
    known, _ = proposals.read(path)
    np.testing.assert_array_equal(known["image 0"], selective.search(scene(0)[0], **settings))
    kept = np.float32([[1, 2, 3, 4]])
    proposals.write(path, {"image 0": kept}, "selective search least=10, side=120")
    selective.make(dataset(0, 1), path, 1, **settings)
    found, _ = proposals.read(path)
    np.testing.assert_array_equal(found["image 0"], kept)
    np.testing.assert_array_equal(found["image 1"], selective.search(scene(1)[0], **settings))
    whole = proposals.attach(dataset(1), path)
    np.testing.assert_array_equal(proposals.recall(whole, (2000,), (0.9,)), [[1]])
    with pytest.raises(ValueError, match="was made by 'selective search least=10, side=120', not by"):
        selective.make(dataset(2), path, 1, side=60, least=10)


def test_an_unknown_mode():
    with pytest.raises(ValueError, match=r"mode must be one of \['fast', 'quality'\], got 'slow'"):
        selective.search(scene()[0], mode="slow")
