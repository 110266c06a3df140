"""Layers that are made of layers."""

import itertools

import keras
import tensorflow as tf

from kerasdet.layers import norm


class Composite(keras.layers.Layer):
    """A layer whose weights all belong to the layers in it, which make them when they first run.

    Without a `build`, Keras would first trace it to build it, and in that trace every block of it again: most of the
    time that a detector takes to be made.
    """

    def build(self, *shapes):
        """Nothing."""


def recomputed(function, x):
    """Runs a function whose insides are not kept for the gradient but computed again (Chen et al., arXiv:1604.06174).

    Args:
        function: of a tensor, through layers.
        x: a tensor.

    Returns:
        What the function returns.
    """
    runs = itertools.count()

    @tf.recompute_grad
    def run(x):
        with norm.repeated(next(runs) > 0):
            return function(x)

    return run(x)
