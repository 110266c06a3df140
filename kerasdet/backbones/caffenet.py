"""CaffeNet: AlexNet (Krizhevsky et al., NIPS 2012) as Caffe runs it, which pools before it normalizes."""

import keras
import tensorflow as tf

from kerasdet.backbones.zf import at_least
from kerasdet.layers.composite import Composite
from kerasdet.layers.conv import Conv

# Channels, side of the kernel, stride, zeros around and groups of conv1 ... conv5 (Caffe's prototxt). The groups are
# the two GPUs of 2012.
CONVOLUTIONS = ((96, 11, 4, 0, 1), (256, 5, 1, 2, 2), (384, 3, 1, 1, 1), (384, 3, 1, 1, 2), (256, 3, 1, 1, 2))

# Pixels a side from which conv5 has a pool of 3x3 cells.
LEAST = 67


@keras.saving.register_keras_serializable("kerasdet")
class CaffeNet(Composite):
    """Five convolutions; conv5 has stride 16, and 13x13 cells for an image of 227x227.

    Neither conv1 nor the pools pad, so a map has fewer cells than its stride says. An image is filled up with zeros to
    the 67 pixels a side that it takes.

    Args:
        levels: first and last level to return, 2...4; level l has stride 2**l: conv1, conv2, conv5.
        norm: kind of `layers.norm`, or None for biases, as in the release.
        width: channels of conv1; 96 in the paper. An even number of thirds.
        normalization: pixel statistics, see `layers.pixels`.
        weights: None; Caffe's weights come with a detector.

    Attributes:
        strides, channels: of the maps that it returns.
    """

    def __init__(self, levels=(4, 4), norm=None, width=96, normalization="rcnn", weights=None, **kwargs):
        super().__init__(**kwargs)
        if weights:
            raise ValueError(f"CaffeNet loads no weights of its own, got weights={weights!r}; see kerasdet.weights.")
        self.levels = levels
        self.normalization = normalization
        conv = {"norm": norm, "activation": "relu", "dtype": self.dtype_policy}
        self.convs = [
            Conv(round(channels * width / 96), size, stride, padding=padding, groups=groups, **conv)
            for channels, size, stride, padding, groups in CONVOLUTIONS
        ]
        conv1, conv2, *_, conv5 = (conv.filters for conv in self.convs)
        self.strides = tuple(2**level for level in range(levels[0], levels[1] + 1))
        self.channels = (conv1, conv2, conv5)[levels[0] - 2 : levels[1] - 1]

    def call(self, x, training=False):
        """Runs the network.

        Args:
            x: [B, H, W, 3], normalized pixels.

        Returns:
            List of feature maps, one per level.
        """
        conv1, conv2, *rest = self.convs
        features = [conv1(at_least(x, LEAST), training=training)]
        features.append(conv2(_normalized(tf.nn.max_pool2d(features[-1], 3, 2, "VALID")), training=training))
        x = _normalized(tf.nn.max_pool2d(features[-1], 3, 2, "VALID"))
        for conv in rest:
            x = conv(x, training=training)
        return [*features, x][self.levels[0] - 2 : self.levels[1] - 1]


def _normalized(x):
    """Across five neighboring channels (section 3.3), where Caffe counts alpha for all five together."""
    return tf.cast(tf.nn.local_response_normalization(tf.cast(x, tf.float32), 2, 1.0, 1e-4 / 5, 0.75), x.dtype)
