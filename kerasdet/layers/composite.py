"""Layers that are made of layers."""

import keras


class Composite(keras.layers.Layer):
    """A layer whose weights all belong to the layers in it, which make them when they first run.

    Without a `build`, Keras would first trace it to build it, and in that trace every block of it again: most of the
    time that a detector takes to be made.
    """

    def build(self, *shapes):
        """Nothing."""
