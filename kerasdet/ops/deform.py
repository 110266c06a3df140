"""What the taps of a modulated deformable convolution read (Zhu et al., CVPR 2019, arXiv:1811.11168)."""

import tensorflow as tf

from kerasdet.ops import inputs, library


def deform_columns(features, offsets, mask, size, stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1):
    """Reads a map bilinearly at moved taps and weighs what is read; a matrix makes a convolution of it (equation 1).

    Outside the map are zeros. A tap that lies a whole cell outside reads nothing and gets no gradient.

    Args:
        features: [B, H, W, C], any floating dtype.
        offsets: [B, H', W', groups * 2 * taps], y and x of every tap, row by row of the kernel, cells.
        mask: [B, H', W', groups * taps], the weight of every tap.
        size: rows and columns of the kernel; taps = rows * columns.
        stride, padding, dilation: of the convolution, (y, x) cells.
        groups: groups of channels with offsets of their own.

    Returns:
        [B, H', W', taps, C], dtype of the features.

    Raises:
        ValueError: a number is out of range.
        InvalidArgumentError: a tensor's shape or dtype does not fit.
    """
    features, offsets, mask = inputs.floats(features=features, offsets=offsets, mask=mask)
    size = [inputs.whole("size", one, 1, inputs.MOST_BINS) for one in size]
    stride = [inputs.whole("stride", one, 1, inputs.MOST_BINS) for one in stride]
    padding = [inputs.whole("padding", one, 0, inputs.MOST_BINS) for one in padding]
    dilation = [inputs.whole("dilation", one, 1, inputs.MOST_BINS) for one in dilation]
    groups, taps = inputs.whole("groups", groups, 1, inputs.MOST_BINS), size[0] * size[1]
    inputs.check_shape("features", features, [None, None, None, None])
    inputs.check_shape("offsets", offsets, [features.shape[0], None, None, groups * 2 * taps])
    inputs.check_shape("mask", mask, [features.shape[0], *offsets.shape[1:3], groups * taps])
    if features.shape[-1] % groups:
        raise ValueError(f"features must have a multiple of {groups} channels, got {features.shape[-1]}.")
    wide = [inputs.widen(one) for one in (features, offsets, mask)]
    form = {"size": size, "stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    if native := library.native():
        columns = native.kerasdet_deform_columns(features=wide[0], offsets=wide[1], mask=wide[2], **form)
    else:
        columns = _by_gathering(*wide, **form)
    return tf.cast(columns, features.dtype)


@tf.RegisterGradient("Kerasdet>DeformColumns")
def _gradient(op, upstream):
    form = {name: op.get_attr(name) for name in ("size", "stride", "padding", "dilation", "groups")}
    features, offsets, mask = op.inputs
    return list(
        library.load().kerasdet_deform_columns_gradient(
            features=features, offsets=offsets, mask=mask, upstream=upstream, **form
        )
    )


library.no_gradient("Kerasdet>DeformColumnsGradient", "gradients of deform_columns")


def _by_gathering(features, offsets, mask, size, stride, padding, dilation, groups):
    """The twin."""
    taps = size[0] * size[1]
    batch, height, width = (offsets.shape[axis] or tf.shape(offsets)[axis] for axis in range(3))

    def positions(axis, count):
        """Where the taps lie without offsets: [places, taps along the axis]."""
        start = tf.range(count) * stride[axis] - padding[axis]
        return tf.cast(start[:, None] + tf.range(size[axis]) * dilation[axis], features.dtype)

    y = tf.reshape(positions(0, height), [height, 1, size[0], 1])
    x = tf.reshape(positions(1, width), [1, width, 1, size[1]])
    y, x = (
        tf.reshape(tf.broadcast_to(one, [height, width, *size]), [1, height, width, taps]) for one in (y, x)
    )  # fmt: skip
    read = []
    for group, part in enumerate(tf.split(features, groups, axis=-1)):
        moved = offsets[..., group * 2 * taps : (group + 1) * 2 * taps]
        weights = mask[..., group * taps : (group + 1) * taps]
        read.append(_read(part, y + moved[..., ::2], x + moved[..., 1::2], weights))
    return tf.reshape(tf.concat(read, axis=-1), [batch, height, width, taps, features.shape[-1]])


def _read(features, y, x, weights):
    """Bilinear values of a map [B, H, W, C] at places [B, H', W', taps], times their weights: [places * taps, C]."""
    batch, height, width, channels = (size or tf.shape(features)[i] for i, size in enumerate(features.shape))
    # Every cell beside its three neighbors, so that a tap is one gather; a border of zeros all around.
    padded = tf.pad(features, [[0, 0], [1, 2], [1, 2], [0, 0]])
    corners = [padded[:, i : i + height + 2, j : j + width + 2] for i in (0, 1) for j in (0, 1)]
    table = tf.reshape(tf.concat(corners, axis=-1), [batch * (height + 2) * (width + 2), 4 * channels])

    def split(place, size):
        """The cell before a place, counted with the border, and the share of the next; outside both read zeros."""
        size = tf.cast(size, place.dtype)
        inside = (place > -1) & (place < size)
        place = tf.where(inside, place, tf.constant(-1.0, place.dtype))
        low = tf.floor(tf.stop_gradient(place))
        return tf.cast(low, tf.int32) + 1, place - low, tf.cast(inside, place.dtype)

    row, down, inside = split(y, height)
    column, right, inside_x = split(x, width)
    inside *= inside_x * weights
    start = tf.reshape(tf.range(batch) * ((height + 2) * (width + 2)), [-1, 1, 1, 1])
    places = tf.reshape(start + row * (width + 2) + column, [-1])
    values = tf.reshape(tf.gather(table, places), [tf.size(places), 4, channels])
    up, left = (1.0 - down) * inside, 1.0 - right
    down *= inside
    shares = tf.stack([up * left, up * right, down * left, down * right], axis=-1)
    shares = tf.reshape(shares, [-1, 4, 1])
    return tf.add_n([values[:, i] * shares[:, i] for i in range(4)])
