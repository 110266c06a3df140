"""Region operators: RoIAlign, RoIPool, PS-RoIAlign, PS-RoIPool and PrRoIPool, on one map or on a pyramid.

All take `features`, a map [B, H, W, C] or a list of maps of a pyramid, and `rois` [R, 5]: image, x1, y1, x2, y2, the
corners in pixels of the image. `spatial_scale` is cells a pixel, one number or one for each map, and `levels` [R] says
which map a RoI is taken from (`pyramid_levels`). A RoI whose image or level does not exist, or with a coordinate that
is not finite, gives zeros and takes no gradient: such rows pad a batch.

Features may be of any floating type; half precision is summed in float32. Cell (row i, column j) lies at y = i, x = j;
RoIAlign shifts by half a cell, so that it lies at i + 0.5, where the image's continuous coordinates have it.
"""

from typing import NamedTuple

import tensorflow as tf

from kerasdet.ops import inputs, library

# RoIs whose dense weights the twins hold at once.
BLOCK = 32


def roi_align(features, rois, spatial_scale, output_size, sampling_ratio=0, aligned=True, levels=None):
    """Averages bilinear samples in every bin (Mask R-CNN, He et al., ICCV 2017, section 3).

    Args:
        features, rois, spatial_scale, levels: see above.
        output_size: rows and columns of bins, one number or two.
        sampling_ratio: samples a bin side; 0 takes as many as the bin has cells, rounded up.
        aligned: shifts by half a cell. Without it, as in Mask R-CNN's first code, a side is at least one cell.

    Returns:
        [R, rows, columns, C] of the features' type.

    Raises:
        InvalidArgumentError: a shape does not fit.
    """
    twin = _align_by_samples if sampling_ratio > 0 else _by_weights
    settings = {"sampling_ratio": sampling_ratio, "aligned": bool(aligned)}
    return _run("roi_align", twin, features, rois, spatial_scale, output_size, levels, settings, _align_weights)


def roi_pool(features, rois, spatial_scale, output_size, levels=None):
    """Takes the greatest cell of every bin of the rounded RoI; an empty bin is 0 (Fast R-CNN, section 2.1).

    Corners are rounded half away from zero and inclusive. Of equal cells the first, row by row, takes the gradient.

    Args:
        features, rois, spatial_scale, levels: see above.
        output_size: rows and columns of bins, one number or two.

    Returns:
        [R, rows, columns, C] of the features' type.

    Raises:
        InvalidArgumentError: a shape does not fit.
    """
    return _run("roi_pool", _pool_by_search, features, rois, spatial_scale, output_size, levels, {}, None)


def ps_roi_align(features, rois, spatial_scale, output_size, sampling_ratio=0, levels=None):
    """Position-sensitive RoIAlign: every bin samples channels of its own (R-FCN, Dai et al., NIPS 2016, section 2).

    Args:
        features: see above; C = rows * columns * K channels, ordered (row, column, class).
        rois, spatial_scale, levels: see above.
        output_size, sampling_ratio: as in `roi_align`.

    Returns:
        [R, rows, columns, K] of the features' type.

    Raises:
        InvalidArgumentError: a shape does not fit.
    """
    settings = {"sampling_ratio": sampling_ratio}
    shared = (features, rois, spatial_scale, output_size, levels)
    return _run("ps_roi_align", _by_weights, *shared, settings, _align_weights)


def ps_roi_pool(features, rois, spatial_scale, output_size, levels=None):
    """Position-sensitive average of the cells of every bin (R-FCN, equation 1); an empty bin is 0.

    Corners are rounded half away from zero, the second ones exclusive.

    Args:
        features: see above; C = rows * columns * K channels, ordered (row, column, class).
        rois, spatial_scale, levels: see above.
        output_size: rows and columns of bins, one number or two.

    Returns:
        [R, rows, columns, K] of the features' type.

    Raises:
        InvalidArgumentError: a shape does not fit.
    """
    return _run("ps_roi_pool", _by_weights, features, rois, spatial_scale, output_size, levels, {}, _pool_weights)


def pr_roi_pool(features, rois, spatial_scale, output_size, levels=None):
    """Integrates the interpolated map over every bin (IoU-Net, Jiang et al., ECCV 2018, section 3.2).

    It has a gradient to the boxes too. A RoI without area is 0.

    Args:
        features, rois, spatial_scale, levels: see above.
        output_size: rows and columns of bins, one number or two.

    Returns:
        [R, rows, columns, C] of the features' type.

    Raises:
        InvalidArgumentError: a shape does not fit.
    """
    return _run("pr_roi_pool", _by_weights, features, rois, spatial_scale, output_size, levels, {}, _precise_weights)


def pyramid_levels(rois, first, last, canonical_size=224.0, canonical_level=4):
    """Assigns RoIs to the maps of a pyramid by their size (FPN, Lin et al., CVPR 2017, equation 1).

    Args:
        rois: [R, 5]: image, x1, y1, x2, y2 in pixels.
        first, last: levels of the pyramid's first and last map, which has stride 2**level.
        canonical_size: side in pixels of a RoI that belongs to `canonical_level`.

    Returns:
        [R] int32, numbers of the maps: 0 for `first`.
    """
    _, x1, y1, x2, y2 = tf.unstack(rois, axis=1)
    side = tf.sqrt(tf.maximum(x2 - x1, 0) * tf.maximum(y2 - y1, 0))
    level = tf.math.log(tf.maximum(side, 1e-6) / canonical_size) / tf.math.log(tf.constant(2, rois.dtype))
    level = tf.floor(canonical_level + level + 1e-6)  # a RoI of exactly the size is not lost to rounding
    return tf.cast(tf.clip_by_value(tf.where(level == level, level, first), first, last), tf.int32) - first


