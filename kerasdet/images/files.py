"""Decodes image files: JPEG, PNG, GIF, BMP and WebP in graphs of stock TensorFlow operators, HEIC outside of graphs."""

import functools
import os
import re
import threading

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from kerasdet.images import header

_KINDS = "JPEG, PNG, GIF, BMP or WebP"
_JPEG = b"\xff\xd8\xff"
_HEAD = 2**11
# The type and brand after the size of a HEIC file's first box (ISO/IEC 23008-12, annex B).
_HEIC = tuple(b"ftyp" + brand for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"))
_ORIENTATION = 0x0112
_EXIF = b"Exif\0\0"
# Bytes at the beginning of a part of a file that say what it is.
_PART = 16
# TensorFlow decodes fewer values than this; Pillow, more pixels than it takes for an attack, as slides have.
_LARGE = 2**29
Image.MAX_IMAGE_PIXELS = None


def load(path):
    """Reads an image file.

    Args:
        path: str or path-like; a JPEG, PNG, GIF (first frame), BMP or WebP file with any extension; with the extra
            `heic` installed, also a phone's HEIC photo.

    Returns:
        NumPy array [H, W, 3] uint8, RGB 0...255, turned upright by its EXIF orientation.

    Raises:
        ValueError: the file cannot be decoded; the message says why.
    """
    if is_heic(path):
        return _load_heic(path)
    try:
        with _tracing:
            decoder = _decoder()
        return decoder(tf.io.read_file(os.fspath(path)), tf.constant(os.fspath(path))).numpy()
    except tf.errors.NotFoundError:
        reason = "no such file"
    except tf.errors.InvalidArgumentError as error:
        if _is_large(path):
            return _by_pillow(path)
        reason = _why(tf.io.read_file(os.fspath(path)), error)
    except tf.errors.OpError as error:
        reason = _words(error)
    raise ValueError(f"{path}: cannot be decoded as an image ({reason})")


def from_bytes(data, name):
    """Decodes the bytes of an image file.

    Args:
        data: bytes of a JPEG, PNG, GIF (first frame), BMP or WebP file.
        name: the image's name in the message.

    Returns:
        As `load`.

    Raises:
        ValueError: they cannot be decoded; the message says why.
    """
    try:
        return decode(data, name).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(f"{name}: cannot be decoded as an image ({_why(data, error)})") from None


def is_heic(path):
    """Whether a file is a HEIC photo, which TensorFlow's graphs cannot decode."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(12)[4:] in _HEIC


def _load_heic(path):
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise ValueError(f"{path}: this is a HEIC photo; pip install kerasdet[heic], or save it as JPEG.") from None
    register_heif_opener()
    return _by_pillow(path)


def _is_large(path):
    """Whether a picture has more values than TensorFlow's decoders take."""
    with open(path, "rb") as file:
        size = header.read(file).upright
    return size is not None and 3 * size[0] * size[1] >= _LARGE


def _by_pillow(path):
    try:
        with Image.open(path) as photo:
            return np.asarray(ImageOps.exif_transpose(photo).convert("RGB"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be decoded as an image ({error})") from None


def read(path):
    """Reads an image file in a graph.

    Args:
        path: scalar string tensor.

    Returns:
        Tensor [H, W, 3] uint8, see `decode`.

    Raises:
        tf.errors.NotFoundError: no such file.
        tf.errors.InvalidArgumentError: see `decode`.
    """
    return decode(tf.io.read_file(path), path)


@tf.autograph.experimental.do_not_convert  # it has only TensorFlow's own control flow, and converting takes long
def decode(data, name="image"):
    """Decodes the bytes of an image file.

    Alpha is dropped, gray becomes three channels, 16 bits are reduced to the high byte, and JPEGs are turned upright.

    Args:
        data: scalar string tensor; JPEG, PNG, GIF (first frame), BMP or WebP.
        name: str or scalar string tensor; the image's name in errors.

    Returns:
        Tensor [H, W, 3] uint8, RGB 0...255.

    Raises:
        tf.errors.InvalidArgumentError: the format is unknown, which the message says with `name`; or the file is
            damaged, with TensorFlow's message.
    """

    def other():
        fault = _fault(data)
        message = tf.strings.join([name, ": cannot be decoded as an image (", fault, ")"])
        with tf.control_dependencies([tf.debugging.Assert(tf.equal(fault, ""), [message])]):
            return _other(data)

    return tf.cond(_starts(_head(data), _JPEG), lambda: _jpeg(data), other)


# Threads that read the first photos wait for one of them to trace.
_tracing = threading.Lock()


@functools.cache
def _decoder():
    """`decode` as a graph: operator by operator, reading the header would take longer than decoding."""
    text = tf.TensorSpec([], tf.string)
    return tf.function(decode, autograph=False).get_concrete_function(text, text)


def _head(data):
    """The first bytes of a file as [2048] uint8, padded with zeros; enough to hold a BMP's palette."""
    return tf.io.decode_raw(data, tf.uint8, fixed_length=_HEAD)


def _starts(head, magic, at=0):
    return tf.reduce_all(head[at : at + len(magic)] == tuple(magic))


def _fault(data):
    """Says why bytes are not an image of a known format, as a string tensor; empty if they are one."""
    head = _head(data)
    known = [_starts(head, magic) for magic in (_JPEG, b"\x89PNG", b"GIF8", b"BM")]
    known.append(_starts(head, b"RIFF") & _starts(head, b"WEBP", at=8))
    unknown = tf.where(tf.strings.length(data) == 0, "the file is empty", f"it is not a {_KINDS} file")
    return tf.where(tf.reduce_any(known), "", unknown)


def _why(data, error):
    """Why bytes cannot be decoded, of which TensorFlow says `error`."""
    return _fault(data).numpy().decode() or f"damaged or unusual: {_words(error)}"


def _words(error):
    """TensorFlow's message, without the names of its nodes and where they were made."""
    words = re.split(r"\n\t? ?\[\[\{\{| \[Op:", error.message)[0].strip()
    return words.split("\n")[-1].split("}} ")[-1]


def _jpeg(data):
    """Decodes a JPEG and turns it upright; libjpeg's default DCT is more exact than TensorFlow's and no slower."""
    pixels = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
    return _upright(pixels, _orientation(data, 2, _segment))


def _other(data):
    """Decodes a PNG, GIF, BMP or WebP; for a BMP with a palette, `decode_image` returns indices instead of colors."""

    def decoded(channels):
        return tf.io.decode_image(data, channels=channels, expand_animations=False)[..., :3]

    head = _head(data)
    pixels = tf.cond(_translucent(head), lambda: decoded(4), lambda: decoded(3))
    indexed = _starts(head, b"BM") & (_number(head, 28, 2) == 8)
    pixels = tf.cond(indexed, lambda: _painted(pixels, head), lambda: pixels)
    turns = [
        (_starts(head, b"\x89PNG"), lambda: _orientation(data, 8, _png_chunk)),
        (_starts(head, b"RIFF"), lambda: _orientation(data, 12, _webp_chunk)),
    ]
    return _upright(pixels, tf.case(turns, lambda: tf.constant(1, tf.int64)))


def _translucent(head):
    """Whether a WebP has an alpha channel: `decode_image` does not drop it, and crashes on animations by guessing."""
    flags = tf.bitwise.bitwise_and(head, 0x10) > 0
    return (_starts(head, b"WEBPVP8X", at=8) & flags[20]) | (_starts(head, b"WEBPVP8L", at=8) & flags[24])


def _painted(pixels, head):
    """Looks up the indices `pixels` in a BMP's palette."""
    start = 14 + _number(head, 14, 4)
    positions = start + 4 * tf.cast(pixels[..., :1], tf.int64) + [2, 1, 0]
    return tf.gather(head, tf.minimum(positions, _HEAD - 1))


def _number(data, at, size, little=True):
    """The integers of `size` bytes at the positions `at` of a byte vector, int64; 0 beyond its end."""
    at = tf.convert_to_tensor(at, tf.int64)
    inside = at + size <= tf.size(data, tf.int64)
    positions = tf.where(inside, at, 0)[..., None] + tf.range(size, dtype=tf.int64)
    weights = [256**i for i in range(size)]
    weights = tf.where(little, tf.constant(weights, tf.int64), tf.constant(weights[::-1], tf.int64))
    return tf.where(inside, tf.reduce_sum(tf.cast(tf.gather(data, positions), tf.int64) * weights, -1), 0)


def _orientation(data, start, read):
    """The EXIF orientation 1...8 of a file that is a chain of parts; 1 if there is none, or none valid.

    Args:
        data: scalar string tensor.
        start: position of the first part.
        read: function from the bytes at a part's beginning to the position of its data, relative to the part, the size
            of its data, the size of the part (0: the last one that is looked at), and whether it holds the EXIF.
    """

    def part(position):
        head = tf.io.decode_raw(tf.strings.substr(data, position, _PART), tf.uint8, fixed_length=_PART)
        return [tf.cast(value, tf.int64) for value in read(head)]

    def step(position, _):
        skip, size, whole, found = part(position)
        value = tf.cond(
            found > 0,
            lambda: _tag(tf.io.decode_raw(tf.strings.substr(data, position + skip, size), tf.uint8)),
            lambda: tf.constant(0, tf.int64),
        )
        return tf.where(whole > 0, position + whole, length), value

    length = tf.strings.length(data)
    length = tf.cast(length, tf.int64)
    first = (tf.constant(start, tf.int64), tf.constant(0, tf.int64))
    _, value = tf.while_loop(lambda position, value: (position < length - 8) & (value == 0), step, first)
    return tf.where((value >= 1) & (value <= 8), value, 1)


def _segment(head):
    """A JPEG's: two bytes of marker, two of length, which counts itself; the scan's is followed by pixels."""
    size = _number(head, 2, 2, little=False)
    last = (head[0] != 0xFF) | (head[1] == 0xDA) | (size < 2)
    return (
        10,
        tf.maximum(size - 8, 0),
        tf.where(last, tf.zeros_like(size), size + 2),
        _starts(head, b"\xff\xe1") & _starts(head, _EXIF, 4),
    )


def _png_chunk(head):
    """Four bytes of length, four of name, the data, four of checksum."""
    size = _number(head, 0, 4, little=False)
    return 8, size, tf.where(_starts(head, b"IEND", 4), tf.zeros_like(size), size + 12), _starts(head, b"eXIf", 4)


def _webp_chunk(head):
    """Four bytes of name, four of length, the data, padded to an even length."""
    size = _number(head, 4, 4)
    skip = tf.where(_starts(head, _EXIF, 8), 14, 8)
    return skip, size, size + 8 + size % 2, _starts(head, b"EXIF")


# These two are traced once for all kinds of files, so that exported models are smaller and load faster.
@tf.function(input_signature=[tf.TensorSpec([None], tf.uint8)], autograph=False)
def _tag(exif):
    """The value of the orientation tag in the first directory of a TIFF structure; 1 if there is none."""
    exif = tf.pad(exif, [[0, 4]])
    little = _starts(exif, b"II*\0")
    directory = _number(exif, 4, 4, little)
    entries = directory + 2 + 12 * tf.range(_number(exif, directory, 2, little))
    values = tf.boolean_mask(_number(exif, entries + 8, 2, little), _number(exif, entries, 2, little) == _ORIENTATION)
    return tf.where(little | _starts(exif, b"MM\0*"), tf.concat([values, [1]], 0)[0], 1)


@tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([], tf.int64)], autograph=False)
def _upright(pixels, orientation):
    """Turns and mirrors `pixels` upright from their EXIF orientation 1...8."""

    def turned(*axes, transposed=False):
        return tf.reverse(tf.transpose(pixels, [1, 0, 2]) if transposed else pixels, axes)

    turns = [
        lambda: pixels,
        lambda: turned(1),
        lambda: turned(0, 1),
        lambda: turned(0),
        lambda: turned(transposed=True),
        lambda: turned(1, transposed=True),
        lambda: turned(0, 1, transposed=True),
        lambda: turned(0, transposed=True),
    ]
    return tf.switch_case(tf.cast(orientation - 1, tf.int32), turns)
