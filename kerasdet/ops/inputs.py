"""What all operators ask of their inputs, whichever way they then run."""

import tensorflow as tf


def check_shape(name, tensor, shape):
    """Checks what is known of a tensor's shape; native kernels check the rest when they run.

    Args:
        name: what the message calls it.
        tensor: a tensor.
        shape: list of sizes, None where any will do.

    Raises:
        InvalidArgumentError: the rank or a size differs.
    """
    if not tensor.shape.is_compatible_with(shape):
        wanted = ", ".join("?" if size is None else str(size) for size in shape)
        raise tf.errors.InvalidArgumentError(None, None, f"{name} must have shape [{wanted}], got {tensor.shape}.")


def widen(tensor):
    """Casts a tensor [...] of half precision to float32: coordinates and sums are never narrower."""
    return tensor if tensor.dtype == tf.float64 else tf.cast(tensor, tf.float32)
