"""Checkpoints that hold everything a run needs to go on: weights, optimizer, average, step and seeds."""

import contextlib
import pathlib

import tensorflow as tf


class Checkpoints:
    """The newest checkpoints of a run, written to a new name each and renamed when complete.

    Args:
        model: a compiled detector whose optimizer is built.
        folder: where the checkpoints lie.
        keep: how many.
    """

    def __init__(self, model, folder, keep=2):
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        # An explicit dict, since `tf.train.Checkpoint(model=...)` misses the states of Keras' seed generators; by
        # number, since names count the layers that a process has made.
        parts = {"model": model.variables, "optimizer": model.optimizer.variables}
        values = {f"{part}_{i}": v.value for part, variables in parts.items() for i, v in enumerate(variables)}
        checkpoint = tf.train.Checkpoint(step=self.step, **values)
        self.manager = tf.train.CheckpointManager(checkpoint, str(pathlib.Path(folder)), max_to_keep=keep)

    def save(self, step):
        """Writes the state after `step` steps."""
        self.step.assign(step)
        self.manager.save(checkpoint_number=step)

    def restore(self):
        """Reads the newest checkpoint.

        Returns:
            Its step; 0 if there is none.
        """
        if self.manager.latest_checkpoint:
            self.manager.checkpoint.restore(self.manager.latest_checkpoint).assert_consumed()
        return int(self.step)


@contextlib.contextmanager
def averaged(model):
    """Inside, the model has its averaged weights, if its optimizer keeps an average."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not getattr(optimizer, "use_ema", False):
        yield
        return
    own = [variable.numpy() for variable in model.trainable_variables]
    optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, own, strict=True):
            variable.assign(value)
