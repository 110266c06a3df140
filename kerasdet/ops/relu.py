"""ReLU for code under a `GradientTape` in an export: TFLite has no `ReluGrad`."""

import tensorflow as tf

from kerasdet.ops import library


def relu(x):
    """The positive part: `tf.nn.relu`, and in an export to TFLite a product with a mask, also as its gradient.

    Use it where `detections` differentiates, as IoU-Net does to refine boxes; elsewhere `tf.nn.relu`, which TFLite
    fuses into the layer before.

    Args:
        x: tensor of any shape, finite.

    Returns:
        The tensor with 0 for what is negative.
    """
    return _masked(x) if library.lite() else tf.nn.relu(x)


@tf.custom_gradient
def _masked(x):
    mask = tf.cast(x > 0, x.dtype)
    # Written out, since the tape's gradient of a product asks for broadcasting, which TFLite lacks too.
    return x * mask, lambda upstream: upstream * mask
