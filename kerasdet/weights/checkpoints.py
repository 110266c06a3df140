"""Checkpoints of TensorFlow 1 by name, which TensorFlow's own reader opens."""

import os
import re

import tensorflow as tf

_AVERAGE = "/ExponentialMovingAverage"

# What the optimizer keeps beside the weights.
_BESIDE = re.compile(
    r"(^|/)(global_step|Momentum|Adam|Adam_1|RMSProp|RMSProp_1|iterations|learning_rate|save_counter)$|^_CHECKPOINT"
)


def names(path):
    """Names of the weights and of their moving averages.

    Args:
        path: a folder with a checkpoint, or the checkpoint's own name without ".index".

    Returns:
        List of names.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: one line; it is damaged.
    """
    return _open(path)[1]


def read(path, averages=True, every=True):
    """Reads the weights.

    Args:
        path: as in `names`.
        averages: whether to take their moving averages.
        every: whether each must have one; otherwise those without are taken themselves.

    Returns:
        Dict of name to array.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: one line; it is damaged, or lacks averages.
    """
    reader, listed = _open(path)
    own = [name for name in listed if not name.endswith(_AVERAGE)]
    averaged = {name.removesuffix(_AVERAGE) for name in listed if name.endswith(_AVERAGE)} if averages else set()
    missing = sorted(set(own) - averaged) if averages and every else []
    if missing:
        raise ValueError(
            f"{path}: '{missing[0]}' has no moving average, as {len(missing)} of {len(own)} tensors have none; "
            "averages=False takes the weights themselves."
        )
    own = own or [name.removesuffix(_AVERAGE) for name in listed]  # a release may hold averages alone
    try:
        return {name: reader.get_tensor(name + _AVERAGE if name in averaged else name) for name in own}
    except (tf.errors.OpError, RuntimeError, IndexError) as error:
        raise _damaged(path, error) from None


def _open(path):
    """The reader, and the names in it without the optimizer's."""
    found = tf.train.latest_checkpoint(path) if os.path.isdir(path) else path
    if found is None or not os.path.isfile(f"{found}.index"):
        raise FileNotFoundError(f"{path}: no checkpoint there, a file that ends in .index and its data.")
    try:
        reader = tf.train.load_checkpoint(found)
        return reader, [name for name in reader.get_variable_to_shape_map() if not _BESIDE.search(name)]
    except (tf.errors.OpError, RuntimeError, IndexError) as error:
        raise _damaged(path, error) from None


def _damaged(path, error):
    return ValueError(f"{path}: a damaged checkpoint ({str(error).splitlines()[0]}).")
