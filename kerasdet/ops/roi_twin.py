"""The twins of the region operators: stock TensorFlow operators that TFLite has too, differentiable, static shapes.

All except RoIPool's are separable weighted sums: dense weights [R, bins, cells] along each axis and two matrix
products, or four gathers per sample if a bin has few samples.
"""

from functools import partial
from typing import NamedTuple

import tensorflow as tf

from kerasdet.ops import library

# Number of RoIs whose dense weights are in memory at once.
BLOCK = 32

# Samples a side of a bin up to which each is gathered by an operator of its own.
FEW_SAMPLES = 4


class Regions(NamedTuple):
    """The inputs of the twins, as described in `ops.roi`; RoIs that are not real are zeros."""

    maps: list
    rois: tf.Tensor
    scales: tuple
    levels: tf.Tensor
    real: tf.Tensor
    rows: int
    columns: int


def roi_align(regions, sampling_ratio, aligned):
    """See `ops.roi_align`."""
    if 0 < sampling_ratio <= FEW_SAMPLES:
        return _align_by_samples(regions, sampling_ratio, aligned)
    return _by_weights(regions, partial(_align_weights, sampling_ratio=sampling_ratio, aligned=aligned), _products)


def ps_roi_align(regions, sampling_ratio):
    """See `ops.ps_roi_align`."""
    return _by_weights(
        regions, partial(_align_weights, sampling_ratio=sampling_ratio, aligned=True), _position_products
    )


def ps_roi_pool(regions):
    """See `ops.ps_roi_pool`."""
    return _by_weights(regions, _pool_weights, _position_products)


def prroi_pool(regions):
    """See `ops.prroi_pool`."""
    return _by_weights(regions, _precise_weights, _products)


def roi_pool(regions):
    """RoIPool: a search for the first maximum of every bin, without a gradient, then one gather with a gradient."""
    table, start, height, width = _table(regions)
    zero_row = tf.shape(table)[0] - 1
    scale = tf.gather(tf.constant(regions.scales, regions.rois.dtype), regions.levels)
    _, x1, y1, x2, y2 = tf.unstack(regions.rois, axis=1)
    top, bottom = _pool_cells(y1, y2, scale, regions.rows, height[:, None], 1)
    left, right = _pool_cells(x1, x2, scale, regions.columns, width[:, None], 1)
    fixed = tf.stop_gradient(table)
    channels = tf.shape(table)[1]
    shape = tf.stack([tf.shape(start)[0], regions.rows, regions.columns, channels])
    widest = tf.maximum(tf.reduce_max(right - left), 0)
    cells = tf.maximum(tf.reduce_max(bottom - top), 0) * widest

    def look(k, row, best):
        y, x = top + k // widest, left + k % widest
        inside = ((y < bottom)[:, :, None] & (x < right)[:, None, :]) & regions.real[:, None, None]
        index = tf.where(inside, (start[:, None] + y * width[:, None])[:, :, None] + x[:, None, :], zero_row)
        value = tf.gather(fixed, index)
        better = inside[..., None] & ((value > best) | (row == zero_row))
        return k + 1, tf.where(better, index[..., None], row), tf.where(better, value, best)

    state = (0, tf.fill(shape, zero_row), tf.zeros(shape, table.dtype))
    _, row, _ = tf.while_loop(lambda k, *_: k < cells, look, state)
    flat = row * channels + tf.range(channels)
    return tf.gather(tf.reshape(table, [-1]), tf.stop_gradient(flat))


def _by_weights(regions, weights, products):
    """Sums over the levels; `weights` computes the weights of an axis, `products` applies those of both to a map."""
    total = 0
    for level, (m, scale) in enumerate(zip(regions.maps, regions.scales, strict=True)):
        images, height, width, _ = tf.unstack(tf.shape(m))
        here = regions.real & (regions.levels == level)
        _, x1, y1, x2, y2 = tf.unstack(regions.rois, axis=1)
        ys = weights(y1, y2, scale, regions.rows, height)
        xs = weights(x1, x2, scale, regions.columns, width)
        owner = tf.one_hot(tf.cast(tf.stop_gradient(regions.rois)[:, 0], tf.int32), images, dtype=m.dtype)
        owner = tf.where(here[:, None], owner, 0)
        total += _in_blocks(products, _of_images(ys, owner), xs, m)
    return total


