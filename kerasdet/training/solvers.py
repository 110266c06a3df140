"""Optimizers by name, with the settings of the papers."""

import keras

OPTIMIZERS = ("sgd", "adam", "adamw")


def build(name, rate, weight_decay=0.0, momentum=0.9, ema=None):
    """Makes an optimizer.

    Args:
        name: one of `OPTIMIZERS`.
        rate: learning rate, a number or a schedule.
        weight_decay: of kernels. For "sgd" it is the papers' L2 penalty: Keras decouples the decay from the momentum,
            so it is divided by 1 - momentum, which shrinks weights as much.
        momentum: of "sgd".
        ema: None, or the momentum of an average of the weights, which is what is evaluated and saved.

    Returns:
        A Keras optimizer.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {OPTIMIZERS}, got {name!r}.")
    average = {"use_ema": ema is not None, "ema_momentum": ema or 0.99}
    if name == "sgd":
        return keras.optimizers.SGD(rate, momentum, weight_decay=weight_decay / (1 - momentum) or None, **average)
    if name == "adam":
        return keras.optimizers.Adam(rate, **average)
    return keras.optimizers.AdamW(rate, weight_decay=weight_decay, **average)


def spare_norms(optimizer, variables):
    """Takes norms and biases, the variables of one dimension, out of the weight decay."""
    if optimizer.weight_decay:
        optimizer.exclude_from_weight_decay(var_list=[v for v in variables if len(v.shape) <= 1])
