"""Corner pooling (CornerNet, Law & Deng, ECCV 2018, section 3.3): running maxima."""

import tensorflow as tf

from kerasdet.ops import inputs, library

# The axis that is scanned, and whether from its end: the pool of the top edge looks down.
DIRECTIONS = {"top": (1, True), "bottom": (1, False), "left": (2, True), "right": (2, False)}


def corner_pool(features, direction):
    """Takes, at every cell, the maximum of the cells from there to the border.

    In case of a tie, the cell farthest away gets the gradient, as in CornerNet's own code.

    Args:
        features: [B, H, W, C], any floating dtype.
        direction: the edge of the corner: "top" looks down, "bottom" up, "left" to the right, "right" to the left.

    Returns:
        [B, H, W, C], dtype of the features.

    Raises:
        ValueError: the direction is unknown.
        InvalidArgumentError: the features do not have rank 4, or are no floating numbers.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"direction must be one of {sorted(DIRECTIONS)}, got {direction!r}.")
    (features,) = inputs.floats(features=features)
    inputs.check_shape("features", features, [None, None, None, None])
    axis, backward = DIRECTIONS[direction]
    wide = inputs.widen(features)
    if native := library.native():
        pooled = native.kerasdet_corner_pool(features=wide, vertical=axis == 1, backward=backward)
    else:
        pooled = _by_doubling(wide, axis, backward)
    return tf.cast(pooled, features.dtype)


@tf.RegisterGradient("Kerasdet>CornerPool")
def _gradient(op, upstream):
    return library.load().kerasdet_corner_pool_gradient(
        features=op.inputs[0], maxima=op.outputs[0], upstream=upstream, vertical=op.get_attr("vertical"),
        backward=op.get_attr("backward"),
    )  # fmt: skip


library.no_gradient("Kerasdet>CornerPoolGradient", "gradients of corner_pool")


def _by_doubling(x, axis, backward):
    """The twin: maxima of 1, 2, 4, ... cells."""
    size = tf.shape(x)[axis]

    def double(reach, x):
        pad = [[0, 0]] * axis + [[0, reach] if backward else [reach, 0]] + [[0, 0]] * (3 - axis)
        padded = tf.pad(x, pad, constant_values=x.dtype.min)
        start = [0] * axis + [reach if backward else 0] + [0] * (3 - axis)
        far = tf.slice(padded, start, tf.shape(x))
        return 2 * reach, tf.ensure_shape(tf.where(x > far, x, far), x.shape)

    return tf.while_loop(lambda reach, _: reach < size, double, (1, x))[1]
