"""Optimizers by name, with the settings of the papers, and a learning rate for each part of a model."""

import keras

from kerasdet.weights import names

OPTIMIZERS = ("sgd", "adam", "adamw")


class _Parts:
    """An optimizer whose weights each have a share of the learning rate and a weight decay of their own.

    With averaged weights it also averages the running statistics of norms, which are those of the weights of the last
    steps.
    """

    shares = None  # of the learning rate, a number a weight; None until `set_parts`
    decays = None
    norms = ()  # running statistics that follow the batches

    def build(self, variables):
        super().build(variables)
        if self.use_ema:
            # Keras would track what is set as an attribute.
            self.__dict__["norm_averages"] = self.add_optimizer_variables(list(self.norms), "average")

    def _update_model_variables_moving_average(self, trainable_variables):
        super()._update_model_variables_moving_average(trainable_variables)
        kept = keras.ops.where(self.iterations == 0, 0.0, self.ema_momentum)
        for variable, average in zip(self.norms, self.norm_averages, strict=True):
            average.assign(kept * average + (1 - kept) * variable)

    def finalize_variable_values(self, var_list):
        super().finalize_variable_values(var_list)
        if self.use_ema:
            for variable, average in zip(self.norms, self.norm_averages, strict=True):
                variable.assign(average)

    def part(self, variable):
        """A weight's share of the learning rate, and its weight decay."""
        if self.shares is None:
            return 1.0, 0.0
        index = self._get_variable_index(variable)
        return self.shares[index], self.decays[index]


@keras.saving.register_keras_serializable("kerasdet")
class Sgd(_Parts, keras.optimizers.SGD):
    """Stochastic gradient descent by parts.

    Weight decay is the gradient of an L2 penalty, as in Caffe and PyTorch: it takes part in the momentum. The momentum
    sums steps times their rates, as Caffe's does; PyTorch's is the same at a constant rate.
    """

    def update_step(self, gradient, variable, learning_rate):
        share, decay = self.part(variable)
        if decay:
            gradient = gradient + decay * variable
        super().update_step(gradient, variable, learning_rate * share)


@keras.saving.register_keras_serializable("kerasdet")
class Adam(_Parts, keras.optimizers.Adam):
    """Adam by parts; with weight decay it is AdamW, whose decay stands apart from the moments."""

    def update_step(self, gradient, variable, learning_rate):
        share, decay = self.part(variable)
        if decay:
            self.assign_sub(variable, variable * decay * learning_rate * share)
        super().update_step(gradient, variable, learning_rate * share)


def build(name, rate, momentum=0.9, ema=None):
    """Makes an optimizer.

    Args:
        name: one of `OPTIMIZERS`.
        rate: learning rate, a number or a schedule.
        momentum: of "sgd".
        ema: None, or the momentum of an average of the weights and of the norms' running statistics, which is what is
            evaluated and saved.

    Returns:
        A Keras optimizer.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {OPTIMIZERS}, got {name!r}.")
    average = {"use_ema": ema is not None, "ema_momentum": ema or 0.99}
    return Sgd(rate, momentum, **average) if name == "sgd" else Adam(rate, **average)


def set_parts(optimizer, model, name, weight_decay=0.0, rates=None, decay_biases=False):
    """Gives every weight its decay and its share of the learning rate.

    Kernels decay. Of the weights of one dimension only biases can; gamma, beta and scale of norms never do.

    Args:
        optimizer: of `build`.
        model: whose trainable weights it will train.
        name: as in `build`; "adam" has no decay.
        weight_decay: times the learning rate. For "sgd" it is the papers' L2 penalty, for "adamw" decoupled.
        rates: None, or a dict of shell pattern, such as "backbone/*", to a factor of the learning rate, and so of the
            decay; the first pattern that matches a weight counts.
        decay_biases: whether biases, the weights whose name ends in "bias", decay too, as in py-faster-rcnn's VOC
            recipes and Detectron2's.

    Raises:
        ValueError: a pattern matches nothing.
    """
    rates = rates or {}
    own = {id(variable): key for key, variable in names.weights(model).items()}
    keys = [own[id(variable)] for variable in model.trainable_variables]
    matched = names.chosen(list(own.values()), rates, "rates")
    decay = 0.0 if name == "adam" else weight_decay
    decaying = [
        len(variable.shape) > 1 or (decay_biases and variable.name.endswith("bias"))
        for variable in model.trainable_variables
    ]
    optimizer.__dict__["norms"] = tuple(running(model))
    optimizer.shares = [float(rates.get(matched.get(key), 1.0)) for key in keys]
    optimizer.decays = [decay if one else 0.0 for one in decaying]


def running(model):
    """The running statistics of a model's norms that follow the batches: not those of frozen ones."""
    for layer in names.layers(model).values():
        if hasattr(layer, "moving_mean") and layer.trainable and not getattr(layer, "frozen", False):
            yield from (layer.moving_mean, layer.moving_variance)
