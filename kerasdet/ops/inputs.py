"""Checks and casts of inputs, in one place above native operators and twins, so that both take and refuse the same."""

import math
import operator

import tensorflow as tf

# No layer has so many bins along a side of a region, or samples along a side of a bin; what they would take is refused
# before it fills the memory or the day.
MOST_BINS, MOST_SAMPLES = 1024, 256


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


def floats(**values):
    """Converts values to tensors of one floating dtype.

    Args:
        values: tensors, arrays or lists, by their names in the message.

    Returns:
        List of tensors.

    Raises:
        InvalidArgumentError: one is not of floating numbers, or they differ in dtype.
    """
    tensors = [tf.convert_to_tensor(value) for value in values.values()]
    for name, tensor in zip(values, tensors, strict=True):
        if not tensor.dtype.is_floating:
            _refuse(f"{name} must be floating numbers, got {tensor.dtype.name}: cast them.")
        if tensor.dtype != tensors[0].dtype:
            first = next(iter(values))
            _refuse(
                f"{first} and {name} must have one dtype, got {tensors[0].dtype.name} and {tensor.dtype.name}: cast."
            )
    return tensors


def whole_numbers(name, value):
    """Converts values to an int32 tensor; those of other integer dtypes beyond int32 become its ends.

    Args:
        name: the values' name in the message.
        value: a tensor, array or list.

    Raises:
        InvalidArgumentError: they are no integers.
    """
    tensor = tf.convert_to_tensor(value)
    if not tensor.dtype.is_integer:
        _refuse(f"{name} must be whole numbers, int32, got {tensor.dtype.name}: cast them.")
    return tensor if tensor.dtype == tf.int32 else tf.saturate_cast(tensor, tf.int32)


def number(name, value, least=-math.inf, most=math.inf):
    """Checks a number.

    Args:
        name: the number's name in the message.
        value: a number, known when a graph is made.
        least, most: its range.

    Returns:
        The number as a float.

    Raises:
        ValueError: it is no number, or is NaN or out of range.
    """
    known = tf.get_static_value(value) if tf.is_tensor(value) else value
    try:
        number = float(known)
    except (TypeError, ValueError):
        number = math.nan
    if not least <= number <= most:
        raise ValueError(f"{name} must be a number{_between(least, most)}, got {known!r}.")
    return number


def whole(name, value, least, most=math.inf):
    """Checks a whole number.

    Args:
        name: the number's name in the message.
        value: an int, or what stands for one.
        least, most: its range.

    Returns:
        The int.

    Raises:
        ValueError: it is no whole number, or out of range.
    """
    known = tf.get_static_value(value) if tf.is_tensor(value) else value
    try:
        number = operator.index(known)
    except TypeError:
        number = math.nan
    if isinstance(known, bool) or not least <= number <= most:
        raise ValueError(f"{name} must be a whole number{_between(least, most)}, got {known!r}.")
    return number


def _between(least, most):
    if least == -math.inf and most == math.inf:
        return ""
    return f" of at least {least:g}" if most == math.inf else f" from {least:g} to {most:g}"


def _refuse(message):
    raise tf.errors.InvalidArgumentError(None, None, message)


def widen(tensor):
    """Casts a half-precision tensor [...] to float32, because coordinates and sums need at least that."""
    return tensor if tensor.dtype == tf.float64 else tf.cast(tensor, tf.float32)
