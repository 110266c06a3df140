"""Headers of image files against Pillow's reading; orientation in every format; files that are cut off or too dark."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from kerasdet import images
from kerasdet.data import faults, files
from kerasdet.data.dataset import Encoded
from kerasdet.images import header

BLOCKS = np.kron(np.random.default_rng(0).integers(0, 256, (4, 6, 3)), np.ones((10, 10, 1))).astype(np.uint8)
HOW = {"png": {}, "webp": {"lossless": True}, "jpeg": {"quality": 95}}


def encoded(kind, orientation=1):
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(BLOCKS).save(file, kind, exif=exif, **HOW.get(kind, {}))
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", HOW)
def test_orientation_in_every_format(kind, orientation):
    content = encoded(kind, orientation)
    truth = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB"))
    found = header.read(io.BytesIO(content))
    assert (found.orientation, found.upright, found.cut) == (orientation, truth.shape[:2], False)
    np.testing.assert_allclose(images.decode(content).numpy().astype(int), truth, atol=2)


def segments(content, *names):
    """A JPEG with more segments before its first."""
    more = b"".join(b"\xff\xed" + (len(name) + 2).to_bytes(2, "big") + name for name in names)
    return content[:2] + more + content[2:]


def test_orientation_after_any_number_of_segments(tmp_path):
    """One of them holds the word Exif, and together they are longer than a segment may be."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(segments(encoded("jpeg", 6), b"Photoshop 3.0\0Exif\0\0II*\0", *[b"\0" * 60000] * 3))
    assert files.upright_sizes([str(path)], [None]) == [(60, 40)] and images.load(path).shape == (60, 40, 3)


@pytest.mark.parametrize("kind", ["gif", "bmp"])
def test_sizes_of_other_formats(kind):
    assert header.read(io.BytesIO(encoded(kind))).upright == (40, 60)


@pytest.mark.parametrize("kind", HOW)
def test_a_file_that_is_cut_off_is_refused(tmp_path, kind):
    path = tmp_path / f"photo.{kind}"
    path.write_bytes(encoded(kind)[:-20])
    with pytest.raises(ValueError, match=rf"photo\.{kind}: the file is cut off.*copy it again"):
        files.upright_sizes([str(path)], [(40, 60)])


def test_spoiled_headers_end():
    rng = np.random.default_rng(0)
    for kind in ("png", "webp", "jpeg", "gif", "bmp"):
        content = encoded(kind, 6) if kind in HOW else encoded(kind)
        for _ in range(60):
            spoiled = bytearray(content)
            for position in rng.integers(2, min(len(content), 200), 4):
                spoiled[position] = rng.integers(256)
            assert header.read(io.BytesIO(bytes(spoiled[: rng.integers(2, len(content))]))).orientation in range(1, 9)


def test_dark_16_bit_pictures_are_refused_with_the_scale(tmp_path):
    path = str(tmp_path / "camera.png")
    Image.fromarray(np.full((8, 9), 4095, np.uint16)).save(path)
    with pytest.raises(ValueError, match=r"camera\.png: has 16 bits a pixel, but uses 12, at most 4095.*by 16"):
        files.upright_sizes([path], [None])
    Image.fromarray(np.full((8, 9), 65535, np.uint16)).save(path)
    assert files.upright_sizes([path], [None]) == [(8, 9)]


def test_a_picture_in_a_shard(tmp_path):
    content = encoded("jpeg", 6)
    (tmp_path / "shard").write_bytes(b"before" + content + b"behind")
    image = Encoded(str(tmp_path / "shard"), 6, len(content), "a.jpg")
    with faults.listed() as found:
        assert files.upright_sizes([image], [None]) == [(60, 40)]
    assert found == []
