import concurrent.futures
import functools
import io
import logging
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from kerasdet import images
from kerasdet.images import files as decoding

RULES = [("shorter", 40, 60), ("stretch", 50, 30), ("squeeze", 50, 30)]
RULES += [("letterbox", 64, 96), ("letterbox", 96, 64), ("corner", 64, 96), ("keep",)]
RULES += [("darknet_stretch", 50, 30), ("darknet_letterbox", 64, 96)]

DECODE = tf.function(images.decode, reduce_retracing=True)


def picture(height=24, width=40):
    """Smooth, so that JPEG keeps it, and without symmetry."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    channels = [255 * x / width, 255 * y / height, 255 * (x / width) * (1 - y / height)]
    return np.stack(channels, -1).round().astype(np.uint8)


def encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(pixels):
    return encode(Image.fromarray(pixels), "JPEG", quality=97, subsampling=0)


def png16(values):
    """Pillow writes no 16-bit PNG but gray: [H, W, C] uint16, C = 1 gray, 2 gray and alpha, 3 RGB."""
    height, width, channels = values.shape

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(orientation, order=">", directory=8, entries=None):
    """A TIFF structure whose first directory holds the maker, the orientation and the resolution's unit."""
    mark = {">": b"MM", "<": b"II"}[order]
    tags = [(0x010F, 2, 4, b"abc\0"), (0x0112, 3, 1, struct.pack(order + "HH", orientation, 0))]
    tags.append((0x0128, 3, 1, struct.pack(order + "HH", 2, 0)))
    body = b"".join(struct.pack(order + "HHI", *tag[:3]) + tag[3] for tag in tags)
    count = len(tags) if entries is None else entries
    return mark + struct.pack(order + "HI", 42, directory) + struct.pack(order + "H", count) + body + b"\0\0\0\0"


def with_segment(data, body, marker=0xE1, length=None):
    """A JPEG with one more segment behind its JFIF header."""
    start = 4 + int.from_bytes(data[4:6], "big")
    length = len(body) + 2 if length is None else length
    return data[:start] + bytes([0xFF, marker]) + struct.pack(">H", length) + body + data[start:]


def with_exif(data, *args, **kwargs):
    return with_segment(data, b"Exif\0\0" + tiff(*args, **kwargs))


@functools.cache
def plain():
    return images.decode(jpeg(picture())).numpy()


# Files


def colors(image):
    return np.asarray(image.convert("RGB"))


def animation(kind, first):
    second = first.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return encode(first, kind, save_all=True, append_images=[second], lossless=True, exact=True)


