"""The networks of darknet: any list of layers, and the published backbones as such lists."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from kerasdet.backbones import cfg, cfg_layers, darknet_file
from kerasdet.layers import darknet as ops
from kerasdet.layers.composite import Composite
from kerasdet.layers.conv import Conv, DepthwiseConv
from kerasdet.layers.pyramid import upsample


def extraction(width=1.0):
    """The first 20 convolutions of YOLOv1 (Redmon et al., CVPR 2016, figure 3), up to stride 32."""
    yield _conv(64, 7, width, stride=2)
    yield cfg.maxpool()
    yield _conv(192, 3, width)
    yield cfg.maxpool()
    for filters, size in ((128, 1), (256, 3), (256, 1), (512, 3)):
        yield _conv(filters, size, width)
    yield cfg.maxpool()
    for filters, size in ((256, 1), (512, 3)) * 4 + ((512, 1), (1024, 3)):
        yield _conv(filters, size, width)
    yield cfg.maxpool()
    for filters, size in ((512, 1), (1024, 3)) * 2:
        yield _conv(filters, size, width)


def darknet19(width=1.0):
    """Darknet-19 (YOLO9000, Redmon & Farhadi, CVPR 2017, table 6) without its classifier."""
    for stage, count in enumerate((1, 1, 3, 3, 5, 5)):
        if stage:
            yield cfg.maxpool()
        for i in range(count):
            filters = 32 * 2**stage
            yield _conv(filters // 2, 1, width) if i % 2 else _conv(filters, 3, width)


def darknet53(width=1.0):
    """Darknet-53 (YOLOv3, Redmon & Farhadi, arXiv:1804.02767, table 1) without its classifier."""
    yield _conv(32, 3, width)
    for filters, count in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        yield _conv(filters, 3, width, stride=2)
        for _ in range(count):
            yield _conv(filters // 2, 1, width)
            yield _conv(filters, 3, width)
            yield cfg.section("shortcut", **{"from": (-3,), "activation": "linear"})


def tiny(width=1.0):
    """The seven convolutions of tiny YOLOv2 and YOLOv3; the last pool keeps the size of the map."""
    for filters in (16, 32, 64, 128, 256):
        yield _conv(filters, 3, width)
        yield cfg.maxpool()
    yield _conv(512, 3, width)
    yield cfg.maxpool(2, 1)
    yield _conv(1024, 3, width)


def _conv(filters, size, width, stride=1):
    return cfg.conv(cfg.wide(filters, width), size, stride)


class Network(NamedTuple):
    """A published backbone.

    sections: function from a factor of all channels to its `cfg.Section`s.
    ends: the last layer of stride 2**level for the levels 0, 1, 2 ..., None where there is none.
    """

    sections: Callable
    ends: tuple

    @property
    def length(self):
        """Number of layers."""
        return self.ends[-1] + 1


NETWORKS = {
    "extraction": Network(extraction, (None, 0, 2, 7, 18, 23)),
    "darknet19": Network(darknet19, (0, 2, 6, 10, 16, 22)),
    "darknet53": Network(darknet53, (0, 4, 11, 36, 61, 74)),
    "darknet_tiny": Network(tiny, (0, 2, 4, 6, 8, 12)),
}


def needs(layers, start):
    """Numbers of the maps that the layers from `start` on read from those before; -1 is the picture."""
    return sorted({i for layer in layers[start:] for i in layer.inputs if i < start})


@keras.saving.register_keras_serializable("kerasdet")
class CfgNetwork(Composite):
    """Runs layers `start` to `end` of a list.

    Args:
        layers: list of `cfg_layers.Layer`.
        keep: numbers of the layers whose outputs are returned; -1 for the picture.
        start, end: which of the layers it holds.
        norm: kind of `layers.norm` where the list has batch norm.

    Attributes:
        blocks: for each of its layers the Keras layer with its weights, or None.
    """

    def __init__(self, layers, keep, start=0, end=None, norm="batch", **kwargs):
        super().__init__(**kwargs)
        self.plan, self.keep, self.start = layers[start:end], tuple(keep), start
        self.needs = needs(layers[:end], start)
        self.blocks = [self._block(layer, norm) for layer in self.plan]

    def _block(self, layer, norm):
        values, policy = layer.values, {"dtype": self.dtype_policy}
        if layer.kind == "dropout":
            return keras.layers.Dropout(values["probability"], **policy)
        if "activation" not in values:
            return None
        activation = ops.ACTIVATIONS[values["activation"]]
        if layer.kind == "shortcut":
            return keras.layers.Activation(activation, **policy)
        if layer.kind == "local":
            return ops.Local(
                values["filters"], values["size"], values["stride"], values["pad"], activation, **policy
            )  # fmt: skip
        options = {"norm": norm if values["batch_normalize"] else None, "activation": activation, **policy}
        if layer.kind == "connected":
            return ops.Connected(values["output"], **options)
        options |= {"stride": values["stride"], "padding": values["padding"]}
        if 1 < values["groups"] == values["filters"] == layer.before[2]:
            return DepthwiseConv(values["size"], **options)
        return Conv(values["filters"], values["size"], groups=values["groups"], **options)

    def call(self, given, training=False):
        """Runs its layers.

        Args:
            given: list of the maps [B, H, W, C] of `needs`, or of pixels 0...1 if it starts with the picture.

        Returns:
            List of the maps that it keeps; what a head gives is what it reads.
        """
        maps = dict(zip(self.needs, given, strict=True))
        for number, (layer, block) in enumerate(zip(self.plan, self.blocks, strict=True), self.start):
            maps[number] = _run(layer, block, [maps[i] for i in layer.inputs], training)
        return [maps[i] for i in self.keep]


def _run(layer, block, inputs, training):
    x, values = inputs[0], layer.values
    if layer.kind == "maxpool":
        return ops.max_pool(x, values["size"], values["stride"], values["padding"])
    if layer.kind == "route":
        size = [part.shape[3] // values["groups"] for part in inputs]
        first = values["group_id"]
        parts = [part[..., first * n : (first + 1) * n] for part, n in zip(inputs, size, strict=True)]
        return parts[0] if len(parts) == 1 else tf.concat(parts, axis=3)
    if layer.kind == "shortcut":
        return block(ops.shortcut(x, inputs[1], values["ratio"], values["alpha"], values["beta"]))
    if layer.kind == "upsample":
        size = tf.shape(x)[1:3] * values["stride"]
        scale = values["scale"]
        return upsample(x, size) * scale if scale != 1 else upsample(x, size)
    if layer.kind == "reorg":
        return tf.nn.depth_to_space(x, values["stride"]) if values["reverse"] else ops.reorg(x, values["stride"])
    if layer.kind == "reorg3d":
        return tf.nn.space_to_depth(x, values["stride"])
    if layer.kind == "avgpool":
        return tf.reduce_mean(x, axis=[1, 2], keepdims=True)
    if block is None:
        return x  # a head
    return block(x) if layer.kind == "local" else block(x, training=training)


@keras.saving.register_keras_serializable("kerasdet")
class Darknet(Composite):
    """One of `NETWORKS`, tapped at chosen levels.

    Args:
        name: a key of `NETWORKS`.
        levels: first and last level to return, 0...5; level l has stride 2**l.
        norm: kind of `layers.norm`.
        width: factor of all channels.
        weights: None, or the path of a `.weights` file of darknet that holds these convolutions, such as
            `darknet53.conv.74`, and at most a classifier of 1000 classes behind them.

    Attributes:
        strides, channels: of the maps that it returns.
    """

    normalization = "unit"

    def __init__(self, name, levels=(3, 5), norm="batch", width=1.0, weights=None, **kwargs):
        super().__init__(**kwargs)
        listed, ends = NETWORKS[name]
        if None in ends[levels[0] : levels[1] + 1]:
            raise ValueError(f"{name} has no map for one of the levels {levels[0]} to {levels[1]}.")
        placed = cfg_layers.layers([cfg.section("net", height=64, width=64), *listed(width)])
        taps = ends[levels[0] : levels[1] + 1]
        self.body = CfgNetwork(placed, taps, end=taps[-1] + 1, norm=norm, dtype=self.dtype_policy)
        self.strides = tuple(2**level for level in range(levels[0], levels[1] + 1))
        self.channels = tuple(placed[tap].shape[2] for tap in taps)
        if weights:
            self(tf.zeros([1, 64, 64, 3]))
            darknet_file.load_first(self.body.blocks, weights, 1000 * (self.channels[-1] + 1))

    def call(self, x, training=False):
        """Runs the network.

        Args:
            x: [B, H, W, 3], pixels 0...1.

        Returns:
            List of feature maps, one per level.
        """
        return self.body([x], training=training)
