"""Stops a run whose loss is not finite, and saves what is needed to find the cause."""

import math
import pathlib

import keras
import numpy as np
import tensorflow as tf


class Guard(keras.callbacks.Callback):
    """Stops at the first loss term that is not finite and saves the batch as `nonfinite.npz`.

    It costs nothing, because Keras converts a step's logs to numbers before it calls any callback.

    Args:
        folder: folder for the batch.
        start: step at which the run starts.
    """

    def __init__(self, folder, start):
        super().__init__()
        self.path = pathlib.Path(folder) / "nonfinite.npz"
        self.step = start

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        terms = {name: logs[name] for name in self.model.terms if not math.isfinite(logs[name])}
        for name, value in terms.items():
            images, objects = whole(self.model.distribute_strategy, self.model.batch)
            save_batch(self.path, images, objects)
            ids = [int(i) for i in images["ids"] if i >= 0]
            raise FloatingPointError(
                f"the loss term '{name}' is {value} at step {self.step}, images {ids}: lower the learning rate, "
                f"lengthen the warm-up or check the annotations; the batch is saved as {self.path}."
            )


def not_finite(model):
    """The first weight of a model that is not finite, or None."""
    for weight in model.weights:
        if not bool(tf.reduce_all(tf.math.is_finite(tf.cast(weight, tf.float32)))):
            return weight
    return None


def check_weights(model, step):
    """Checks that a model can be saved.

    Raises:
        FloatingPointError: a weight is not finite; the message names it and the step.
    """
    if (weight := not_finite(model)) is not None:
        raise FloatingPointError(
            f"the weight {weight.path} is not finite at step {step}: lower the learning rate or clip_norm; "
            "the run's last checkpoint and model are kept."
        )


def whole(strategy, batch):
    """The batch of this process's replicas, as NumPy arrays."""

    def joined(entry):
        return np.concatenate([value.numpy() for value in strategy.experimental_local_results(entry)])

    return tuple({name: joined(entry) for name, entry in part.items()} for part in batch)


def save_batch(path, images, objects):
    """Writes a batch as one NumPy file.

    Args:
        path: path of the file.
        images, objects: the dicts of `contract`, of arrays; keys in the file are "images/pixels", "objects/boxes" ...
    """
    parts = {"images": images, "objects": objects}
    np.savez_compressed(path, **{f"{part}/{name}": value for part, d in parts.items() for name, value in d.items()})