@functools.cache
def files():
    """Name -> bytes and the pixels to expect; a lossy file's are Pillow's."""
    rgb = Image.fromarray(picture())
    gray, palette, bits = rgb.convert("L"), rgb.quantize(16), rgb.convert("1")
    alpha = Image.fromarray(picture()[::-1, :, 0].copy())
    rgba, gray_alpha = rgb.copy(), Image.merge("LA", (gray, alpha))
    rgba.putalpha(alpha)
    wide = np.random.default_rng(0).integers(0, 65536, (24, 40, 3)).astype(np.uint16)
    high = (wide >> 8).astype(np.uint8)
    lossy = {
        "plain.jpg": jpeg(picture()),
        "UPPER.JPG": jpeg(picture()),
        "name with spaces äö.jpg": jpeg(picture()),
        "jpeg_named.png": jpeg(picture()),
        "subsampled_420.jpg": encode(rgb, "JPEG", quality=80, subsampling=2),
        "progressive.jpg": encode(rgb, "JPEG", progressive=True),
        "trailing_bytes.jpg": jpeg(picture()) + b"\0tail" * 20,
        "cmyk.jpg": encode(rgb.convert("CMYK"), "JPEG"),
        "gray.jpg": encode(gray, "JPEG"),
        "wide_2000x3.jpg": jpeg(picture(3, 2000)),
        "lossy.webp": encode(rgb, "WEBP"),
        "lossy_alpha.webp": encode(rgba, "WEBP"),
    }
    return {name: (data, colors(Image.open(io.BytesIO(data)))) for name, data in lossy.items()} | {
        "gray.bmp": (encode(gray, "BMP"), colors(gray)),
        "plain.bmp": (encode(rgb, "BMP"), picture()),
        "palette.bmp": (encode(palette, "BMP"), colors(palette)),
        "bmp_named.jpg": (encode(rgb, "BMP"), picture()),
        "rgba.png": (encode(rgba, "PNG"), picture()),
        "gray_alpha.png": (encode(gray_alpha, "PNG"), colors(gray)),
        "one_bit.png": (encode(bits, "PNG"), colors(bits)),
        "palette.png": (encode(palette, "PNG"), colors(palette)),
        "palette_transparent.png": (encode(palette, "PNG", transparency=3), colors(palette)),
        "gray_16bit.png": (png16(wide[..., :1]), high[..., [0, 0, 0]]),
        "gray_alpha_16bit.png": (png16(wide[..., :2]), high[..., [0, 0, 0]]),
        "rgb_16bit.png": (png16(wide), high),
        "still.gif": (encode(palette, "GIF"), colors(palette)),
        "animated.gif": (animation("GIF", palette), colors(palette)),
        "lossless.webp": (encode(rgb, "WEBP", lossless=True), picture()),
        "alpha.webp": (encode(rgba, "WEBP", lossless=True, exact=True), picture()),
        "animated_alpha.webp": (animation("WEBP", rgba), picture()),
        "one_pixel.png": (encode(rgb.crop((3, 3, 4, 4)), "PNG"), picture()[3:4, 3:4]),
        "tall_3x2000.png": (encode(Image.fromarray(picture(2000, 3)), "PNG"), picture(2000, 3)),
    }


@pytest.mark.parametrize("name", files())
def test_every_kind_of_file_gives_rgb(tmp_path, name):
    data, expected = files()[name]
    path = tmp_path / name
    path.write_bytes(data)
    pixels = images.load(path)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, expected)


def test_files_in_a_data_pipeline_and_in_a_graph(tmp_path):
    paths = []
    for name, (data, _) in files().items():
        (tmp_path / name).write_bytes(data)
        paths.append(str(tmp_path / name))
    dataset = tf.data.Dataset.from_tensor_slices(paths).map(images.read)
    assert dataset.element_spec == tf.TensorSpec([None, None, 3], tf.uint8)
    graph = tf.function(images.read, input_signature=[tf.TensorSpec([], tf.string)])
    for path, pixels in zip(paths, dataset, strict=True):
        np.testing.assert_array_equal(pixels, images.load(path))
        np.testing.assert_array_equal(graph(path), images.load(path))


