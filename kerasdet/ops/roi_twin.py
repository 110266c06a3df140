"""The twins of the region operators: stock TensorFlow operators that TFLite has too, differentiable, of static shapes.

All but RoIPool's are separable weighted sums: dense weights [R, bins, cells] along each axis and two matrix products,
or, where a bin has few samples, four gathers a sample.
"""

from functools import partial
from typing import NamedTuple

import tensorflow as tf

from kerasdet.ops import library

# RoIs whose dense weights are held at once.
BLOCK = 32


class Regions(NamedTuple):
    """What the twins work on, as `ops.roi` describes it; RoIs that are not real are zeros."""

    maps: list
    rois: tf.Tensor
    scales: tuple
    levels: tf.Tensor
    real: tf.Tensor
    rows: int
    columns: int


def roi_align(regions, sampling_ratio, aligned):
    """See `ops.roi_align`."""
    if sampling_ratio > 0:
        return _align_by_samples(regions, sampling_ratio, aligned)
    return _by_weights(regions, partial(_align_weights, sampling_ratio=0, aligned=aligned), _products)


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
    """RoIPool: a search for the first greatest cell of every bin, without a gradient, then one gather with it."""
    table, start, height, width = _table(regions)
    nowhere = tf.shape(table)[0] - 1
    scale = tf.gather(tf.constant(regions.scales, regions.rois.dtype), regions.levels)
    _, x1, y1, x2, y2 = tf.unstack(regions.rois, axis=1)
    top, bottom = _pool_cells(y1, y2, scale, regions.rows, height[:, None], 1)
    left, right = _pool_cells(x1, x2, scale, regions.columns, width[:, None], 1)
    fixed = tf.stop_gradient(table)
    channels = tf.shape(table)[1]
    shape = tf.stack([tf.shape(start)[0], regions.rows, regions.columns, channels])
    wide = tf.maximum(tf.reduce_max(right - left), 0)
    cells = tf.maximum(tf.reduce_max(bottom - top), 0) * wide

    def look(k, place, best):
        y, x = top + k // wide, left + k % wide
        inside = ((y < bottom)[:, :, None] & (x < right)[:, None, :]) & regions.real[:, None, None]
        index = tf.where(inside, (start[:, None] + y * width[:, None])[:, :, None] + x[:, None, :], nowhere)
        value = tf.gather(fixed, index)
        better = inside[..., None] & ((value > best) | (place == nowhere))
        return k + 1, tf.where(better, index[..., None], place), tf.where(better, value, best)

    state = (0, tf.fill(shape, nowhere), tf.zeros(shape, table.dtype))
    _, place, _ = tf.while_loop(lambda k, *_: k < cells, look, state)
    flat = place * channels + tf.range(channels)
    return tf.gather(tf.reshape(table, [-1]), tf.stop_gradient(flat))


def _by_weights(regions, weights, products):
    """Sums over the levels; `weights` gives those of an axis, `products` what two axes make of a map."""
    total = 0
    for level, (m, scale) in enumerate(zip(regions.maps, regions.scales, strict=True)):
        images, height, width, _ = tf.unstack(tf.shape(m))
        mine = regions.real & (regions.levels == level)
        _, x1, y1, x2, y2 = tf.unstack(regions.rois, axis=1)
        ys = weights(y1, y2, scale, regions.rows, height)
        xs = weights(x1, x2, scale, regions.columns, width)
        owner = tf.one_hot(tf.cast(tf.stop_gradient(regions.rois)[:, 0], tf.int32), images, dtype=m.dtype)
        owner = tf.where(mine[:, None], owner, 0)
        ys = tf.reshape(owner, [-1, 1, images, 1]) * tf.expand_dims(ys, 2)
        ys = tf.reshape(ys, [tf.shape(ys)[0], regions.rows, images * height])
        total += _in_blocks(products, ys, xs, m)
    return total


def _products(ys, xs, m):
    """[R, P, Q, C] of row weights [R, P, B * H], column weights [R, Q, W] and a map [B, H, W, C]."""
    count, rows = tf.shape(ys)[0], ys.shape[1]
    images, height, width, channels = tf.unstack(tf.shape(m))
    lines = tf.matmul(
        tf.reshape(ys, [count * rows, images * height]), tf.reshape(m, [images * height, width * channels])
    )
    out = tf.matmul(tf.expand_dims(xs, 1), tf.reshape(lines, [count, rows, width, channels]))
    return tf.ensure_shape(out, [None, rows, xs.shape[1], m.shape[-1]])


