"""Pixels to the size that a network sees.

A resize rule is a plain tuple that a model saves with its other arguments:

    ("shorter", min, max)         the shorter side becomes `min`, or the longer one `max` where it would pass that
    ("stretch", height, width)    exactly this size; the aspect ratio changes
    ("squeeze", height, width)    as "stretch", with antialias, as Pillow resizes: every pixel counts
    ("letterbox", height, width)  as large as this size holds, centered on zeros; the aspect ratio stays
    ("corner", height, width)     as "letterbox", but in the upper left, with zeros at the bottom and the right; sides
                                  are rounded down in float32, as in EfficientDet, which may lose a pixel
    ("darknet_stretch", height, width)      as "stretch", but as darknet resizes: the outermost pixels stay outermost
    ("darknet_letterbox", height, width)    as "letterbox", with that resize; if one margin is a pixel wider than the
                                            other, boxes shift by half a pixel, as in darknet
    ("keep",)                     no resizing
    ("centernet_fixed", height, width)      CenterNet's: the longer side becomes `width`, whatever `height` is, centered
                                            on zeros; pixel i lies at i, without half a pixel's shift
    ("centernet_keep", step)      CenterNet's: no resizing, centered on zeros; sides become the next multiples of `step`
                                  above their own
    ("cornernet_keep", step)      CornerNet's, as before; sides become such multiples less one

All of it runs inside graphs, needs stock TensorFlow operators only and converts to TFLite's builtin ones, which know no
float64.
"""

import tensorflow as tf

# Rules that bring every picture to one size.
ONE_SIZE = ("stretch", "squeeze", "letterbox", "corner", "darknet_stretch", "darknet_letterbox", "centernet_fixed")

# Rules that leave a picture its size.
_KEEP = {"keep": 0, "centernet_keep": 1, "cornernet_keep": 1}
_SIZES = {"shorter": 2, **dict.fromkeys(ONE_SIZE, 2), **_KEEP}


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
            "('letterbox', height, width), ('corner', height, width), ('darknet_stretch', height, width), "
            "('darknet_letterbox', height, width), ('centernet_fixed', height, width), ('centernet_keep', step), "
            f"('cornernet_keep', step) or ('keep',), with sizes in whole pixels above 0; got {rule!r}."
        )
    return (name, *sizes)


def at_size(rule, size):
    """The same resize rule at another size, as multi-scale training takes it.

    Args:
        rule: resize rule, see the module's docstring.
        size: pixels. It becomes the `min` of "shorter", whose `max` stays, as in Detectron; of the other rules the
            smaller side, and the larger one keeps its ratio to it.

    Returns:
        The changed rule.

    Raises:
        ValueError: see `check_rule`; rules that keep a picture's size have none.
    """
    name, *sizes = check_rule(rule)
    if name in _KEEP:
        raise ValueError(f"resize={(name, *sizes)} has no size to change; train at several sizes with another rule.")
    if name == "shorter":
        return (name, size, sizes[1])
    return (name, *(round(side * size / min(sizes)) for side in sizes))


def preprocess(pixels, rule, multiple=1, size=None, scale=1.0):
    """Resizes and pads images of one size: what a detector sees of them.

    Args:
        pixels: [B, H, W, 3] or [H, W, 3], uint8 or float, 0...255.
        rule: resize rule, see the module's docstring.
        multiple: int; height and width of the result are multiples of it.
        size: None, or that of `at_size`.
        scale: see `resize`.

    Returns:
        dict of float32 tensors: `pixels` [B, H', W', 3], `windows` [B, 4], `frames` [B, 4] as in `contract`; without B
        for one image.

    Raises:
        ValueError: see `check_rule`.
    """
    pixels, frames, windows = resize(pixels, rule if size is None else at_size(rule, size), scale)
    return {"pixels": pad(pixels, multiple), "windows": windows, "frames": frames}


def resize(pixels, rule, scale=1.0):
    """Resizes images bilinearly by the ratio of new to old size per axis, without antialias but for "squeeze".

    No side vanishes.

    Args:
        pixels: [B, H, W, 3] or [H, W, 3], uint8 or float, 0...255.
        rule: resize rule, see the module's docstring.
        scale: factor of the sizes that the rule names, or of the image's own for ("keep",).

    Returns:
        pixels: [B, H', W', 3] float32, 0...255; of "letterbox" and "corner" with margins.
        frames: [B, 4] float32, scale x, scale y, offset x, offset y: new = old * scale + offset.
        windows: [B, 4] float32, the box of the image inside the margins.
        All without B for one image.

    Raises:
        ValueError: see `check_rule`.
    """
    name, *sizes = check_rule(rule)
    pixels = tf.cast(pixels, tf.float32)
    if name in ("centernet_keep", "cornernet_keep"):
        return _kept(pixels, *sizes, 0 if name == "centernet_keep" else 1, scale)
    sizes = [max(round(side * scale), 1) for side in sizes]
    if name == "centernet_fixed":
        return _fixed(pixels, sizes)
    old = new = tf.stack(_sides(pixels))
    before = after = tf.zeros([2], tf.int32)
    if name == "keep" and scale != 1.0:
        name, new = "scale", tf.maximum(tf.cast(tf.round(tf.cast(old, tf.float32) * scale), tf.int32), 1)
    elif list(pixels.shape[-3:-1]) == sizes and name != "shorter":
        name = "keep"
    if name == "shorter":
        new = _shorter(old, *sizes)
    elif name in ("stretch", "squeeze", "darknet_stretch"):
        new = tf.constant(sizes)
    elif name in ("letterbox", "corner", "darknet_letterbox"):
        new = _scaled(old, sizes) if name == "corner" else _contained(old, sizes)
        before = before if name == "corner" else (sizes - new) // 2
        after = sizes - new - before
    if name == "squeeze":
        pixels = _squeezed(pixels, old, sizes)
    elif name.startswith("darknet"):
        pixels = _between_corners(pixels, new)
    elif name != "keep":
        pixels = tf.image.resize(pixels, new, "bilinear", antialias=False)
    if name in ("letterbox", "corner", "darknet_letterbox"):
        pixels = _surrounded(pixels, before, after)
        pixels = tf.reshape(pixels, [*tf.unstack(tf.shape(pixels)[:-3]), *sizes, 3])
    corner, size = _xy(before), _xy(new)
    margin = _xy(sizes - new) / 2 if name == "darknet_letterbox" else corner
    frames = tf.concat([size / _xy(old), margin], 0)
    windows = tf.concat([corner, corner + size], 0)
    return _for_all(pixels, frames, windows)


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


