"""VGG (Simonyan & Zisserman, ICLR 2015, arXiv:1409.1556), and its dense form with fc6 and fc7 as convolutions."""

import keras
import tensorflow as tf

from kerasdet.backbones import pretrained
from kerasdet.layers.composite import Composite
from kerasdet.layers.conv import Conv

# Table 1: 3x3 convolutions of the five stages.
CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
NETWORKS = {16: keras.applications.VGG16, 19: keras.applications.VGG19}


@keras.saving.register_keras_serializable("kerasdet")
class VGG(Composite):
    """A VGG network, tapped before its pools at chosen levels.

    Pools round up, as in Caffe: level l has ceil(side / 2**l) cells.

    Args:
        depth: 11, 13, 16 or 19.
        levels: first and last level to return, 0...4; level l has stride 2**l, and 4 is conv5.
        atrous: pool5 keeps the resolution, and is followed by fc6, dilated by 6, and fc7 with a quarter of their
            channels; level 4 is then fc7 (SSD, section 3).
        strided: pool5 of an atrous network halves like the others, and fc6 is dilated by 3; level 4 stays conv5, and
            level 5 is fc7 (RefineDet's release).
        norm: kind of `layers.norm`, or None for biases, as in the paper.
        width: channels of the first stage; 64 in the paper.
        normalization: pixel statistics, see `layers.pixels`.
        freeze: the convolutions up to this level are not trained; 1, conv1 and conv2, in Fast R-CNN (section 4.5).
        weights: None, "imagenet" (Keras' download) or the path of a Keras weights file: see `load_keras`.

    Attributes:
        strides, channels: of the maps that it returns.
    """

    def __init__(
        self, depth, levels=(3, 4), atrous=False, strided=False, norm=None, width=64, normalization="vgg", freeze=None,
        weights=None, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.depth = depth
        self.levels = levels
        self.normalization = normalization
        conv = {"norm": norm, "activation": "relu", "dtype": self.dtype_policy}
        self.stages = [
            [Conv(min(width * 2**i, 8 * width), 3, **conv) for _ in range(count)]
            for i, count in enumerate(CONVOLUTIONS[depth])
        ]
        self.strided = strided
        self.fc6 = Conv(16 * width, 3, dilation=3 if strided else 6, **conv) if atrous else None
        self.fc7 = Conv(16 * width, 1, **conv) if atrous else None
        self.strides = tuple(2**level for level in range(levels[0], levels[1] + 1))
        channels = [stage[-1].filters for stage in self.stages]
        if atrous:
            channels[4 + strided :] = [self.fc7.filters]
        self.channels = tuple(channels[levels[0] : levels[1] + 1])
        if freeze is not None:
            for layer in sum(self.stages[: freeze + 1], []):
                layer.trainable = False
        if weights:
            load_keras(self, weights)

    def call(self, x, training=False):
        """Runs the network.

        Args:
            x: [B, H, W, 3], normalized pixels.

        Returns:
            List of feature maps, one per level.
        """
        features = []
        for level, stage in enumerate(self.stages):
            if level:
                x = tf.nn.max_pool2d(x, 2, 2, "SAME")
            for layer in stage:
                x = layer(x, training=training)
            features.append(x)
        if self.fc6 is not None:
            x = tf.nn.max_pool2d(x, 2, 2, "SAME") if self.strided else tf.nn.max_pool2d(x, 3, 1, "SAME")
            features[4 + self.strided :] = [self.fc7(self.fc6(x, training=training), training=training)]
        return features[self.levels[0] : self.levels[1] + 1]

    def load_top(self, layers, weights):
        """Loads ImageNet's fc6 and fc7 into fully connected layers (Fast R-CNN, section 2.2).

        Args:
            layers: fc6, on regions of 7x7 cells, and fc7. Nothing is loaded if their sizes differ, if they are
                factorized, or if the returned map is not conv5 alone.
            weights: "imagenet" or the path of a Keras weights file with top.

        Raises:
            ValueError: the file has no top.
        """
        fitting = [(layer.units, layer.rank) for layer in layers] == [(4096, None)] * 2
        if not fitting or self.fc6 is not None or tuple(self.levels) != (4, 4):
            return
        source = _with_top(self.depth, weights)
        for layer, name, inputs in zip(
            layers, ("fc1", "fc2"), (7 * 7 * self.stages[-1][-1].filters, 4096), strict=True
        ):
            layer.build((None, inputs))
            layer.set_weights(source.get_layer(name).get_weights())


def load_keras(vgg, weights):
    """Loads the ImageNet weights of `keras.applications`.

    Keras feeds BGR, so the input channels of the first kernel are reversed. fc6 and fc7 keep every fourth channel, and
    fc6's 7x7 kernel every third row and column (SSD, section 3: "subsample parameters from fc6 and fc7").

    Args:
        vgg: a `VGG` of depth 16 or 19 without norm.
        weights: "imagenet" or the path of a Keras weights file, with top if the network is atrous.

    Raises:
        ValueError: the network has a different form, or the file is of another network or lacks a top that is needed.
    """
    if vgg.depth not in NETWORKS or vgg.stages[0][0].norm is not None or vgg.stages[0][0].filters != 64:
        raise ValueError("Keras' ImageNet weights fit VGG of depth 16 and 19 with its own width and without norm only.")
    atrous = vgg.fc6 is not None
    source = _with_top(vgg.depth, weights) if atrous else pretrained.network(NETWORKS[vgg.depth], weights)
    vgg(tf.zeros([1, 32, 32, 3]))
    for s, stage in enumerate(vgg.stages, start=1):
        for c, conv in enumerate(stage, start=1):
            kernel, bias = source.get_layer(f"block{s}_conv{c}").get_weights()
            conv.kernel.assign(kernel[:, :, ::-1] if s == c == 1 else kernel)
            conv.bias.assign(bias)
    if atrous:
        for conv, name, side in ((vgg.fc6, "fc1", 7), (vgg.fc7, "fc2", 1)):
            kernel, bias = source.get_layer(name).get_weights()
            inputs = 4 if side == 1 else 1
            kernel = kernel.reshape(side, side, -1, kernel.shape[-1])
            conv.kernel.assign(kernel[::3, ::3, ::inputs, ::4])
            conv.bias.assign(bias[::4])


def _with_top(depth, weights):
    """Keras' network with fc6 and fc7."""
    try:
        return NETWORKS[depth](include_top=True, weights=weights)
    except ValueError:
        raise ValueError(f"{weights}: fc6 and fc7 need weights with top; this file has none.") from None
