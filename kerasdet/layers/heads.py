"""Heads that dense detectors share over the levels of a pyramid."""

import math

import keras
import tensorflow as tf

from kerasdet.layers.conv import Conv


@keras.saving.register_keras_serializable("kerasdet")
class ConvHead(keras.layers.Layer):
    """A tower of 3x3 convolutions and an output convolution, one set of weights for all levels (RetinaNet, section 4).

    Args:
        depth: convolutions of the tower.
        width: their channels.
        anchors: predictions per cell.
        outputs: numbers a prediction.
        norm: None or "group": batch statistics of levels that share weights differ.
        prior: initial probability of every output (section 4.1), or None for a bias of 0.
    """

    def __init__(self, depth, width, anchors, outputs, norm=None, prior=None, **kwargs):
        super().__init__(**kwargs)
        if norm not in (None, "group"):
            raise ValueError(f"norm of a head must be None or 'group', since levels share its weights; got {norm!r}.")
        initializer = keras.initializers.RandomNormal(stddev=0.01)
        self.outputs = outputs
        self.tower = [
            Conv(width, 3, norm=norm, activation="relu", initializer=initializer, dtype=self.dtype_policy)
            for _ in range(depth)
        ]
        bias = 0.0 if prior is None else -math.log((1 - prior) / prior)
        self.predictor = Conv(anchors * outputs, 3, initializer=initializer, bias=bias, dtype=self.dtype_policy)

    def build(self, shapes):
        shape = shapes[0]
        for layer in self.tower:
            layer.build(shape)
            shape = (*shape[:-1], layer.filters)
        self.predictor.build(shape)

    def call(self, pyramid, training=False):
        """Predicts on every level.

        Args:
            pyramid: list of [B, H, W, C].

        Returns:
            [B, A, outputs] float32, levels one below another, each by row, column, anchor.
        """
        flat = []
        for x in pyramid:
            for layer in self.tower:
                x = layer(x, training=training)
            x = self.predictor(x)
            flat.append(tf.reshape(x, [tf.shape(x)[0], -1, self.outputs]))
        return tf.cast(tf.concat(flat, axis=1), tf.float32)