class _Regions(NamedTuple):
    """What the twins work on; RoIs that are not real are zeros."""

    maps: list
    rois: tf.Tensor
    scales: tuple
    levels: tf.Tensor
    real: tf.Tensor
    rows: int
    columns: int


def _run(name, twin, features, rois, spatial_scale, output_size, levels, settings, weights):
    """Checks the inputs and runs the native operator or its twin."""
    maps = [tf.convert_to_tensor(m) for m in (features if isinstance(features, (list, tuple)) else [features])]
    dtype = maps[0].dtype
    maps = [inputs.widen(m) for m in maps]
    rois = tf.cast(rois, maps[0].dtype)
    scales = tuple(spatial_scale) if isinstance(spatial_scale, (list, tuple)) else (spatial_scale,) * len(maps)
    rows, columns = output_size if isinstance(output_size, (list, tuple)) else (output_size, output_size)
    for m in maps:
        inputs.check_shape("features", m, [None, None, None, None])
    inputs.check_shape("rois", rois, [None, 5])
    levels = tf.zeros(tf.shape(rois)[:1], tf.int32) if levels is None else tf.cast(levels, tf.int32)
    inputs.check_shape("levels", levels, [rois.shape[0]])
    if "ps_" in name and maps[0].shape[-1] is not None and maps[0].shape[-1] % (rows * columns):
        message = f"features must have a multiple of {rows} x {columns} channels, got {maps[0].shape[-1]}."
        raise tf.errors.InvalidArgumentError(None, None, message)
    if native := library.native():
        out = getattr(native, f"kerasdet_{name}")(
            features=maps, rois=rois, levels=levels, scales=tf.constant(scales, rois.dtype), rows=rows,
            columns=columns, **settings,
        )  # fmt: skip
    else:
        images = tf.cast(tf.shape(maps[0])[0], rois.dtype)
        real = tf.reduce_all(tf.abs(rois) < 1e37, axis=1) & (rois[:, 0] >= 0) & (rois[:, 0] < images)
        real &= (levels >= 0) & (levels < len(maps))
        rois = tf.where(real[:, None], rois, 0)
        if name != "pr_roi_pool":
            rois = tf.stop_gradient(rois)
        regions = _Regions(maps, rois, scales, tf.where(real, levels, 0), real, rows, columns)
        out = twin(regions, weights, "ps_" in name, **settings)
    return tf.cast(out, dtype)


# The native operators' attributes beside the output size.
_SETTINGS = {
    "roi_align": ("sampling_ratio", "aligned"),
    "roi_pool": (),
    "ps_roi_align": ("sampling_ratio",),
    "ps_roi_pool": (),
    "pr_roi_pool": (),
}


def _register(name, settings):
    """The gradients of a native operator: to the features, and of PrRoIPool to the RoIs."""

    @tf.RegisterGradient("Kerasdet>" + name.title().replace("_", ""))
    def _gradient(op, upstream):
        count = op.get_attr("N")
        given = {
            "features": list(op.inputs[:count]), "rois": op.inputs[count], "levels": op.inputs[count + 1],
            "scales": op.inputs[count + 2], "upstream": upstream, "rows": op.get_attr("rows"),
            "columns": op.get_attr("columns"),
        }  # fmt: skip
        more = {key: op.get_attr(key) for key in settings}
        native = library.load()
        to_rois = native.kerasdet_pr_roi_pool_box_gradient(**given) if name == "pr_roi_pool" else None
        return [*getattr(native, f"kerasdet_{name}_gradient")(**given, **more), to_rois, None, None]


for _name, _settings in _SETTINGS.items():
    _register(_name, _settings)


# The twins. All but RoIPool's are separable weighted sums: dense weights [R, bins, cells] along each axis and two
# matrix products, or, where a bin has few samples, four gathers a sample.


def _by_weights(regions, weights, position_sensitive, **settings):
    total = 0
    for level, (m, scale) in enumerate(zip(regions.maps, regions.scales, strict=True)):
        images, height, width, _ = tf.unstack(tf.shape(m))
        mine = regions.real & (regions.levels == level)
        _, x1, y1, x2, y2 = tf.unstack(regions.rois, axis=1)
        ys = weights(y1, y2, scale, regions.rows, height, **settings)
        xs = weights(x1, x2, scale, regions.columns, width, **settings)
        owner = tf.one_hot(tf.cast(tf.stop_gradient(regions.rois)[:, 0], tf.int32), images, dtype=m.dtype)
        owner = tf.where(mine[:, None], owner, 0)
        ys = tf.reshape(owner, [-1, 1, images, 1]) * tf.expand_dims(ys, 2)
        ys = tf.reshape(ys, [tf.shape(ys)[0], regions.rows, images * height])
        total += _in_blocks(_position_products if position_sensitive else _products, ys, xs, m)
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


def _align_weights(low, high, scale, bins, size, sampling_ratio, aligned=True):
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


def _align_by_samples(regions, weights, position_sensitive, sampling_ratio, aligned):
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
    total = 0
    for y, row_weight in corners(y1, y2, regions.rows, height):
        for x, column_weight in columns:
            index = (start[:, None] + y * width[:, None])[:, :, None] + x[:, None, :]
            index = tf.where(regions.real[:, None, None], index, nowhere)
            total += (row_weight[:, :, None] * column_weight[:, None, :])[..., None] * tf.gather(table, index)
    return total / sampling_ratio**2


def _pool_by_search(regions, weights, position_sensitive):
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