def _position_products(ys, xs, m):
    """As `_products`, for a map [B, H, W, P * Q * K] whose channels belong to the bins."""
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
    """Runs a product over blocks of RoIs, so that memory stays bounded."""
    known, count = ys.shape[0] if ys.shape[0] is not None else xs.shape[0], tf.shape(xs)[0]
    if known is not None and known <= BLOCK:
        return products(ys, xs, m)
    more = [[0, -count % BLOCK], [0, 0], [0, 0]]
    ys, xs = (tf.reshape(tf.pad(x, more), [-1, BLOCK, *x.shape[1:2], tf.shape(x)[2]]) for x in (ys, xs))
    if known is None:
        out = tf.map_fn(lambda pair: products(*pair, m), (ys, xs), fn_output_signature=m.dtype)
    else:
        blocks = -(-known // BLOCK)
        pairs = zip(tf.unstack(ys, blocks), tf.unstack(xs, blocks), strict=True)
        out = tf.stack([products(y, x, m) for y, x in pairs])
    shape = tf.shape(out)
    return tf.reshape(out, tf.concat([[shape[0] * BLOCK], shape[2:]], 0))[:count]


def _align_sides(low, high, scale, bins, aligned):
    """Start [R] and bin [R] of each RoI along an axis, in cells."""
    scale = tf.cast(scale, low.dtype)
    shift = 0.5 if aligned else 0.0
    start = low * scale - shift
    size = high * scale - shift - start
    return start, (size if aligned else tf.maximum(size, 1)) / bins


def _align_weights(low, high, scale, bins, size, sampling_ratio, aligned):
    """[R, bins, size]: the mean of bilinear samples."""
    start, width = _align_sides(low, high, scale, bins, aligned)
    count = tf.fill(tf.shape(width), tf.cast(sampling_ratio, width.dtype)) if sampling_ratio else tf.math.ceil(width)
    step = tf.math.divide_no_nan(width, count)[:, None]
    limit = tf.cast(size, low.dtype)
    start = start[:, None] + tf.range(bins, dtype=low.dtype) * width[:, None]
    first, last = tf.zeros_like(start), tf.zeros_like(start) + count[:, None]
    if not sampling_ratio:
        # Of RoIs much larger than the map only the samples near it: the loop stays bounded.
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
    """First cell and the one behind the last, [R, bins] int32 each, of every bin of the rounded RoI."""
    start, stop = (tf.sign(v) * tf.floor(tf.abs(v) + 0.5) for v in (x * tf.cast(scale, x.dtype) for x in (low, high)))
    width = (tf.maximum(stop - start + inclusive, 1) / bins)[:, None]
    places = tf.range(bins, dtype=low.dtype)
    edges = tf.floor(places * width) + start[:, None], tf.math.ceil((places + 1) * width) + start[:, None]
    return [tf.cast(tf.clip_by_value(edge, 0, tf.cast(size, low.dtype)), tf.int32) for edge in edges]


def _pool_weights(low, high, scale, bins, size):
    """[R, bins, size]: the mean over the bin's cells."""
    begin, end = (x[..., None] for x in _pool_cells(low, high, scale, bins, size, 0))
    cells = tf.range(size)
    inside = tf.cast((cells >= begin) & (cells < end), low.dtype)
    return inside / tf.cast(tf.maximum(end - begin, 1), low.dtype)


def _precise_weights(low, high, scale, bins, size):
    """[R, bins, size]: the integral of every cell's hat over the bin, divided by the bin's width.

    No slices: TFLite knows no gradient of one, and IoU-Net asks for this gradient at test time.
    """
    scale = tf.cast(scale, low.dtype)
    start = tf.reshape(low * scale, [-1, 1, 1])
    width = (tf.reshape(high * scale, [-1, 1, 1]) - start) / bins
    some = width > 0
    width = tf.where(some, width, 1)
    places = tf.reshape(tf.range(bins, dtype=low.dtype), [1, -1, 1])
    cells = tf.cast(tf.range(size), low.dtype)

    def integral(edge):
        """Of every cell's hat up to an edge."""
        u = tf.clip_by_value(edge - cells, -1, 1)
        return 0.5 + u - 0.5 * u * tf.abs(u)

    return tf.where(some, (integral(start + (places + 1) * width) - integral(start + places * width)) / width, 0)


def _table(regions):
    """The cells of all maps as rows [N + 1, C], the last zeros; where each RoI's image begins, its map's sides, [R]."""
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
    """RoIAlign with few samples: the four neighbors of each, gathered for all bins at once."""
    table, start, height, width = _table(regions)
    nowhere = tf.shape(table)[0] - 1
    scale = tf.gather(tf.constant(regions.scales, regions.rois.dtype), regions.levels)
    _, x1, y1, x2, y2 = tf.unstack(regions.rois, axis=1)

    def corners(low, high, bins, size):
        """For every sample of a bin side its two cells and weights, pairs of [R, bins]."""
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
            index = tf.where(regions.real[:, None, None], index, nowhere)
            if library.lite():
                index += _nothing(total)
            total += (row_weight[:, :, None] * column_weight[:, None, :])[..., None] * tf.gather(table, index)
    return total / sampling_ratio**2


def _nothing(total):
    """0, but only once the sum is there: converters put all gathers, and so all their memory, before the additions."""
    return tf.cast(tf.reduce_any(total[:1, 0, 0, 0] > float("inf")), tf.int32)
