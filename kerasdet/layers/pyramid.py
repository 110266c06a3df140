"""Feature pyramids."""

import keras
import tensorflow as tf

from kerasdet.layers.conv import XAVIER, Conv


@keras.saving.register_keras_serializable("kerasdet")
class FPN(keras.layers.Layer):
    """Feature pyramid network (Lin et al., CVPR 2017, section 3): 1x1 laterals, nearest upsampling, 3x3 on each sum.

    Levels above the backbone's last map are 3x3 convolutions of stride 2 (RetinaNet, section 4): the first on the last
    backbone map or on the last pyramid map, the next on the ReLU of the one below.

    Args:
        width: channels of every level.
        levels: first and last level.
        extra_from: "c" or "p", what the first extra level is computed from.
        norm: norm of the laterals and outputs, see `layers.norm`.
    """

    def __init__(self, width=256, levels=(3, 7), extra_from="p", norm=None, **kwargs):
        super().__init__(**kwargs)
        if extra_from not in ("c", "p"):
            raise ValueError(f"extra_from must be 'c' (backbone) or 'p' (pyramid), got {extra_from!r}.")
        self.width = width
        self.levels = levels
        self.extra_from = extra_from
        self.norm = norm

    def strides(self, strides):
        """Strides of its levels, from those of the backbone's maps, pixels."""
        extra = self.levels[1] - self.levels[0] + 1 - len(strides)
        return (*strides, *(strides[-1] * 2**i for i in range(1, extra + 1)))

    def build(self, shapes):
        extra = self.levels[1] - self.levels[0] + 1 - len(shapes)

        def conv(size, stride, norm=None):
            return Conv(self.width, size, stride, norm=norm, initializer=XAVIER, dtype=self.dtype_policy)

        self.laterals = [conv(1, 1, self.norm) for _ in shapes]
        self.outputs = [conv(3, 1, self.norm) for _ in shapes]
        self.extras = [conv(3, 2) for _ in range(extra)]
        for lateral, output, shape in zip(self.laterals, self.outputs, shapes, strict=True):
            lateral.build(shape)
            output.build((*shape[:-1], self.width))
        for i, layer in enumerate(self.extras):
            layer.build(shapes[-1] if self.extra_from == "c" and i == 0 else (*shapes[-1][:-1], self.width))

    def call(self, features, training=False):
        """Builds the pyramid.

        Args:
            features: list of [B, H, W, C], each half the size of the previous one.

        Returns:
            List of [B, H / 2**i, W / 2**i, width], one per level.
        """
        merged = [lateral(x, training=training) for lateral, x in zip(self.laterals, features, strict=True)]
        for i in reversed(range(len(merged) - 1)):
            merged[i] += upsample(merged[i + 1], tf.shape(merged[i])[1:3])
        pyramid = [output(x, training=training) for output, x in zip(self.outputs, merged, strict=True)]
        x = features[-1] if self.extra_from == "c" else pyramid[-1]
        for i, layer in enumerate(self.extras):
            x = layer(x if i == 0 else tf.nn.relu(x), training=training)
            pyramid.append(x)
        return pyramid


def upsample(x, size):
    """Nearest-neighbor resize of [B, h, w, C] to `size`, the two numbers (H, W)."""
    return tf.raw_ops.ResizeNearestNeighbor(images=x, size=size, align_corners=False, half_pixel_centers=False)
