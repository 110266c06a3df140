"""A phone's HEIC photos, read through the whole pipeline; the error without the extra."""

import sys

import numpy as np
import pytest
from PIL import Image

from kerasdet import data, images
from kerasdet.data import pipeline, shrink


@pytest.fixture
def photo(tmp_path):
    """Four gray quarters, which the codec keeps."""
    pillow_heif = pytest.importorskip("pillow_heif")
    quarters = np.kron(np.uint8([[40, 90], [150, 220]]), np.ones((64, 96), np.uint8))
    pillow_heif.from_pillow(Image.fromarray(quarters).convert("RGB")).save(tmp_path / "IMG_0001.HEIC", quality=95)
    return tmp_path / "IMG_0001.HEIC", quarters


def dataset(path):
    none = np.zeros
    record = data.Record(
        0, str(path), 128, 192, none((0, 4), np.float32), none(0, np.int32), none(0, bool), none(0, np.float32)
    )  # fmt: skip
    return data.Dataset("phone", ["thing"], [record])


def test_photo_in_python_and_in_the_pipeline(photo):
    path, quarters = photo
    pixels = images.load(path)
    assert np.abs(pixels.astype(int) - quarters[..., None]).max() < 6
    seen = next(iter(pipeline.load(dataset(path), lambda p: images.preprocess(p, ("keep",)), 1)))[0]
    np.testing.assert_array_equal(seen["pixels"][0], pixels)


def test_a_photo_becomes_a_copy(photo, tmp_path):
    path, quarters = photo
    copy = shrink.shrunk(dataset(path), 64, tmp_path / "cache").records[0]
    assert (copy.height, copy.width) == (64, 96) and copy.image.endswith(".jpg")
    assert np.abs(images.load(copy.image)[::63, ::95, 0].astype(int) - [[40, 90], [150, 220]]).max() < 8


def test_error_without_the_extra(tmp_path, monkeypatch):
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ValueError, match=r"IMG_0001.HEIC: this is a HEIC photo; pip install kerasdet\[heic\]"):
        images.load(path)