def _of_images(ys, owner):
    """Row weights [R, P, H] on the rows of all images, [R, P, B * H], 0 but for the owner's, by owner [R, B].

    TFLite lacks the gradient of a product that broadcasts, so it is written out.
    """
    count, rows = tf.shape(ys)[0], ys.shape[1]
    images, height = tf.shape(owner)[1], tf.shape(ys)[2]
    owner = tf.reshape(owner, [count, 1, images, 1])

    @tf.custom_gradient
    def spread(ys):
        def gradient(upstream):
            return tf.reduce_sum(owner * tf.reshape(upstream, [count, rows, images, height]), axis=2)

        return tf.reshape(owner * tf.expand_dims(ys, 2), [count, rows, images * height]), gradient

    return spread(ys)


def _products(ys, xs, m):
    """[R, P, Q, C] from row weights [R, P, B * H], column weights [R, Q, W] and a map [B, H, W, C]."""
    count, rows = tf.shape(ys)[0] if ys.shape[0] is None else ys.shape[0], ys.shape[1]
    images, height, width, channels = tf.unstack(tf.shape(m))
    lines = tf.matmul(
        tf.reshape(ys, [count * rows, images * height]), tf.reshape(m, [images * height, width * channels])
    )
    out = _across(xs, tf.reshape(lines, [count, rows, width, channels]))
    out.set_shape([None, rows, xs.shape[1], m.shape[-1]])  # no operator, which TFLite would lack in a loop
    return out


@tf.custom_gradient
def _across(xs, lines):
    """[R, P, Q, C] from column weights [R, Q, W] and lines [R, P, W, C]; the gradient is written out for TFLite."""
    weights = tf.expand_dims(xs, 1)

    def gradient(upstream):
        to_xs = tf.reduce_sum(tf.matmul(upstream, lines, transpose_b=True), axis=1)
        return to_xs, tf.matmul(weights, upstream, transpose_a=True)

    return tf.matmul(weights, lines), gradient


