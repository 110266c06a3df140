"""The door for pictures: what is taken has the right pixels, what is not is refused in one line that names it."""

import io
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kerasdet import images
from tests.training import micro

PIXELS = np.random.default_rng(0).integers(0, 256, [10, 14, 3], np.uint8)
WANTED = "must hold RGB pixels 0...255, got"


def turned():
    """A PIL image of PIXELS lying on its side, with the EXIF tag that says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(np.rot90(PIXELS)).save(file, "PNG", exif=exif)
    return Image.open(file)


def encoded():
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG")
    return file.getvalue()


SAME = {
    "uint8": lambda: PIXELS,
    "int64": lambda: PIXELS.astype(np.int64),
    "floats": lambda: PIXELS + np.float32(0.3),
    "half": lambda: PIXELS.astype(np.float16),
    "a tensor": lambda: tf.constant(PIXELS),
    "lists": lambda: PIXELS.tolist(),
    "rounding of a resize": lambda: PIXELS.astype(np.float64).clip(-0.01, 254.9) + 0.2,
    "PIL": lambda: Image.fromarray(PIXELS),
    "PIL with EXIF": turned,
    "PIL with alpha": lambda: Image.fromarray(np.dstack([PIXELS, PIXELS[..., :1]])),
    "bytes": encoded,
}


@pytest.mark.parametrize("form", SAME)
def test_forms_of_one_picture(form):
    found = images.picture(SAME[form]())
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, PIXELS)


def test_other_colors_of_pil():
    ycbcr = Image.fromarray(PIXELS).convert("YCbCr")
    assert np.abs(images.picture(ycbcr).astype(int) - PIXELS).max() <= 4
    gray = images.picture(Image.fromarray(PIXELS[..., 0]))
    np.testing.assert_array_equal(gray, np.repeat(PIXELS[..., :1], 3, axis=2))


REFUSED = {
    rf"{WANTED} 0...1: multiply by 255": [np.linspace(0, 1, 300).reshape(10, 10, 3)],
    rf"{WANTED} -1...1": [np.linspace(-1, 1, 300).reshape(10, 10, 3)],
    rf"{WANTED} bool": [PIXELS > 99],
    rf"{WANTED} uint16: divide by 257": [PIXELS.astype(np.uint16) * 257, PIXELS.astype(np.uint16)],
    rf"{WANTED} 0...65535": [np.int32([[[0, 9, 65535]]])],
    rf"{WANTED} 300...300": [np.full([4, 4, 3], 300.0)],
    rf"{WANTED} nan...nan": [np.full([4, 4, 3], np.nan)],
    r"is empty, shape \(0, 14, 3\)": [PIXELS[5:5]],
    r"must be an array \[height, width, 3\] of RGB pixels, got shape \(10, 14\)": [PIXELS[..., 0]],
    r"must be an array .* got shape \(10, 14, 4\)": [np.dstack([PIXELS, PIXELS[..., 0]])],
    r"must be an array .* got shape \(1, 10, 14, 3\)": [PIXELS[None]],
    "is None, as after a failed read; it must be a path": [None],
    "must be a path, the bytes of an image file, a PIL image or an array": [
        {},
        np.array(["a"]),
        object(),
        [[1], [1, 2]],
    ],
    "cannot be decoded as an image .*JPEG, PNG, GIF, BMP or WebP": [b"no image"],
    r"cannot be decoded as an image \(the file is empty\)": [b""],
    "a PIL image of mode I;16 does not hold 8 bits a channel": [Image.fromarray(np.uint16([[1, 2]]))],
}


@pytest.mark.parametrize(("message", "value"), [(m, value) for m, values in REFUSED.items() for value in values])
def test_what_is_no_picture_is_refused(message, value):
    with pytest.raises(ValueError, match=f"^picture 3:? {message}") as refused:
        images.picture(value, "picture 3")
    assert "\n" not in str(refused.value)


@pytest.fixture(scope="module")
def model():
    return micro.make()


def test_iterables_are_taken(model, tmp_path):
    """In their order; what is wrong is named by its place."""
    shades = [np.full([32, 32, 3], shade, np.uint8) for shade in (20, 200)]
    for i, pixels in enumerate(shades):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    wanted = [model.detect(pixels, above=0.0)["scores"] for pixels in shades]
    assert abs(wanted[0] - wanted[1]).max() > 1e-4
    for given in (
        shades, tuple(shades), (pixels for pixels in shades), sorted(tmp_path.glob("*.png")),
        map(str, sorted(tmp_path.iterdir())),
        {"a": shades[0], "b": shades[1]}.values(),
    ):  # fmt: skip
        found = [one["scores"] for one in model.detect(given, above=0.0)]
        np.testing.assert_array_equal(found, wanted)
    assert model.detect(pathlib.Path(tmp_path).glob("*.jpg")) == [] == model.detect(())
    with pytest.raises(ValueError, match="^picture 1 is None"):
        model.detect(iter([shades[0], None]))
    with pytest.raises(ValueError, match="^the picture is None"):
        model.detect(None)


@pytest.mark.parametrize("above", [30, -0.1, np.nan, None, "0.5", True])
def test_the_least_score_is_a_score(model, above):
    with pytest.raises(ValueError, match="^above must be a least score from 0 to 1, got"):
        model.detect(PIXELS, above=above)


def test_bare_pixels_of_a_call(model):
    batch = np.float32(PIXELS[None])
    for verb in (model, lambda pixels: model.predict(pixels, verbose=0)):
        np.testing.assert_allclose(verb(batch)["scores"], verb(PIXELS[None])["scores"], rtol=1e-5)
        for given, message in (
            (PIXELS, r"pixels must have shape \[B, height, width, 3\], got \(10, 14, 3\): .* is pixels\[None\]"),
            (batch / 255, "pixels must hold RGB pixels 0...255, got 0...1: multiply by 255"),
            (batch.astype(np.uint16), "pixels must be uint8 or floats of RGB 0...255, got uint16"),
        ):
            with pytest.raises(ValueError, match=f"^{message}"):
                verb(given)
    with pytest.raises(ValueError, match="^images has no 'windows'"):
        model({"pixels": tf.constant(batch)})
