"""Copies of large photos: their pixels are those of the model's own resize, their boxes scale with them."""

import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kerasdet import data, images
from kerasdet.data import shrink


def record(path, height, width, number=0):
    boxes = np.float32([[10, 20, 110, 220]])
    return data.Record(
        id=number, image=str(path), height=height, width=width, boxes=boxes, classes=np.int32([0]),
        crowds=np.array([False]), areas=np.float32([20000]), keypoints=np.float32([[[30, 40, 2]]]),
    )  # fmt: skip


@pytest.fixture
def photos(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)
    large = np.kron(noise, np.ones((100, 100, 1), np.uint8))  # 600 x 800
    Image.fromarray(large).save(tmp_path / "large.png")
    Image.fromarray(large[:200, :240]).save(tmp_path / "small.png")
    records = [record(tmp_path / "large.png", 600, 800), record(tmp_path / "small.png", 200, 240, number=1)]
    return data.Dataset("photos", ["thing"], records, keypoints=("nose",))


def test_large_photos_become_copies(photos, tmp_path):
    copies = shrink.shrunk(photos, 150, tmp_path / "cache")
    first, second = copies.records
    assert second is photos.records[1]
    assert (first.height, first.width) == (150, 200)
    np.testing.assert_allclose(first.boxes, [[2.5, 5, 27.5, 55]])
    np.testing.assert_allclose(first.areas, [1250])
    np.testing.assert_allclose(first.keypoints, [[[7.5, 10, 2]]])
    expected = tf.image.resize(photos.records[0].pixels(), (150, 200), antialias=False).numpy()
    assert np.abs(images.load(first.image) - expected).mean() < 2  # JPEG of quality 95
    assert photos.records[0].boxes[0, 0] == 10


def test_a_copy_is_made_once_and_again_when_the_photo_changes(photos, tmp_path):
    first = shrink.shrunk(photos, 150, tmp_path / "cache").records[0].image
    made = os.stat(first).st_mtime_ns
    assert shrink.shrunk(photos, 150, tmp_path / "cache").records[0].image == first
    assert os.stat(first).st_mtime_ns == made
    os.utime(photos.records[0].image, (1, 1))
    assert shrink.shrunk(photos, 150, tmp_path / "cache").records[0].image != first


def test_small_photos_are_not_copied(photos, tmp_path):
    assert shrink.shrunk(photos, 500, tmp_path / "cache") is photos
    assert not (tmp_path / "cache").exists()


def test_a_damaged_photo_is_named(photos, tmp_path):
    (tmp_path / "large.png").write_bytes(b"no photo")
    with pytest.raises(ValueError, match="large.png: cannot be decoded"):
        shrink.shrunk(photos, 150, tmp_path / "cache")
