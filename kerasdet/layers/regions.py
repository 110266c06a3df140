"""What the second stage does with the features of a region."""

import keras
import tensorflow as tf

from kerasdet.layers.composite import Composite
from kerasdet.layers.conv import MSRA, XAVIER, Conv
from kerasdet.layers.dense import FC


@keras.saving.register_keras_serializable("kerasdet")
class BoxHead(Composite):
    """Convolutions, then fully connected layers (FPN, section 4.2: two of 1024; Group Normalization, section 4.2.2: 4).

    Args:
        convs: 3x3 convolutions before.
        width: their channels.
        fc: units of the fully connected layers; without any, the mean over the region is taken.
        ranks: of the fully connected layers in two factors, see `FC`, or None.
        norm: of the convolutions, see `layers.norm`.
        dropout: share of the units that are dropped after each fully connected layer in training.
        activation: of the fully connected layers.
    """

    def __init__(
        self, convs=0, width=256, fc=(1024, 1024), ranks=None, norm=None, dropout=0.0, activation="relu", **kwargs
    ):  # fmt: skip
        super().__init__(**kwargs)
        policy = {"dtype": self.dtype_policy}
        self.convs = [Conv(width, 3, norm=norm, activation="relu", initializer=MSRA, **policy) for _ in range(convs)]
        ranks = ranks or (None,) * len(fc)
        if len(ranks) != len(fc):
            raise ValueError(f"ranks must be one for each of {len(fc)} fully connected layers, got {tuple(ranks)}.")
        self.fc = [
            FC(u, rank, activation=activation, kernel_initializer=XAVIER.clone(), **policy)
            for u, rank in zip(fc, ranks, strict=True)
        ]
        self.dropout = keras.layers.Dropout(dropout, **policy) if dropout else None

    def call(self, x, training=False):
        """Runs the head.

        Args:
            x: [N, S, S, C].

        Returns:
            [N, units of the last layer], or [N, C].
        """
        for conv in self.convs:
            x = conv(x, training=training)
        x = (
            tf.reshape(x, [tf.shape(x)[0], x.shape[1] * x.shape[2] * x.shape[3]])
            if self.fc
            else tf.reduce_mean(x, [1, 2])
        )
        for fc in self.fc:
            x = fc(x)
            if self.dropout is not None:
                x = self.dropout(x, training=training)
        return x


@keras.saving.register_keras_serializable("kerasdet")
class RegionPredictor(Composite):
    """The two sibling layers: logits of background and classes, and a box for each (Fast R-CNN, section 2.1).

    Args:
        classes: K + 1.
    """

    def __init__(self, classes, **kwargs):
        super().__init__(**kwargs)
        policy = {"dtype": self.dtype_policy}
        # Section 2.3: deviations 0.01 and 0.001.
        self.classes = FC(classes, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01), **policy)
        self.boxes = FC(4 * classes, kernel_initializer=keras.initializers.RandomNormal(stddev=0.001), **policy)

    def call(self, x):
        """Predicts.

        Args:
            x: [B, R, C].

        Returns:
            Dict of `logits` [B, R, 1 + K] and `deltas` [B, R, 1 + K, 4], float32.
        """
        logits, deltas = tf.cast(self.classes(x), tf.float32), tf.cast(self.boxes(x), tf.float32)
        # Classes fastest, as in all heads whose rows are kept by class name.
        deltas = tf.reshape(deltas, [tf.shape(x)[0], tf.shape(x)[1], 4, logits.shape[-1]])
        return {"logits": logits, "deltas": tf.transpose(deltas, [0, 1, 3, 2])}
