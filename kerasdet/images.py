"""Files to pixels, pixels to the size that a network sees, and boxes there and back.

A resize rule is a plain tuple that a model saves with its other arguments:

    ("shorter", min, max)         the shorter side becomes `min`, or the longer one `max` where it would pass that
    ("stretch", height, width)    exactly this size; the aspect ratio changes
    ("squeeze", height, width)    as "stretch", with antialias, as Pillow resizes: every pixel counts
    ("letterbox", height, width)  as large as this size holds, centered on zeros; the aspect ratio stays
    ("keep",)                     no resizing

Everything but `load` runs inside graphs and needs stock TensorFlow operators only; resizing and padding also convert to
TFLite's builtin ones, which know no float64.
"""

import os

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

_KINDS = "JPEG, PNG, GIF, BMP or WebP"
_JPEG = b"\xff\xd8\xff"
_HEAD = 2**11
# What follows the size of a HEIC file's first box (ISO/IEC 23008-12, annex B).
_HEIC = tuple(b"ftyp" + brand for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"))
_ORIENTATION = 0x0112
_SIZES = {"shorter": 2, "stretch": 2, "squeeze": 2, "letterbox": 2, "keep": 0}


def load(path):
    """Reads an image file.

    Args:
        path: str or path-like; a JPEG, PNG, GIF (its first frame), BMP or WebP file, whatever its ending; with the
            extra `heic` also a phone's HEIC.

    Returns:
        NumPy array [H, W, 3] uint8, RGB 0...255, upright by its EXIF orientation.

    Raises:
        ValueError: one line that names the file and says why it gives no image.
    """
    if is_heic(path):
        return _load_heic(path)
    try:
        return read(os.fspath(path)).numpy()
    except tf.errors.NotFoundError:
        reason = "no such file"
    except tf.errors.InvalidArgumentError as error:
        reason = _fault(tf.io.read_file(os.fspath(path))).numpy().decode() or f"damaged or unusual: {_words(error)}"
    except tf.errors.OpError as error:
        reason = _words(error)
    raise ValueError(f"{path}: cannot be decoded as an image ({reason})")


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


def decode(data, name="image"):
    """Decodes the bytes of an image file.

    Alpha is dropped, gray becomes three channels, of 16 bits the high byte stays, a JPEG is turned upright.

    Args:
        data: scalar string tensor; JPEG, PNG, GIF (its first frame), BMP or WebP.
        name: str or scalar string tensor that an error calls the image by.

    Returns:
        Tensor [H, W, 3] uint8, RGB 0...255.

    Raises:
        tf.errors.InvalidArgumentError: for bytes of another kind, with `name`; TensorFlow's own for damaged ones.
    """

    def other():
        fault = _fault(data)
        message = tf.strings.join([name, ": cannot be decoded as an image (", fault, ")"])
        with tf.control_dependencies([tf.debugging.Assert(tf.equal(fault, ""), [message])]):
            return _other(data)

    return tf.cond(_starts(_head(data), _JPEG), lambda: _jpeg(data), other)


def check_rule(rule):
    """Checks a resize rule, see the module's docstring.

    Args:
        rule: tuple, or list as a saved configuration gives it.

    Returns:
        The rule as a tuple.

    Raises:
        ValueError: one line that names the argument `resize` and its allowed forms.
    """
    name, *sizes = rule if isinstance(rule, (tuple, list)) and rule else (None,)
    whole = all(isinstance(size, int) and size > 0 for size in sizes)
    if not isinstance(name, str) or len(sizes) != _SIZES.get(name) or not whole:
        raise ValueError(
            "resize must be ('shorter', min, max), ('stretch', height, width), ('squeeze', height, width), "
            f"('letterbox', height, width) or ('keep',), with sizes in whole pixels above 0; got {rule!r}."
        )
    return (name, *sizes)


def at_size(rule, size):
    """The same resize rule at another size, as multi-scale training takes it.

    Args:
        rule: resize rule, see the module's docstring.
        size: what its smaller side becomes, pixels; the larger one keeps its ratio to it.

    Returns:
        The changed rule.

    Raises:
        ValueError: see `check_rule`; ("keep",) has no size.
    """
    name, *sizes = check_rule(rule)
    if not sizes:
        raise ValueError("resize=('keep',) has no size to change; train at several sizes with another rule.")
    return (name, *(round(side * size / min(sizes)) for side in sizes))


def preprocess(pixels, rule, multiple=1, size=None):
    """Resizes and pads images of one size: what a detector sees of them.

    Args:
        pixels: [B, H, W, 3] or [H, W, 3], uint8 or float, 0...255.
        rule: resize rule, see the module's docstring.
        multiple: int; height and width of the result are multiples of it.
        size: None, or that of `at_size`.

    Returns:
        dict of float32 tensors: `pixels` [B, H', W', 3], `windows` [B, 4], `frames` [B, 4] as in `contract`; without B
        for one image.

    Raises:
        ValueError: see `check_rule`.
    """
    pixels, frames, windows = resize(pixels, rule if size is None else at_size(rule, size))
    return {"pixels": pad(pixels, multiple), "windows": windows, "frames": frames}


def resize(pixels, rule):
    """Resizes images bilinearly by the ratio of new to old size per axis, without antialias but for "squeeze".

    No side vanishes.

    Args:
        pixels: [B, H, W, 3] or [H, W, 3], uint8 or float, 0...255.
        rule: resize rule, see the module's docstring.

    Returns:
        pixels: [B, H', W', 3] float32, 0...255; a letterbox with its margins.
        frames: [B, 4] float32, scale x, scale y, offset x, offset y: new = old * scale + offset.
        windows: [B, 4] float32, the box of the image inside the margins.
        All without B for one image.

    Raises:
        ValueError: see `check_rule`.
    """
    name, *sizes = check_rule(rule)
    if list(pixels.shape[-3:-1]) == sizes and name != "shorter":
        name = "keep"
    pixels = tf.cast(pixels, tf.float32)
    old = new = tf.stack(_sides(pixels))
    margins = tf.zeros([2], tf.int32)
    if name == "shorter":
        new = _shorter(old, *sizes)
    elif name in ("stretch", "squeeze"):
        new = tf.constant(sizes)
    elif name == "letterbox":
        new = _contained(old, sizes)
        margins = sizes - new
    if name == "squeeze":
        pixels = _squeezed(pixels, old, sizes)
    elif name != "keep":
        pixels = tf.image.resize(pixels, new, "bilinear", antialias=False)
    before = margins // 2
    if name == "letterbox":
        pixels = _surrounded(pixels, before, margins - before)
        pixels = tf.reshape(pixels, [*tf.unstack(tf.shape(pixels)[:-3]), *sizes, 3])
    corner, size = _xy(before), _xy(new)
    frames = tf.concat([size / _xy(old), corner], 0)
    windows = tf.concat([corner, corner + size], 0)
    shape = tf.concat([tf.shape(pixels)[:-3], [4]], 0)
    return pixels, tf.broadcast_to(frames, shape), tf.broadcast_to(windows, shape)


def pad(pixels, multiple):
    """Pads images with zeros at the bottom and the right.

    Args:
        pixels: [B, H, W, C] or [H, W, C].
        multiple: int.

    Returns:
        The pixels, height and width rounded up to multiples of `multiple`.
    """
    missing = [-side % multiple for side in _sides(pixels)]
    if all(isinstance(side, int) and side == 0 for side in missing) or multiple == 1:
        return pixels
    return _surrounded(pixels, (0, 0), missing)


def to_frames(boxes, frames):
    """Maps boxes from the original image to the network's.

    Args:
        boxes: [..., N, 4] float32, original pixels.
        frames: [..., 4] float32, as in `contract`.

    Returns:
        [..., N, 4] float32, network pixels.
    """
    scales, offsets = _corners(frames)
    return boxes * scales + offsets


def from_frames(boxes, frames):
    """Maps boxes from the network's image back to the original.

    Args:
        boxes: [..., N, 4] float32, network pixels.
        frames: [..., 4] float32, as in `contract`.

    Returns:
        [..., N, 4] float32, original pixels.
    """
    scales, offsets = _corners(frames)
    return (boxes - offsets) / scales


def _head(data):
    """The first bytes of a file as [2048] uint8, zeros behind its end; they hold a BMP's palette."""
    return tf.io.decode_raw(data, tf.uint8, fixed_length=_HEAD)


def _starts(head, magic, at=0):
    return tf.reduce_all(head[at : at + len(magic)] == tuple(magic))


def _fault(data):
    """Why bytes are no image of a known kind, as a string tensor; empty for those that are."""
    head = _head(data)
    known = [_starts(head, magic) for magic in (_JPEG, b"\x89PNG", b"GIF8", b"BM")]
    known.append(_starts(head, b"RIFF") & _starts(head, b"WEBP", at=8))
    unknown = tf.where(tf.strings.length(data) == 0, "the file is empty", f"it is no {_KINDS} file")
    return tf.where(tf.reduce_any(known), "", unknown)


def _words(error):
    """What TensorFlow says, without the names of its nodes."""
    return error.message.split("}} ")[-1].split(" [Op:")[0]


def _jpeg(data):
    """A JPEG, upright, by libjpeg's own default method: TensorFlow's is less exact and no faster."""
    pixels = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
    return _upright(pixels, _orientation(data))


def _other(data):
    """A PNG, GIF, BMP or WebP; `decode_image` gives the indices of a BMP with a palette, not its colors."""

    def decoded(channels):
        return tf.io.decode_image(data, channels=channels, expand_animations=False)[..., :3]

    head = _head(data)
    pixels = tf.cond(_translucent(head), lambda: decoded(4), lambda: decoded(3))
    indexed = _starts(head, b"BM") & (_number(head, 28, 2) == 8)
    return tf.cond(indexed, lambda: _painted(pixels, head), lambda: pixels)


def _translucent(head):
    """Whether a WebP has an alpha channel: `decode_image` drops none, and guesses so ill that animations crash."""
    flags = tf.bitwise.bitwise_and(head, 0x10) > 0
    return (_starts(head, b"WEBPVP8X", at=8) & flags[20]) | (_starts(head, b"WEBPVP8L", at=8) & flags[24])


def _painted(pixels, head):
    """The colors of the indices `pixels` in a BMP's palette."""
    start = 14 + _number(head, 14, 4)
    places = start + 4 * tf.cast(pixels[..., :1], tf.int64) + [2, 1, 0]
    return tf.gather(head, tf.minimum(places, _HEAD - 1))


def _number(data, at, size, little=True):
    """The numbers of `size` bytes at the positions `at` of a byte vector, int64; 0 where it ends before."""
    at = tf.convert_to_tensor(at, tf.int64)
    held = at + size <= tf.size(data, tf.int64)
    places = tf.where(held, at, 0)[..., None] + tf.range(size, dtype=tf.int64)
    weights = [256**place for place in range(size)]
    weights = tf.where(little, tf.constant(weights, tf.int64), tf.constant(weights[::-1], tf.int64))
    return tf.where(held, tf.reduce_sum(tf.cast(tf.gather(data, places), tf.int64) * weights, -1), 0)


def _orientation(data):
    """The EXIF orientation 1...8 of a JPEG; 1 where the tag is missing or makes no sense."""
    parts = tf.strings.split(tf.strings.substr(data, 0, 2**16), b"Exif\0\0", maxsplit=1)
    marker = tf.io.decode_raw(tf.strings.substr(tf.strings.join([b"\0" * 4, parts[0]]), -4, 4), tf.uint8)
    size = tf.maximum(_number(marker, 2, 2, little=False) - 8, 0)
    found = (tf.size(parts) == 2) & _starts(marker, b"\xff\xe1")
    exif = tf.io.decode_raw(parts[-1], tf.uint8)[:size]
    orientation = tf.cond(found, lambda: _tag(exif), lambda: tf.constant(1, tf.int64))
    return tf.where((orientation >= 1) & (orientation <= 8), orientation, 1)


def _tag(exif):
    """The value of the orientation tag in the first directory of a TIFF structure; 1 without."""
    exif = tf.pad(exif, [[0, 4]])
    little = _starts(exif, b"II*\0")
    directory = _number(exif, 4, 4, little)
    entries = directory + 2 + 12 * tf.range(_number(exif, directory, 2, little))
    values = tf.boolean_mask(_number(exif, entries + 8, 2, little), _number(exif, entries, 2, little) == _ORIENTATION)
    return tf.where(little | _starts(exif, b"MM\0*"), tf.concat([values, [1]], 0)[0], 1)


def _upright(pixels, orientation):
    """The picture that EXIF orientation 1...8 says `pixels` to be a turned or mirrored copy of."""

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


def _sides(pixels):
    """Height and width, as ints where the graph knows them."""
    shape = tf.shape(pixels)
    return [shape[axis] if pixels.shape[axis] is None else pixels.shape[axis] for axis in (-3, -2)]


def _shorter(old, least, most):
    """floor(side * min(least / shorter, most / longer)) of both sides, at least 1."""
    shorter, longer = tf.reduce_min(old), tf.reduce_max(old)
    fits = least * longer <= most * shorter
    return tf.maximum(_floor_scaled(old, tf.where(fits, least, most), tf.where(fits, shorter, longer)), 1)


def _contained(old, sizes):
    """The largest size of the old aspect ratio within `sizes`, rounded down, at least 1."""
    height, width = sizes
    tall = height * old[1] <= width * old[0]
    return tf.maximum(old * tf.where(tall, height, width) // tf.where(tall, old[0], old[1]), 1)


def _squeezed(pixels, old, new):
    """A bilinear resize with antialias as two matrix products, which TFLite has."""
    rows, columns = (_triangles(tf.cast(old[axis], tf.float32), new[axis]) for axis in (0, 1))
    return tf.einsum("yh,...hwc,xw->...yxc", rows, pixels, columns)


def _triangles(old, new):
    """Weights [new, old] of the old pixels in every new one: a triangle as wide as two pixels of the coarser grid."""
    scale = old / new
    centers = (tf.range(new, dtype=tf.float32) + 0.5) * scale - 0.5
    distances = tf.abs(centers[:, None] - tf.range(old)[None]) / tf.maximum(scale, 1.0)
    weights = tf.nn.relu(1.0 - distances)
    return weights / tf.reduce_sum(weights, axis=1, keepdims=True)


def _floor_scaled(sides, size, side):
    """floor(sides * (size / side)) as float64 rounds it, in int32.

    The exact floor differs from it where the product is a whole number n and the quotient was rounded down by so much
    that the product falls below n: 49 * (1 / 49) < 1. With `size / side` brought to the fraction above / below in
    [1, 2), 52 binary digits of it leave `rest / below`; the product drops if that is rounded down, yet is more than
    half of the step from n to the next smaller float64.
    """
    floor = sides * size // side
    below = _doubled(side, size)
    above = _doubled(size, below)
    rest = above % below
    for _ in range(4):
        rest = rest * 2**13 % below
    whole = sides * size % side == 0
    drops = (2 * rest < below) & (4 * floor * rest > above * _doubled(tf.ones_like(floor), floor))
    return tf.where(whole & drops, floor - 1, floor)


def _doubled(number, least):
    """`number` doubled until it is `least` or more."""
    powers = tf.constant([2**power for power in range(17)])
    short = number[..., None] <= (least[..., None] - 1) // powers
    return number * tf.gather(powers, tf.reduce_sum(tf.cast(short, tf.int32), -1))


def _surrounded(pixels, before, after):
    """Pixels with zeros: `before` rows above and columns to the left, `after` rows below and columns to the right."""
    batch = [[0, 0]] * (len(pixels.shape) - 3)
    return tf.pad(pixels, [*batch, [before[0], after[0]], [before[1], after[1]], [0, 0]])


def _xy(rows_columns):
    return tf.cast(tf.reverse(rows_columns, [0]), tf.float32)


def _corners(frames):
    """Frames as factors and terms for boxes: [..., 1, 4] each."""
    scales, offsets = frames[..., None, :2], frames[..., None, 2:]
    return tf.concat([scales, scales], -1), tf.concat([offsets, offsets], -1)
