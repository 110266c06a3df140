"""The network of Zeiler & Fergus (ECCV 2014, arXiv:1311.2901), as in Faster R-CNN's release."""

import keras
import tensorflow as tf

from kerasdet.layers.composite import Composite
from kerasdet.layers.conv import Conv

# Channels, side of the kernel and stride of conv1 ... conv5 (the release's prototxt).
CONVOLUTIONS = ((96, 7, 2), (256, 5, 2), (384, 3, 1), (384, 3, 1), (256, 3, 1))

# Pixels a side from which the network without padding has a cell.
LEAST = 31


@keras.saving.register_keras_serializable("kerasdet")
class ZF(Composite):
    """Five convolutions; conv5 has stride 16.

    Level l has ceil(side / 2**l) cells. Caffe's pools, which round up after padding, pad by one more cell. With
    `padded=False` it is SPP-net's ZF-5: conv1 has one row of zeros around, conv2 and the pools none, and the pools
    round up; an image of 224x224 has 13x13 cells, the first of them centered on pixel 21.

    Args:
        levels: first and last level to return, 1...4; level l has stride 2**l: conv1, the pool after it, conv2, conv5.
        norm: kind of `layers.norm`, or None for biases, as in the release.
        width: channels of conv1; 96 in the paper.
        normalization: pixel statistics, see `layers.pixels`.
        freeze: the convolutions up to this level are not trained: 1 for conv1, 3 for conv1 and conv2. Faster R-CNN
            trains all (section 3.1.3).
        padded: whether the strided convolutions and the pools pad, as in Faster R-CNN's release.
        weights: None; released weights come with a detector, see `kerasdet.weights`.

    Attributes:
        strides, channels: of the maps that it returns.
    """

    def __init__(
        self, levels=(4, 4), norm=None, width=96, normalization="rcnn", freeze=0, padded=True, weights=None, **kwargs
    ):
        super().__init__(**kwargs)
        if weights:
            raise ValueError(f"ZF loads no weights of its own, got weights={weights!r}; see kerasdet.weights.")
        self.levels = levels
        self.normalization = normalization
        conv = {"norm": norm, "activation": "relu", "dtype": self.dtype_policy}
        self.padded = padded
        paddings = (None,) * 5 if padded else (1, 0, None, None, None)
        self.convs = [
            Conv(round(c * width / 96), size, stride, padding=padding, **conv)
            for (c, size, stride), padding in zip(CONVOLUTIONS, paddings, strict=True)
        ]
        conv1, conv2, *_, conv5 = (conv.filters for conv in self.convs)
        self.strides = tuple(2**level for level in range(levels[0], levels[1] + 1))
        self.channels = (conv1, conv1, conv2, conv5)[levels[0] - 1 : levels[1]]
        for conv, level in zip(self.convs, (1, 3, 4, 4, 4), strict=True):
            conv.trainable = level > freeze

    def call(self, x, training=False):
        """Runs the network.

        Args:
            x: [B, H, W, 3], normalized pixels.

        Returns:
            List of feature maps, one per level.
        """
        conv1, conv2, *rest = self.convs
        x = x if self.padded else at_least(x, LEAST)
        features = [conv1(x, training=training)]
        features.append(self._pooled(local_response(features[-1])))
        features.append(conv2(features[-1], training=training))
        x = self._pooled(local_response(features[-1]))
        for conv in rest:
            x = conv(x, training=training)
        return [*features, x][self.levels[0] - 1 : self.levels[1]]

    def _pooled(self, x):
        pad = [1 if self.padded else 0, 1]
        return tf.nn.max_pool2d(tf.pad(x, [[0, 0], pad, pad, [0, 0]]), 3, 2, "VALID")  # after ReLU, 0 pads like -inf


def local_response(x, size=3, alpha=5e-5, beta=0.75):
    """Divides by (1 + alpha * mean of squares over size x size cells of the same channel, zeros outside) ** beta.

    Args:
        x: [B, H, W, C].
        size: cells per side, odd.
        alpha, beta: see above; all defaults are the release's.

    Returns:
        [B, H, W, C] of the same dtype.
    """
    pad = [size // 2] * 2
    squares = tf.pad(tf.square(tf.cast(x, tf.float32)), [[0, 0], pad, pad, [0, 0]])
    mean = tf.nn.avg_pool2d(squares, size, 1, "VALID")
    return x * tf.cast((1.0 + alpha * mean) ** -beta, x.dtype)


def at_least(x, side):
    """Adds zeros below and on the right of images that are smaller than a network can take.

    Args:
        x: [B, H, W, C].
        side: least height and width.

    Returns:
        [B, H', W', C].
    """
    if all(one is not None and one >= side for one in x.shape[1:3]):
        return x
    missing = tf.maximum(side - tf.shape(x)[1:3], 0)
    return tf.pad(x, [[0, 0], [0, missing[0]], [0, missing[1]], [0, 0]])