def _kept(pixels, step, less, scale):
    """`resize` for CenterNet's and CornerNet's tests at a picture's own size: a shift by whole pixels.

    The picture's pixel (w // 2, h // 2) comes to the network's; other sizes are rounded down, and boxes take the factor
    as it is. CornerNet copies an even number of rows and columns, and so loses the last ones where nothing is padded.
    """
    if scale != 1.0:
        size = tf.cast(tf.stack(_sides(pixels)), tf.float32)
        pixels = tf.image.resize(pixels, tf.maximum(tf.cast(size * scale, tf.int32), 1), "bilinear", antialias=False)
    size = _sides(pixels)
    padded = [(side // step + 1) * step - less for side in size]
    before = [new // 2 - side // 2 for new, side in zip(padded, size, strict=True)]
    corner, whole = _xy(tf.stack(before)), _xy(tf.stack(size))
    if less:
        size = [tf.where(tf.equal(side, new), side // 2 * 2, side) for side, new in zip(size, padded, strict=True)]
        pixels = pixels[..., : size[0], : size[1], :]
    after = [new - side - start for new, side, start in zip(padded, size, before, strict=True)]
    frames = tf.concat([tf.fill([2], tf.cast(scale, tf.float32)), corner], 0)
    pixels = _surrounded(pixels, before, after)
    batch = [tf.shape(pixels)[i] if side is None else side for i, side in enumerate(pixels.shape[:-3])]
    pixels = tf.reshape(pixels, [*batch, *padded, 3])
    return _for_all(pixels, frames, tf.concat([corner, corner + whole], 0))


def _fixed(pixels, sizes):
    """`resize` for CenterNet's one size: its affine transform, which OpenCV samples between the centers of pixels."""
    size, new = tf.cast(tf.stack(_sides(pixels)), tf.float32), tf.constant(sizes, tf.float32)
    zoom = sizes[1] / tf.reduce_max(size)
    start = new / 2 - zoom * (size / 2)
    for axis, side in ((-3, 0), (-2, 1)):
        places = (tf.range(sizes[side], dtype=tf.float32) - start[side]) / zoom
        pixels = _sampled(pixels, places, axis)
    corner = tf.reverse(start, [0])
    window = tf.concat([tf.maximum(corner, 0.0), tf.minimum(corner + zoom * tf.reverse(size, [0]), new[::-1])], 0)
    return _for_all(pixels, tf.concat([[zoom, zoom], corner], 0), window)


def _sampled(pixels, places, axis):
    """Pixels [..., H, W, C] at places between them along an axis; zeros outside."""
    pad = [[0, 0]] * len(pixels.shape)
    pad[axis] = [1, 1]
    padded = tf.pad(pixels, pad)
    low = tf.floor(places)
    shape = [1] * len(pixels.shape)
    shape[axis] = -1
    part = tf.reshape(places - low, shape)
    last = tf.cast(tf.shape(padded)[axis], tf.float32) - 1

    def at(rows):
        return tf.gather(padded, tf.cast(tf.clip_by_value(rows + 1, 0.0, last), tf.int32), axis=axis)

    return at(low) * (1 - part) + at(low + 1) * part


def _for_all(pixels, frames, windows):
    """Pixels [..., H, W, 3] with frames and windows for each."""
    shape = tf.concat([tf.shape(pixels)[:-3], [4]], 0)
    return pixels, tf.broadcast_to(frames, shape), tf.broadcast_to(windows, shape)


def _scaled(old, sizes):
    """As `_contained`, but the product of a side and the scale is rounded to float32 before it is rounded down."""
    sides = tf.cast(old, tf.float32)
    scale = tf.reduce_min(tf.cast(tf.stack(sizes), tf.float32) / sides)
    return tf.maximum(tf.cast(sides * scale, tf.int32), 1)


def _between_corners(pixels, new):
    """A bilinear resize that leaves the outermost pixels outermost: from i * (old - 1) / (new - 1)."""
    batched = tf.reshape(pixels, tf.concat([[-1], tf.shape(pixels)[-3:]], 0))
    resized = tf.raw_ops.ResizeBilinear(images=batched, size=new, align_corners=True, half_pixel_centers=False)
    return tf.reshape(resized, tf.concat([tf.shape(pixels)[:-3], new, [3]], 0))


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
