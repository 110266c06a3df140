"""Fully connected layers."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("kerasdet")
class FC(keras.layers.Layer):
    """A fully connected layer, whole or in two factors (Fast R-CNN, Girshick, ICCV 2015, section 3.1).

    Args:
        units: outputs.
        rank: None, or the inner size of the two factors, the first without a bias.
        activation: name of a Keras activation, or None.
        initializer: of the kernels.
    """

    def __init__(self, units, rank=None, activation=None, initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.rank = rank
        self.activation = keras.activations.get(activation)
        self.initializer = keras.initializers.get(initializer)

    def build(self, shape):
        sides = [shape[-1], self.units] if self.rank is None else [shape[-1], self.rank, self.units]
        self.kernels = [
            self.add_weight(
                shape=pair, name=f"kernel{i}", initializer=self.initializer, dtype="float32", autocast=False
            )
            for i, pair in enumerate(zip(sides[:-1], sides[1:], strict=True))
        ]
        self.bias = self.add_weight(
            shape=(self.units,), name="bias", initializer="zeros", dtype="float32", autocast=False
        )

    def call(self, x):
        """Multiplies and adds.

        Args:
            x: [..., C].

        Returns:
            [..., units].
        """
        for kernel in self.kernels:
            x = tf.matmul(x, tf.cast(kernel, x.dtype))
        return self.activation(tf.nn.bias_add(x, tf.cast(self.bias, x.dtype)))
