"""Heads that dense detectors share over the levels of a pyramid."""

import math

import keras
import tensorflow as tf

from kerasdet.layers import norm as norms
from kerasdet.layers.composite import Composite
from kerasdet.layers.conv import XAVIER, Conv, DepthwiseConv, SeparableConv

# How EfficientDet's separable convolutions start. What is the inputs of TensorFlow's depthwise kernel [H, W, C, 1] are
# the outputs of ours, [H, W, 1, C].
LECUN = keras.initializers.VarianceScaling(1.0, "fan_in", "truncated_normal")
LECUN_OUT = keras.initializers.VarianceScaling(1.0, "fan_out", "truncated_normal")


@keras.saving.register_keras_serializable("kerasdet")
class ConvHead(keras.layers.Layer):
    """A tower of 3x3 convolutions and an output convolution, one set of weights for all levels (RetinaNet, section 4).

    Args:
        depth: convolutions of the tower.
        width: their channels.
        anchors: predictions per cell.
        outputs: numbers a prediction.
        norm: kind of `layers.norm`; levels share "group", and each has its own of the other kinds, because the batch
            statistics of levels differ.
        levels: how many levels there are; only norms that levels do not share ask for it.
        prior: initial probability of every output (section 4.1), or None for a bias of 0.
        separable: convolutions of two parts, which start as in EfficientDet.
        activation: of the tower.
        epsilon, momentum: of the norms.
    """

    def __init__(
        self, depth, width, anchors, outputs, norm=None, prior=None, levels=None, separable=False, activation="relu",
        epsilon=1e-5, momentum=0.9, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        shared = norm in (None, "group")
        if not shared and levels is None:
            raise ValueError(f"a head with norm={norm!r} needs `levels`, because each level has its own norm.")
        kind, start = Conv, {"initializer": keras.initializers.RandomNormal(stddev=0.01)}
        if separable:
            kind, start = SeparableConv, {"initializer": LECUN, "depthwise_initializer": LECUN_OUT}
        conv = {**start, "dtype": self.dtype_policy}
        own = {"norm": norm if shared else None, "activation": activation, "epsilon": epsilon, "momentum": momentum}
        self.outputs = outputs
        self.tower = [kind(width, 3, **own, **conv) for _ in range(depth)]
        each = [[norms.build(norm, epsilon, momentum) for _ in range(depth)] for _ in range(levels or 0)]
        self.norms = None if shared else each
        bias = 0.0 if prior is None else -math.log((1 - prior) / prior)
        self.predictor = kind(anchors * outputs, 3, bias=bias, **conv)

    def build(self, shapes):
        shape = shapes[0]
        for layer in self.tower:
            layer.build(shape)
            shape = (*shape[:-1], layer.filters)
        for level in self.norms or ():
            for norm in level:
                norm.build(shape)
        self.predictor.build(shape)

    def call(self, pyramid, training=False):
        """Predicts on every level.

        Args:
            pyramid: list of [B, H, W, C].

        Returns:
            [B, A, outputs] float32, levels one below another, each by row, column, anchor.
        """
        flat = []
        for level, x in enumerate(pyramid):
            for depth, layer in enumerate(self.tower):
                x = layer(x, training=training, norm=None if self.norms is None else self.norms[level][depth])
            x = self.predictor(x)
            flat.append(tf.reshape(x, [tf.shape(x)[0], -1, self.outputs]))
        return tf.cast(tf.concat(flat, axis=1), tf.float32)


@keras.saving.register_keras_serializable("kerasdet")
class Extra(Composite):
    """1x1 to half of the channels, then a convolution that shrinks the map (SSD, Liu et al., ECCV 2016, figure 2)."""

    def __init__(self, channels, size, stride, padding, separable, conv):
        super().__init__()
        self.size, self.stride, self.padding = size, stride, padding
        shrink = {"stride": stride, "padding": padding, **conv}
        self.convs = [Conv(channels // 2, 1, **conv)]
        if separable:
            self.convs += [DepthwiseConv(size, **shrink), Conv(channels, 1, **conv)]
        else:
            self.convs += [Conv(channels, size, **shrink)]

    def cells(self, side):
        """Cells a side of its map, from those of the map before."""
        if self.padding == "same":
            return -(-side // self.stride)
        return (side + 2 * self.padding - self.size) // self.stride + 1

    def call(self, x, training=False):
        for conv in self.convs:
            x = conv(x, training=training)
        return x


@keras.saving.register_keras_serializable("kerasdet")
class MapHeads(Composite):
    """Predicts on every map with weights of its own (SSD, section 2.1).

    Args:
        cells: predictions a cell of every map.
        outputs: numbers a prediction.
        size: side of the kernel.
        separable: a depthwise 3x3 and a 1x1 convolution instead.
        conv: arguments of the depthwise one.
    """

    def __init__(self, cells, outputs, size, separable, conv):
        super().__init__()
        self.outputs = outputs
        self.depthwise = [DepthwiseConv(3, **conv) for _ in cells] if separable else []
        size = 1 if separable else size
        self.predictors = [Conv(count * outputs, size, initializer="glorot_uniform") for count in cells]

    def call(self, maps, training=False):
        """Predicts.

        Args:
            maps: list of [B, H, W, C].

        Returns:
            [B, A, outputs] float32, maps one below another, each by row, column, anchor.
        """
        if self.depthwise:
            maps = [conv(x, training=training) for conv, x in zip(self.depthwise, maps, strict=True)]
        flat = [
            tf.reshape(predictor(x), [tf.shape(x)[0], -1, self.outputs])
            for predictor, x in zip(self.predictors, maps, strict=True)
        ]
        return tf.cast(tf.concat(flat, axis=1), tf.float32)


@keras.saving.register_keras_serializable("kerasdet")
class CellHead(Composite):
    """A convolution, then numbers for every cell of one map (CornerNet, Law & Deng, ECCV 2018, section 3.5).

    Args:
        width: channels of the first convolution.
        outputs: numbers a cell.
        bias: of the outputs at first; -2.19 for the logits of heat maps, about one in ten.
        size: side of the first convolution's kernel.
        std: deviation of the first weights of the outputs; None for one over the root of their inputs.
    """

    def __init__(self, width, outputs, bias=0.0, size=3, std=None, **kwargs):
        super().__init__(**kwargs)
        policy = {"dtype": self.dtype_policy}
        initializer = XAVIER if std is None else keras.initializers.RandomNormal(stddev=std)
        self.conv = Conv(width, size, activation="relu", **policy)
        self.predictor = Conv(outputs, 1, initializer=initializer, bias=bias, **policy)

    def call(self, x, training=False):
        """Predicts.

        Args:
            x: [B, H, W, C].

        Returns:
            [B, H, W, outputs] float32.
        """
        return tf.cast(self.predictor(self.conv(x, training=training)), tf.float32)
