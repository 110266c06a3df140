"""Region operators: RoIAlign, RoIPool, PS-RoIAlign, PS-RoIPool and PrRoIPool, on one map or on a pyramid.

All take `features`, a map [B, H, W, C] or a list of the maps of a pyramid, and `rois` [R, 5]: image, x1, y1, x2, y2,
the corners in pixels of the image. `spatial_scale` is in cells per pixel, one number or one per map, and `levels` [R]
selects each RoI's map (`pyramid_levels`); there are 8 maps at most. A RoI whose image or level does not exist, or that
has a coordinate that is not finite, gives zeros and gets no gradient: such rows pad a batch.

Features may have any floating dtype; half precision is summed in float32. Cell (row i, column j) lies at y = i, x = j.
RoIAlign shifts by half a cell, so that the cell lies at i + 0.5, its center in continuous image coordinates.
"""

import tensorflow as tf

from kerasdet.ops import inputs, library, roi_twin

# Maps that the native operators take: `kMaxLevels` of custom_ops/kernels/geometry.h.
MOST_MAPS = 8


def roi_align(features, rois, spatial_scale, output_size, sampling_ratio=0, aligned=True, levels=None):
    """Averages bilinear samples in every bin (Mask R-CNN, He et al., ICCV 2017, section 3).

    Args:
        features, rois, spatial_scale, levels: see the module.
        output_size: rows and columns of bins, one number or two, each 1...1024.
        sampling_ratio: samples per side of a bin, to 256; 0 takes as many as the bin has cells, rounded up.
        aligned: whether to shift by half a cell. Without, as in Mask R-CNN's first code, a side is at least one cell.

    Returns:
        [R, rows, columns, C], dtype of the features.

    Raises:
        InvalidArgumentError: a shape or dtype does not fit.
        ValueError: a number is out of range.
    """
    settings = {"sampling_ratio": sampling_ratio, "aligned": bool(aligned)}
    return _run("roi_align", features, rois, spatial_scale, output_size, levels, **settings)


def roi_pool(features, rois, spatial_scale, output_size, levels=None):
    """Takes the maximum of every bin of the rounded RoI; an empty bin is 0 (Fast R-CNN, section 2.1).

    Corners are rounded half away from zero and inclusive. The first maximum, row by row, gets the gradient.

    Args:
        features, rois, spatial_scale, levels: see the module.
        output_size: rows and columns of bins, one number or two.

    Returns:
        [R, rows, columns, C], dtype of the features.

    Raises:
        InvalidArgumentError: a shape or dtype does not fit.
        ValueError: a number is out of range.
    """
    return _run("roi_pool", features, rois, spatial_scale, output_size, levels)


def ps_roi_align(features, rois, spatial_scale, output_size, sampling_ratio=0, levels=None):
    """Position-sensitive RoIAlign: every bin samples its own channels (R-FCN, Dai et al., NIPS 2016, section 2).

    Args:
        features: see the module; C = rows * columns * K channels, ordered (row, column, class).
        rois, spatial_scale, levels: see the module.
        output_size, sampling_ratio: as in `roi_align`.

    Returns:
        [R, rows, columns, K], dtype of the features.

    Raises:
        InvalidArgumentError: a shape or dtype does not fit.
        ValueError: a number is out of range.
    """
    return _run("ps_roi_align", features, rois, spatial_scale, output_size, levels, sampling_ratio=sampling_ratio)


def ps_roi_pool(features, rois, spatial_scale, output_size, levels=None):
    """Position-sensitive average of the cells of every bin (R-FCN, equation 1); an empty bin is 0.

    Corners are rounded half away from zero; the second ones are exclusive.

    Args:
        features: see the module; C = rows * columns * K channels, ordered (row, column, class).
        rois, spatial_scale, levels: see the module.
        output_size: rows and columns of bins, one number or two.

    Returns:
        [R, rows, columns, K], dtype of the features.

    Raises:
        InvalidArgumentError: a shape or dtype does not fit.
        ValueError: a number is out of range.
    """
    return _run("ps_roi_pool", features, rois, spatial_scale, output_size, levels)


def prroi_pool(features, rois, spatial_scale, output_size, levels=None):
    """Integrates the interpolated map over every bin (IoU-Net, Jiang et al., ECCV 2018, section 3.2).

    The boxes get a gradient too. A RoI without area is 0.

    Args:
        features, rois, spatial_scale, levels: see the module.
        output_size: rows and columns of bins, one number or two.

    Returns:
        [R, rows, columns, C], dtype of the features.

    Raises:
        InvalidArgumentError: a shape or dtype does not fit.
        ValueError: a number is out of range.
    """
    return _run("prroi_pool", features, rois, spatial_scale, output_size, levels)


