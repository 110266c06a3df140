"""Optimizers by name, with the settings of the papers, and a learning rate for each part of a model."""

import keras

from kerasdet.weights import names

OPTIMIZERS = ("sgd", "adam", "adamw")


class _Parts:
    """An optimizer whose weights have each their share of the learning rate and a weight decay of their own."""

    shares = None  # of the learning rate, a number a weight; None until `set_parts`
    decays = None

    def update_step(self, gradient, variable, learning_rate):
        if self.shares is not None:
            index = self._get_variable_index(variable)
            learning_rate = learning_rate * self.shares[index]
            if self.decays[index]:
                self.assign_sub(variable, variable * self.decays[index] * learning_rate)
        super().update_step(gradient, variable, learning_rate)


@keras.saving.register_keras_serializable("kerasdet")
class Sgd(_Parts, keras.optimizers.SGD):
    """Stochastic gradient descent by parts."""


@keras.saving.register_keras_serializable("kerasdet")
class Adam(_Parts, keras.optimizers.Adam):
    """Adam by parts; with weight decay it is AdamW."""


def build(name, rate, momentum=0.9, ema=None):
    """Makes an optimizer.

    Args:
        name: one of `OPTIMIZERS`.
        rate: learning rate, a number or a schedule.
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
    return Sgd(rate, momentum, **average) if name == "sgd" else Adam(rate, **average)


def set_parts(optimizer, model, name, weight_decay=0.0, momentum=0.9, rates=None):
    """Gives every weight its decay and its share of the learning rate.

    Norms and biases, the weights of one dimension, do not decay.

    Args:
        optimizer: of `build`.
        model: whose trainable weights it will train.
        name: as in `build`; "adam" has no decay.
        weight_decay: of kernels, times the learning rate. For "sgd" it is the papers' L2 penalty: the decay stands
            apart from the momentum, so it is divided by 1 - momentum, which shrinks weights as much.
        momentum: of "sgd".
        rates: None, or a dict of shell pattern, such as "backbone/*", to a factor of the learning rate; the first
            pattern that matches a weight counts.

    Raises:
        ValueError: a pattern matches nothing.
    """
    rates = rates or {}
    own = {id(variable): key for key, variable in names.weights(model).items()}
    variables = model.trainable_variables
    matched = names.chosen(list(own.values()), rates, "rates")
    decay = {"sgd": weight_decay / (1 - momentum), "adam": 0.0, "adamw": weight_decay}[name]
    optimizer.shares = [float(rates.get(matched.get(own[id(v)]), 1.0)) for v in variables]
    optimizer.decays = [decay if len(v.shape) > 1 else 0.0 for v in variables]
