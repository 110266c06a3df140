"""Inverted residuals, the blocks of MobileNets and EfficientNets (Sandler et al., CVPR 2018, figure 3)."""

import keras
import tensorflow as tf

from kerasdet.layers.composite import Composite
from kerasdet.layers.conv import Conv, DepthwiseConv


@keras.saving.register_keras_serializable("kerasdet")
class InvertedResidual(Composite):
    """Expand, depthwise convolution, squeeze-and-excite, project; a shortcut where input and output are alike.

    Args:
        size: side of the depthwise kernel.
        inputs, inner, outputs: channels before, within and after; without an expansion `inner` is `inputs`.
        activation: after the expansion and the depthwise convolution.
        stride: of the depthwise convolution.
        excite: None, or the arguments of `Excite` after its channels.
        drop: how often a picture of a training batch goes by the shortcut alone (stochastic depth, Huang et al., ECCV
            2016).
        depthwise: further arguments of the depthwise convolution.
        conv: arguments of all `Conv`.
    """

    def __init__(
        self, size, inputs, inner, outputs, activation, stride=1, excite=None, drop=0.0, depthwise=None, **conv
    ):
        super().__init__(dtype=conv.get("dtype"))
        self.stride = stride
        self.residual = stride == 1 and inputs == outputs
        self.expand = Conv(inner, 1, activation=activation, **conv) if inner != inputs else None
        own = {**conv, **(depthwise or {})}
        self.depthwise = DepthwiseConv(size, stride=stride, activation=activation, **own)
        self.excite = None if excite is None else Excite(inner, *excite, dtype=self.dtype_policy)
        self.project = Conv(outputs, 1, **conv)
        # Dropout of whole pictures is stochastic depth: what stays is scaled by one over its probability.
        drops = drop > 0 and self.residual
        self.drop = keras.layers.Dropout(drop, noise_shape=(None, 1, 1, 1), dtype=self.dtype_policy) if drops else None

    def call(self, x, training=False):
        """Runs the block.

        Args:
            x: [B, H, W, inputs].

        Returns:
            [B, H', W', outputs], and the expanded map [B, H, W, inner].
        """
        expanded = x if self.expand is None else self.expand(x, training=training)
        y = self.depthwise(expanded, training=training)
        y = y if self.excite is None else self.excite(y)
        y = self.project(y, training=training)
        y = y if self.drop is None else self.drop(y, training=training)
        return (x + y if self.residual else y), expanded


@keras.saving.register_keras_serializable("kerasdet")
class Excite(Composite):
    """Squeeze-and-excite (Hu et al., CVPR 2018, section 3): every channel times a factor that the whole map decides.

    Args:
        channels: of the map.
        squeezed: channels of the hidden layer.
        activation: of the hidden layer.
        gate: of the factors.
    """

    def __init__(self, channels, squeezed, activation="relu", gate="sigmoid", **kwargs):
        super().__init__(**kwargs)
        self.fc1 = Conv(squeezed, 1, activation=activation, dtype=self.dtype_policy)
        self.fc2 = Conv(channels, 1, activation=gate, dtype=self.dtype_policy)

    def call(self, x):
        return x * self.fc2(self.fc1(tf.reduce_mean(x, axis=[1, 2], keepdims=True)))