def pyramid_levels(rois, first, last, canonical_size=224.0, canonical_level=4):
    """Assigns RoIs to the maps of a pyramid by their size (FPN, Lin et al., CVPR 2017, equation 1).

    Args:
        rois: [R, 5]: image, x1, y1, x2, y2 in pixels.
        first, last: levels of the pyramid's first and last maps; a map of a level has stride 2**level.
        canonical_size: side in pixels of a RoI that belongs to `canonical_level`.

    Returns:
        [R] int32, index of each RoI's map: 0 for `first`.
    """
    _, x1, y1, x2, y2 = tf.unstack(rois, axis=1)
    side = tf.sqrt(tf.maximum(x2 - x1, 0) * tf.maximum(y2 - y1, 0))
    level = tf.math.log(tf.maximum(side, 1e-6) / canonical_size) / tf.math.log(tf.constant(2, rois.dtype))
    level = tf.floor(canonical_level + level + 1e-6)  # rounding must not push a RoI of exactly this size down a level
    return tf.cast(tf.clip_by_value(tf.where(level == level, level, first), first, last), tf.int32) - first


def _run(name, features, rois, spatial_scale, output_size, levels, **settings):
    """Checks the inputs and runs the native operator or its twin, which have the same name."""
    maps, rois, levels = _checked(features, rois, levels)
    dtype, maps = maps[0].dtype, [inputs.widen(m) for m in maps]
    rois = tf.cast(rois, maps[0].dtype)
    scales = _scales(spatial_scale, len(maps))
    sides = output_size if isinstance(output_size, (list, tuple)) else (output_size, output_size)
    if len(sides) != 2:
        raise ValueError(f"output_size must be one number of bins, or two for rows and columns, got {output_size!r}.")
    rows, columns = (inputs.whole("output_size", side, 1, inputs.MOST_BINS) for side in sides)
    if "sampling_ratio" in settings:
        settings["sampling_ratio"] = inputs.whole("sampling_ratio", settings["sampling_ratio"], 0, inputs.MOST_SAMPLES)
    if name.startswith("ps_") and maps[0].shape[-1] is not None and maps[0].shape[-1] % (rows * columns):
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
        if name != "prroi_pool":
            rois = tf.stop_gradient(rois)
        regions = roi_twin.Regions(maps, rois, scales, tf.where(real, levels, 0), real, rows, columns)
        out = getattr(roi_twin, name)(regions, **settings)
    return tf.cast(out, dtype)


def _checked(features, rois, levels):
    """The maps, which agree in dtype, images and channels; the RoIs; and their levels."""
    several = isinstance(features, (list, tuple))
    maps = inputs.floats(**{f"features[{i}]" if several else "features": m for i, m in enumerate(
        features if several else [features])})  # fmt: skip
    if not 1 <= len(maps) <= MOST_MAPS:
        raise ValueError(f"features must be 1 to {MOST_MAPS} maps, got {len(maps)}.")
    for m in maps:
        inputs.check_shape("features", m, [None, None, None, None])
    for m in maps:
        inputs.check_shape("features", m, [maps[0].shape[0], None, None, maps[0].shape[3]])
    rois = tf.convert_to_tensor(rois)
    if not (rois.dtype.is_floating or rois.dtype.is_integer):
        raise tf.errors.InvalidArgumentError(None, None, f"rois must be numbers, got {rois.dtype.name}.")
    inputs.check_shape("rois", rois, [None, 5])
    if levels is None:
        if len(maps) > 1:
            raise ValueError(f"levels must give the map of each RoI, of {len(maps)} maps: see `ops.pyramid_levels`.")
        return maps, rois, tf.zeros(tf.shape(rois)[:1], tf.int32)
    levels = inputs.whole_numbers("levels", levels)
    inputs.check_shape("levels", levels, [rois.shape[0]])
    return maps, rois, levels


def _scales(spatial_scale, count):
    """A scale for each of the maps."""
    several = isinstance(spatial_scale, (list, tuple))
    if several and len(spatial_scale) != count:
        raise ValueError(f"spatial_scale must be one number, or one for each of {count} maps, got {spatial_scale!r}.")
    scales = spatial_scale if several else (spatial_scale,) * count
    # So that no coordinate that a RoI may have overflows.
    return tuple(inputs.number("spatial_scale", scale, 1e-6, 16.0) for scale in scales)


# The native operators' attributes besides the output size.
_SETTINGS = {
    "roi_align": ("sampling_ratio", "aligned"),
    "roi_pool": (),
    "ps_roi_align": ("sampling_ratio",),
    "ps_roi_pool": (),
    "prroi_pool": (),
}


def _register(name, settings):
    """Registers the gradient of a native operator: to the features and, for PrRoIPool, to the RoIs."""

    @tf.RegisterGradient("Kerasdet>" + name.title().replace("_", ""))
    def _gradient(op, upstream):
        count = op.get_attr("N")
        arguments = {
            "features": list(op.inputs[:count]), "rois": op.inputs[count], "levels": op.inputs[count + 1],
            "scales": op.inputs[count + 2], "upstream": upstream, "rows": op.get_attr("rows"),
            "columns": op.get_attr("columns"),
        }  # fmt: skip
        more = {key: op.get_attr(key) for key in settings}
        native = library.load()
        to_rois = native.kerasdet_prroi_pool_box_gradient(**arguments) if name == "prroi_pool" else None
        return [*getattr(native, f"kerasdet_{name}_gradient")(**arguments, **more), to_rois, None, None]


for _name, _settings in _SETTINGS.items():
    _register(_name, _settings)
    library.no_gradient("Kerasdet>" + _name.title().replace("_", "") + "Gradient", f"gradients of {_name}")
library.no_gradient("Kerasdet>PrroiPoolBoxGradient", "gradients of prroi_pool")
