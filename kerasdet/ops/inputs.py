"""Checks and casts of inputs, shared by native operators and twins."""

import tensorflow as tf


def check_shape(name, tensor, shape):
    """Checks the static shape of a tensor; native kernels check the rest when they run.

    Args:
        name: the tensor's name in the message.
        tensor: a tensor.
        shape: list of sizes, None for any size.

    Raises:
        InvalidArgumentError: the rank or a size differs.
    """
    if not tensor.shape.is_compatible_with(shape):
        expected = ", ".join("?" if size is None else str(size) for size in shape)
        raise tf.errors.InvalidArgumentError(None, None, f"{name} must have shape [{expected}], got {tensor.shape}.")


def widen(tensor):
    """Casts a half-precision tensor [...] to float32, because coordinates and sums need at least that."""
    return tensor if tensor.dtype == tf.float64 else tf.cast(tensor, tf.float32)