def _position_products(ys, xs, m):
    """Like `_products`, for a map [B, H, W, P * Q * K] whose channels belong to the bins."""
    count, rows, columns = tf.shape(ys)[0], ys.shape[1], xs.shape[1]
    images, height, width, channels = tf.unstack(tf.shape(m))
    classes = channels // (rows * columns)
    table = tf.transpose(tf.reshape(m, [images * height, width, rows, columns * classes]), [2, 0, 1, 3])
    table = tf.reshape(table, [rows, images * height, channels // rows * width])
    lines = tf.matmul(tf.transpose(ys, [1, 0, 2]), table)
    lines = tf.transpose(tf.reshape(lines, [rows, count, width, columns, classes]), [1, 0, 3, 2, 4])
    out = tf.matmul(tf.tile(xs[:, None, :, None], [1, rows, 1, 1, 1]), lines)[:, :, :, 0]
    static = None if m.shape[-1] is None else m.shape[-1] // (rows * columns)
    return tf.ensure_shape(out, [None, rows, columns, static])


def _in_blocks(products, ys, xs, m):
    """Applies `products` to blocks of RoIs, so that memory stays bounded."""
    known, count = ys.shape[0] if ys.shape[0] is not None else xs.shape[0], tf.shape(xs)[0]
    if known is not None and known <= BLOCK:
        return products(ys, xs, m)
    if known is not None:
        # Neither padded nor cut: TFLite lacks the gradient of a slice.
        sizes = [min(BLOCK, known - start) for start in range(0, known, BLOCK)]
        return tf.concat([products(y, x, m) for y, x in zip(*(tf.split(v, sizes) for v in (ys, xs)), strict=True)], 0)
    more = [[0, -count % BLOCK], [0, 0], [0, 0]]
    ys, xs = (tf.reshape(tf.pad(x, more), [-1, BLOCK, *x.shape[1:2], tf.shape(x)[2]]) for x in (ys, xs))
    out = tf.map_fn(lambda pair: products(*pair, m), (ys, xs), fn_output_signature=m.dtype)
    shape = tf.shape(out)
    return tf.reshape(out, tf.concat([[shape[0] * BLOCK], shape[2:]], 0))[:count]


def _share(sizes, bins):
    """The size of a bin. Graphs would multiply by 1 / bins instead of dividing, and a bin that ends on a cell's border,
    such as the last of three in a side of 7, would take in the next cell; not so with this operator."""
    return tf.math.divide_no_nan(sizes, tf.cast(bins, sizes.dtype))


def _align_sides(low, high, scale, bins, aligned):
    """Start [R] and bin size [R] of each RoI along an axis, in cells."""
    scale = tf.cast(scale, low.dtype)
    shift = 0.5 if aligned else 0.0
    start = low * scale - shift
    size = high * scale - shift - start
    return start, _share(size if aligned else tf.maximum(size, 1), bins)


def _align_weights(low, high, scale, bins, size, sampling_ratio, aligned):
    """[R, bins, size]: the mean of bilinear samples."""
    start, width = _align_sides(low, high, scale, bins, aligned)
    count = tf.fill(tf.shape(width), tf.cast(sampling_ratio, width.dtype)) if sampling_ratio else tf.math.ceil(width)
    step = tf.math.divide_no_nan(width, count)[:, None]
    limit = tf.cast(size, low.dtype)
    start = start[:, None] + tf.range(bins, dtype=low.dtype) * width[:, None]
    first, last = tf.zeros_like(start), tf.zeros_like(start) + count[:, None]
    if not sampling_ratio:
        # For RoIs much larger than the map, take only the samples near it, so that the loop stays bounded.
        many = (count > 64)[:, None]
        first = tf.where(many, tf.maximum(tf.floor((-1 - start) / step) - 2, 0), first)
        last = tf.where(many, tf.minimum(first + 2 * limit + 16, last), last)
    cells = tf.range(size)

    def sample(k, total):
        index = first + tf.cast(k, first.dtype)
        at = start + (index + 0.5) * width[:, None] / tf.maximum(count, 1)[:, None]
        inside = (index < last) & (at >= -1) & (at <= limit)
        at = tf.clip_by_value(tf.where(inside, at, 0), 0, tf.maximum(limit - 1, 0))
        hat = tf.maximum(1 - tf.abs(at[..., None] - tf.cast(cells, at.dtype)), 0)
        return k + 1, total + tf.where(inside[..., None], hat, 0)

    most = tf.cast(tf.reduce_max(tf.maximum(last - first, 0)), tf.int32)
    total = tf.zeros([tf.shape(low)[0], bins, size], low.dtype)
    shapes = (tf.TensorShape([]), tf.TensorShape([low.shape[0], bins, None]))
    _, total = tf.while_loop(lambda k, _: k < most, sample, (0, total), shape_invariants=shapes)
    return total / tf.maximum(count, 1)[:, None, None]


def _pool_cells(low, high, scale, bins, size, inclusive):
    """First cell and the one after the last, [R, bins] int32 each, of every bin of the rounded RoI."""
    start, stop = (tf.sign(v) * tf.floor(tf.abs(v) + 0.5) for v in (x * tf.cast(scale, x.dtype) for x in (low, high)))
    width = _share(tf.maximum(stop - start + inclusive, 1), bins)[:, None]
    bin_indices = tf.range(bins, dtype=low.dtype)
    edges = tf.floor(bin_indices * width) + start[:, None], tf.math.ceil((bin_indices + 1) * width) + start[:, None]
    return [tf.cast(tf.clip_by_value(edge, 0, tf.cast(size, low.dtype)), tf.int32) for edge in edges]


def _pool_weights(low, high, scale, bins, size):
    """[R, bins, size]: the mean over the bin's cells."""
    begin, end = (x[..., None] for x in _pool_cells(low, high, scale, bins, size, 0))
    cells = tf.range(size)
    inside = tf.cast((cells >= begin) & (cells < end), low.dtype)
    return inside / tf.cast(tf.maximum(end - begin, 1), low.dtype)


def _precise_weights(low, high, scale, bins, size):
    """[R, bins, size]: the integral of every cell's hat function over the bin, divided by the bin's width.

    IoU-Net needs its gradient at test time, and TFLite lacks that of what broadcasts: it is written out.
    """
    scale = tf.cast(scale, low.dtype)
    bin_indices = tf.reshape(tf.range(bins, dtype=low.dtype), [1, -1, 1])
    cells = tf.cast(tf.range(size), low.dtype)

    def integral(edge):
        """The integral of every cell's hat function up to an edge."""
        u = tf.clip_by_value(edge - cells, -1, 1)
        return 0.5 + u - 0.5 * u * tf.abs(u)

    @tf.custom_gradient
    def weights(low, high):
        start = tf.reshape(low * scale, [-1, 1, 1])
        width = (tf.reshape(high * scale, [-1, 1, 1]) - start) / bins
        has_width = width > 0
        width = tf.where(has_width, width, 1)
        left, right = start + bin_indices * width, start + (bin_indices + 1) * width
        found = tf.where(has_width, (integral(right) - integral(left)) / width, 0)

        def gradient(upstream):
            """To both ends: by the edges of every bin, where an integral grows by the hat, and by the bins' width."""
            upstream = tf.where(has_width, upstream, 0) / width
            to_left, to_right = (
                tf.reduce_sum(upstream * tf.maximum(1 - tf.abs(edge - cells), 0), axis=2, keepdims=True)
                for edge in (left, right)
            )
            to_width = tf.reduce_sum(upstream * found, axis=[1, 2]) / bins
            share = bin_indices / bins
            to_high = tf.reduce_sum(to_right * (share + 1 / bins) - to_left * share, axis=[1, 2])
            to_both = tf.reduce_sum(to_right - to_left, axis=[1, 2])
            return scale * (to_both - to_high + to_width), scale * (to_high - to_width)

        return found, gradient

    return weights(low, high)


def _table(regions):
    """The cells of all maps as rows [N + 1, C], the last one zeros; each RoI's first row and its map's sides, [R]."""
    shapes = [tf.shape(m) for m in regions.maps]
    sizes = tf.stack([tf.reduce_prod(shape[:3]) for shape in shapes])
    channels = shapes[0][3]
    rows = [tf.reshape(m, [n, channels]) for m, n in zip(regions.maps, tf.unstack(sizes), strict=True)]
    table = tf.concat([*rows, tf.zeros([1, channels], rows[0].dtype)], axis=0)
    height = tf.gather(tf.stack([shape[1] for shape in shapes]), regions.levels)
    width = tf.gather(tf.stack([shape[2] for shape in shapes]), regions.levels)
    start = tf.gather(tf.cumsum(sizes, exclusive=True), regions.levels)
    return table, start + tf.cast(regions.rois[:, 0], tf.int32) * height * width, height, width


def _align_by_samples(regions, sampling_ratio, aligned):
    """RoIAlign with few samples: gathers the four neighbors of each sample for all bins at once."""
    table, start, height, width = _table(regions)
    zero_row = tf.shape(table)[0] - 1
    real = regions.real & (height > 0) & (width > 0)
    scale = tf.gather(tf.constant(regions.scales, regions.rois.dtype), regions.levels)
    _, x1, y1, x2, y2 = tf.unstack(regions.rois, axis=1)

    def corners(low, high, bins, size):
        """The two cells and weights of every sample along a side of a bin, pairs of [R, bins]."""
        first, step = _align_sides(low, high, scale, bins, aligned)
        first = first[:, None] + tf.range(bins, dtype=low.dtype) * step[:, None]
        limit = tf.cast(size, low.dtype)[:, None]
        for k in range(sampling_ratio):
            at = first + (k + 0.5) * step[:, None] / sampling_ratio
            inside = (at >= -1) & (at <= limit) & (limit > 0)
            at = tf.minimum(tf.maximum(tf.where(inside, at, 0), 0), tf.maximum(limit - 1, 0))
            below = tf.floor(at)
            above = tf.minimum(below + 1, tf.maximum(limit - 1, 0))
            share = at - below
            yield tf.cast(below, tf.int32), tf.where(inside, 1 - share, 0)
            yield tf.cast(above, tf.int32), tf.where(inside, share, 0)

    columns = list(corners(x1, x2, regions.columns, width))
    total = tf.zeros([tf.shape(x1)[0], regions.rows, regions.columns, tf.shape(table)[1]], table.dtype)
    for y, row_weight in corners(y1, y2, regions.rows, height):
        for x, column_weight in columns:
            index = (start[:, None] + y * width[:, None])[:, :, None] + x[:, None, :]
            index = tf.where(real[:, None, None], index, zero_row)
            if library.lite():
                index += _zero_after(total)
            total += (row_weight[:, :, None] * column_weight[:, None, :])[..., None] * tf.gather(table, index)
    return total / sampling_ratio**2


def _zero_after(total):
    """0, but computed from the sum: else the converter would run all gathers, with all their memory, before any sum."""
    return tf.cast(tf.reduce_any(total[:1, 0, 0, 0] > float("inf")), tf.int32)