def test_bytes_in_a_saved_model(tmp_path):
    class Server(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
        def serve(self, data):
            spec = tf.TensorSpec([None, None, 3], tf.uint8)
            return tf.map_fn(images.decode, data, fn_output_signature=spec)

    tf.saved_model.save(Server(), tmp_path)
    turned = with_exif(jpeg(picture()[::-1, ::-1]), 3)
    served = tf.saved_model.load(tmp_path).serve([jpeg(picture()), turned])
    assert np.abs(served.numpy().astype(int) - picture()).max() <= 4


STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_turns_the_picture_upright(orientation, order):
    upright = Image.fromarray(picture())
    stored = upright if orientation == 1 else upright.transpose(STORED[orientation])
    data = with_exif(jpeg(np.asarray(stored)), orientation, order)
    opened = Image.open(io.BytesIO(data))
    assert opened.getexif()[0x0112] == orientation
    np.testing.assert_allclose(ImageOps.exif_transpose(opened), picture(), atol=4)
    for decode in (images.decode, DECODE):
        np.testing.assert_allclose(decode(tf.constant(data)).numpy().astype(int), picture(), atol=4)


def test_exif_as_pillow_writes_it_and_behind_another_segment():
    exif = Image.Exif()
    exif[0x0112] = 3
    data = encode(Image.fromarray(picture()), "JPEG", quality=97, subsampling=0, exif=exif)
    np.testing.assert_array_equal(images.decode(data), plain()[::-1, ::-1])
    behind = with_segment(with_exif(jpeg(picture()), 3), b"http://ns.adobe.com/xap/1.0/\0<x/>" + bytes(9000))
    np.testing.assert_array_equal(images.decode(behind), plain()[::-1, ::-1])


@pytest.mark.parametrize(
    "data",
    [
        with_exif(jpeg(picture()), 0),
        with_exif(jpeg(picture()), 9),
        with_exif(jpeg(picture()), 65535, "<"),
        with_exif(jpeg(picture()), 6, directory=2**32 - 1),
        with_exif(jpeg(picture()), 6, "<", directory=2**31),
        with_exif(jpeg(picture()), 6, directory=10**6),
        with_exif(jpeg(picture()), 6, directory=0),
        with_exif(jpeg(picture()), 6, entries=0),
        with_exif(jpeg(picture()), 6, entries=1),
        with_segment(jpeg(picture()), b"Exif\0\0"),
        with_segment(jpeg(picture()), b"Exif\0\0M"),
        with_segment(jpeg(picture()), b"Exif\0\0" + tiff(6)[:20]),
        with_segment(jpeg(picture()), b"Exif\0\0" + b"XX" + tiff(6)[2:]),
        with_segment(jpeg(picture()), b"Exif\0\0" + tiff(6)[:2] + b"\0\0" + tiff(6)[4:]),
        with_segment(jpeg(picture()), b"Exif\0\0" + tiff(6), marker=0xFE),
        jpeg(picture()) + b"\xff\xe1\x00\x01Exif\0\0" + tiff(6),
    ],
)
def test_orientation_that_makes_no_sense_leaves_the_picture(data):
    np.testing.assert_array_equal(images.decode(data), plain())


def test_a_long_list_of_entries_reads_up_to_the_segment_end():
    np.testing.assert_array_equal(
        images.decode(with_exif(jpeg(picture()), 3, entries=65535)), images.decode(with_exif(jpeg(picture()), 3))
    )


def test_random_bytes_in_exif_never_stop_the_decoder():
    rng = np.random.default_rng(1)
    for _ in range(200):
        body = bytearray(tiff(6, rng.choice([">", "<"])))
        for place in rng.integers(0, len(body), rng.integers(1, 12)):
            body[place] = rng.integers(256)
        pixels = DECODE(tf.constant(with_segment(jpeg(picture()), b"Exif\0\0" + bytes(body)))).numpy()
        assert sorted(pixels.shape) == [3, 24, 40]
        np.testing.assert_array_equal(np.sort(pixels, axis=None), np.sort(plain(), axis=None))


def test_exif_in_a_png_is_ignored():
    data = encode(Image.fromarray(picture()), "PNG")
    hidden = data[:33] + b"\xff\xe1\x00\x40Exif\0\0" + tiff(3)
    with pytest.raises(tf.errors.InvalidArgumentError):
        images.decode(hidden)
    np.testing.assert_array_equal(images.decode(data + b"\xff\xe1\x00\x40Exif\0\0" + tiff(3)), picture())


@functools.cache
def broken():
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 40, 3)).astype(np.uint8))
    damaged = {kind: encode(rgb, kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP")}
    return {
        "missing.jpg": (None, "no such file"),
        "empty.jpg": (b"", "the file is empty"),
        "text äö.jpg": (b"no image at all\nreally", "it is not a JPEG, PNG, GIF, BMP or WebP file"),
        "short.jpg": (b"\xff", "it is not a JPEG, PNG, GIF, BMP or WebP file"),
        "sound.webp": (b"RIFF\x24\0\0\0WAVEfmt ", "it is not a JPEG, PNG, GIF, BMP or WebP file"),
        "plain.tiff": (encode(rgb, "TIFF"), "it is not a JPEG, PNG, GIF, BMP or WebP file"),
        "animated_opaque.webp": (animation("WEBP", rgb), "damaged or unusual: "),
        "one_bit.bmp": (encode(rgb.convert("1"), "BMP"), "damaged or unusual: "),
        **{f"truncated.{kind}": (data[: len(data) * 3 // 5], "damaged or unusual: ") for kind, data in damaged.items()},
        **{f"beginning.{kind}": (data[:12], "damaged or unusual: ") for kind, data in damaged.items()},
    }


@pytest.mark.parametrize("name", broken())
def test_a_broken_file_is_named_in_one_line(tmp_path, name):
    data, reason = broken()[name]
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ValueError) as caught:
        images.load(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: cannot be decoded as an image ({reason}") and "\n" not in line and "{{" not in line


def test_threads_share_one_graph(tmp_path):
    """TensorFlow would warn of a function that is traced again and again, although it waits for one trace."""
    for i in range(16):
        Image.fromarray(picture()).save(tmp_path / f"{i}.png")
    decoding._decoder.cache_clear()
    said, logger = [], tf.get_logger()
    handler = logging.Handler()
    handler.emit = said.append
    logger.addHandler(handler)
    try:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            found = list(pool.map(images.load, sorted(tmp_path.iterdir())))
    finally:
        logger.removeHandler(handler)
    assert not said and decoding._decoder.cache_info().misses == 1
    for one in found:
        np.testing.assert_array_equal(one, picture())


def test_a_folder_is_no_image(tmp_path):
    with pytest.raises(ValueError, match=r"cannot be decoded as an image \(.*directory"):
        images.load(tmp_path)


@pytest.mark.parametrize(
    "data", [b"", b"text", encode(Image.fromarray(picture()), "TIFF")], ids=["none", "text", "TIFF"]
)
def test_other_bytes_are_refused_in_graphs(data):
    message = "photo 7: cannot be decoded as an image"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        images.decode(data, "photo 7")
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        DECODE(tf.constant(data), tf.constant("photo 7"))
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        list(tf.data.Dataset.from_tensors((data, "photo 7")).map(images.decode))


REFUSED = {"plain.tiff", "empty.jpg", "text_named.jpg", "truncated.jpg"}
ODDITIES = Path(os.environ.get("KERASDET_DATA", "/nowhere")) / "oddities"


@pytest.mark.skipif(not ODDITIES.is_dir(), reason="KERASDET_DATA names no folder with oddities")
@pytest.mark.parametrize("path", sorted(ODDITIES.glob("*.[!m]*")), ids=lambda path: path.name)
def test_odd_files(path):
    if path.name in REFUSED:
        with pytest.raises(ValueError, match="cannot be decoded as an image"):
            images.load(path)
        return
    image = ImageOps.exif_transpose(Image.open(path))
    deep = image.mode.startswith("I")
    expected = np.repeat(np.asarray(image)[..., None] >> 8, 3, -1) if deep else colors(image)
    pixels = images.load(path)
    np.testing.assert_array_equal(pixels, expected)
    if "exif" in path.name:
        assert np.abs(pixels.astype(int) - images.load(ODDITIES / "plain.jpg")).mean() < 2


# Sizes


def bilinear(pixels, height, width):
    """Half-pixel centers, edges clamped, no antialias, in float64."""

    def axis(old, new):
        places = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.floor(places).astype(int)
        return low, np.minimum(low + 1, old - 1), places - low

    top, bottom, down = axis(pixels.shape[0], height)
    left, right, across = axis(pixels.shape[1], width)
    rows = pixels[top] + (pixels[bottom].astype(float) - pixels[top]) * down[:, None, None]
    return rows[:, left] + (rows[:, right] - rows[:, left]) * across[:, None]


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize(
    ("rule", "old", "new"),
    [
        (("shorter", 256, 320), (320, 416), (246, 320)),
        (("shorter", 256, 320), (288, 352), (256, 312)),
        (("shorter", 20, 200), (37, 29), (25, 20)),
        (("shorter", 64, 64), (20, 30), (42, 64)),
        (("stretch", 30, 50), (37, 29), (30, 50)),
        (("stretch", 300, 200), (1, 1), (300, 200)),
    ],
)
def test_resizing_is_bilinear_by_the_ratio_of_sizes(rule, old, new):
    pixels = noise(*old, 3)
    resized, frames, windows = images.resize(pixels, rule)
    np.testing.assert_allclose(resized, bilinear(pixels, *new), atol=0.02)
    np.testing.assert_array_equal(frames, np.float32([new[1] / old[1], new[0] / old[0], 0, 0]))
    np.testing.assert_array_equal(windows, [0, 0, new[1], new[0]])


@pytest.mark.parametrize(("least", "most"), [(800, 1333), (600, 1000), (256, 320), (640, 640), (512, 4096), (1, 7)])
def test_shorter_sides_are_those_of_float64(least, most):
    rng = np.random.default_rng(least)
    shape = rng.integers(1, 5000, (4000, 2))
    factors = np.stack([np.arange(1, 2001), np.arange(1, 2001) * rng.integers(1, 9, 2000)], 1)
    shape = np.concatenate([shape, factors, factors[:, ::-1]]).astype(np.int32)
    scale = np.minimum(least / shape.min(1), most / shape.max(1))
    expected = np.maximum(np.floor(shape * scale[:, None]), 1)
    assert least == 1 or (expected != np.maximum(np.floor(np.float32(shape * np.float32(scale)[:, None])), 1)).any()
    sizes = tf.function(lambda olds: tf.map_fn(lambda old: images.rules._shorter(old, least, most), olds))
    np.testing.assert_array_equal(sizes(shape), expected)


def test_a_shorter_side_that_float64_rounds_down():
    assert np.floor(55 * (28 / 55)) == 27
    assert images.resize(noise(55, 80, 3), ("shorter", 28, 100))[0].shape == (27, 40, 3)


@pytest.mark.parametrize(
    ("old", "box"),
    [((30, 40), (0, 8, 64, 56)), ((40, 30), (8, 0, 56, 64)), ((7, 7), (0, 0, 64, 64)), ((100, 201), (0, 16, 64, 47))],
)
def test_a_letterbox_centers_the_picture_on_zeros(old, box):
    pixels = noise(*old, 3) // 2 + 100
    resized, frames, windows = images.resize(pixels, ("letterbox", 64, 64))
    left, top, right, bottom = box
    np.testing.assert_array_equal(windows, box)
    scales = (right - left) / old[1], (bottom - top) / old[0]
    np.testing.assert_array_equal(frames, np.float32([*scales, left, top]))
    np.testing.assert_allclose(resized[top:bottom, left:right], bilinear(pixels, bottom - top, right - left), atol=0.02)
    assert (resized.numpy() > 0).all(-1).sum() == (bottom - top) * (right - left)


@pytest.mark.parametrize(("old", "new"), [((30, 40), (48, 64)), ((40, 30), (64, 48)), ((100, 201), (31, 64))])
def test_a_corner_holds_the_picture_of_a_letterbox(old, new):
    """At the upper left, with zeros below or beside."""
    pixels = noise(*old, 3) // 2 + 100
    cornered, frames, windows = images.resize(pixels, ("corner", 64, 64))
    _, _, (left, top, right, bottom) = images.resize(pixels, ("letterbox", 64, 64))
    assert (bottom - top, right - left) == new
    np.testing.assert_array_equal(windows, [0, 0, new[1], new[0]])
    np.testing.assert_array_equal(frames, np.float32([new[1] / old[1], new[0] / old[0], 0, 0]))
    assert cornered.shape == (64, 64, 3)
    np.testing.assert_allclose(cornered[: new[0], : new[1]], bilinear(pixels, *new), atol=0.02)
    assert not cornered[new[0] :].numpy().any() and not cornered[:, new[1] :].numpy().any()


def test_keeping_changes_the_dtype_only():
    resized, frames, windows = images.resize(noise(5, 7, 3), ("keep",))
    assert resized.dtype == tf.float32
    np.testing.assert_array_equal(resized, noise(5, 7, 3))
    np.testing.assert_array_equal(frames, [1, 1, 0, 0])
    np.testing.assert_array_equal(windows, [0, 0, 7, 5])


def test_padding_is_zero_at_the_bottom_and_the_right():
    padded = images.pad(noise(2, 33, 64, 3), 32)
    assert padded.shape == (2, 64, 64, 3)
    np.testing.assert_array_equal(padded[:, :33], noise(2, 33, 64, 3))
    assert not padded[:, 33:].numpy().any()
    np.testing.assert_array_equal(images.pad(padded, 32), padded)


FRAMED = [("shorter", 96, 200), ("stretch", 100, 150), ("letterbox", 120, 100), ("corner", 120, 100), ("keep",)]


@pytest.mark.parametrize("rule", FRAMED)
def test_frames_map_a_rectangle_to_where_it_lands(rule):
    x1, y1, x2, y2 = box = np.float32([11, 9, 29, 20])
    pixels = np.zeros((32, 45, 3), np.uint8)
    pixels[int(y1) : int(y2), int(x1) : int(x2)] = 200
    seen = images.preprocess(pixels, rule, multiple=16)
    light = seen["pixels"].numpy()[..., 0] / 200.0
    x, y = np.arange(light.shape[1]) + 0.5, np.arange(light.shape[0]) + 0.5
    left, top, right, bottom = images.to_frames(box[None], seen["frames"]).numpy()[0]
    np.testing.assert_allclose(light.sum(), (right - left) * (bottom - top), rtol=0.01)
    np.testing.assert_allclose((light.sum(0) * x).sum() / light.sum(), (left + right) / 2, atol=0.05)
    np.testing.assert_allclose((light.sum(1) * y).sum() / light.sum(), (top + bottom) / 2, atol=0.05)
    middle = light[int((top + bottom) / 2)]
    np.testing.assert_allclose(np.interp([left, right], x, middle), [0.5, 0.5], atol=0.3)
    back = images.from_frames(images.to_frames(box[None], seen["frames"]), seen["frames"])
    np.testing.assert_allclose(back, box[None], rtol=1e-6)


def test_each_image_of_a_batch_has_its_own_frame():
    boxes = np.float32([[[0, 0, 10, 20], [1, 2, 3, 4]], [[0, 0, 10, 20], [5, 5, 6, 6]]])
    frames = np.float32([[2, 3, 0, 0], [0.5, 0.25, 7, 9]])
    expected = [[[0, 0, 20, 60], [2, 6, 6, 12]], [[7, 9, 12, 14], [9.5, 10.25, 10, 10.5]]]
    np.testing.assert_array_equal(images.to_frames(boxes, frames), expected)
    np.testing.assert_array_equal(images.from_frames(np.float32(expected), frames), boxes)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_batch_dtype_and_graph_change_nothing(rule):
    batch = noise(2, 21, 34, 3)
    seen = images.preprocess(batch, rule, multiple=32)
    height, width = seen["pixels"].shape[1:3]
    assert height % 32 == width % 32 == 0 and seen["windows"].shape == seen["frames"].shape == (2, 4)
    graph = tf.function(
        lambda pixels: images.preprocess(pixels, rule, multiple=32),
        input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)],
    )
    from_floats = images.preprocess(batch.astype(np.float32), rule, multiple=32)
    singles = list(tf.data.Dataset.from_tensor_slices(batch).map(lambda pixels: images.preprocess(pixels, rule, 32)))
    tolerance = 1e-3 if rule[0] == "squeeze" else 0  # matrix products sum in an order of their own, of 255
    for key, value in seen.items():
        assert value.dtype == tf.float32
        for got in (from_floats[key], graph(batch)[key], np.stack([single[key] for single in singles])):
            np.testing.assert_allclose(got, value, rtol=0, atol=tolerance)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_static_sizes_stay_static(rule):
    for batch in (None, 2):
        graph = tf.function(lambda pixels: images.preprocess(pixels, rule, multiple=32))
        outputs = graph.get_concrete_function(tf.TensorSpec([batch, 20, 30, 3], tf.uint8)).structured_outputs
        expected = images.preprocess(noise(1, 20, 30, 3), rule, multiple=32)
        for key, value in outputs.items():
            assert value.shape.as_list() == [batch, *expected[key].shape[1:]]


@pytest.mark.parametrize("shape", [(1, 1), (3, 2000), (2000, 3), (1, 700)])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_extreme_shapes_keep_a_pixel(rule, shape):
    seen = images.preprocess(np.full([1, *shape, 3], 90, np.uint8), rule, multiple=32)
    left, top, right, bottom = seen["windows"].numpy()[0].astype(int)
    assert right > left and bottom > top
    np.testing.assert_allclose(seen["pixels"][0, top:bottom, left:right], 90, rtol=1e-5)
    whole = np.float32([[0, 0, shape[1], shape[0]]])
    # Darknet takes half a pixel of a margin where it pastes at a whole one.
    half = 0.5 if rule[0] == "darknet_letterbox" else 0
    np.testing.assert_allclose(images.to_frames(whole, seen["frames"][0]), seen["windows"], rtol=1e-5, atol=half)


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_tflite_builtins_do_the_same_for_any_size(rule):
    graph = tf.function(
        lambda pixels: images.preprocess(pixels, rule, multiple=32),
        input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8)],
    )
    model = tf.lite.TFLiteConverter.from_concrete_functions([graph.get_concrete_function()]).convert()
    interpreter = tf.lite.Interpreter(model_content=model)
    for height, width in ((21, 34), (49, 98), (1, 1), (3, 500)):
        pixels = noise(1, height, width, 3)
        place = interpreter.get_input_details()[0]["index"]
        interpreter.resize_tensor_input(place, pixels.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(place, pixels)
        interpreter.invoke()
        got = [interpreter.get_tensor(output["index"]) for output in interpreter.get_output_details()]
        for value in graph(pixels).values():
            assert any(array.shape == value.shape and np.allclose(array, value, atol=0.02) for array in got)


@pytest.mark.parametrize(
    "rule",
    [
        None,
        "keep",
        800,
        (),
        ("keep", 1),
        ("shorter", 800),
        ("shorter", 800, 0),
        ("stretch", 300, 300, 3),
        ("stretch", 300.0, 300),
        ("letterbox", -1, 416),
        ("corner", 512),
        ("crop", 300, 300),
        (["keep"],),
    ],
    ids=str,
)
def test_a_wrong_rule_is_named_with_the_allowed_forms(rule):
    with pytest.raises(ValueError) as caught:
        images.resize(noise(4, 4, 3), rule)
    line = str(caught.value)
    assert line.startswith("resize must be ('shorter', min, max), ") and repr(rule) in line and "\n" not in line


def test_a_rule_from_a_saved_configuration_is_a_list():
    assert images.check_rule(["shorter", 800, 1333]) == ("shorter", 800, 1333)
    assert images.check_rule(("keep",)) == ("keep",)


@pytest.mark.parametrize("old", [(90, 70), (333, 251), (20, 45)])
def test_squeeze_matches_pillow(old):
    """A triangle over all pixels that a new one covers; Pillow rounds to whole numbers twice."""
    pixels = np.random.default_rng(0).integers(0, 256, (*old, 3)).astype(np.uint8)
    squeezed, frames, windows = images.resize(pixels, ("squeeze", 40, 30))
    expected = np.asarray(Image.fromarray(pixels).resize((30, 40), Image.BILINEAR), np.float32)
    np.testing.assert_allclose(squeezed, expected, atol=1.01)
    assert np.abs(squeezed - expected).mean() < 0.35
    np.testing.assert_allclose(frames, [30 / old[1], 40 / old[0], 0, 0], rtol=1e-6)
    np.testing.assert_array_equal(windows, [0, 0, 30, 40])
    again = images.resize(tf.stack([pixels, pixels]), ("squeeze", 40, 30))[0]
    np.testing.assert_allclose(again[1], squeezed, atol=1e-3)
