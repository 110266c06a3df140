"""MobileNetV3-Large (Howard et al., ICCV 2019, arXiv:1905.02244), as in torchvision."""

import keras

from kerasdet.layers.composite import Composite
from kerasdet.layers.conv import Conv
from kerasdet.layers.inverted import InvertedResidual

# Table 1: kernel, expanded channels, channels, squeeze-and-excite, activation, stride.
ROWS = (
    (3, 16, 16, False, "relu", 1),
    (3, 64, 24, False, "relu", 2),
    (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1),
    (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, "hard_silu", 2),
    (3, 200, 80, False, "hard_silu", 1),
    (3, 184, 80, False, "hard_silu", 1),
    (3, 184, 80, False, "hard_silu", 1),
    (3, 480, 112, True, "hard_silu", 1),
    (3, 672, 112, True, "hard_silu", 1),
    (5, 672, 160, True, "hard_silu", 2),
    (5, 960, 160, True, "hard_silu", 1),
    (5, 960, 160, True, "hard_silu", 1),
)


@keras.saving.register_keras_serializable("kerasdet")
class MobileNetV3(Composite):
    """MobileNetV3-Large, tapped where the next block has expanded, as in SSDLite (section 6.3).

    Args:
        levels: first and last level to return, 1...5; level l has stride 2**l, and 5 is the last convolution.
        reduced: halves the channels of the last blocks, from stride 32 on, as detectors do (section 6.3).
        norm: kind of `layers.norm`.
        epsilon: epsilon of the norms.
        weights: None; released weights come with a detector, see `kerasdet.weights`.

    Attributes:
        strides, channels: of the maps that it returns.
    """

    normalization = "tf"

    def __init__(self, levels=(4, 5), reduced=False, norm="batch", epsilon=1e-3, weights=None, **kwargs):
        super().__init__(**kwargs)
        if weights:
            raise ValueError(f"MobileNetV3 loads no weights of its own, got weights={weights!r}; see kerasdet.weights.")
        self.levels = levels
        conv = {"norm": norm, "epsilon": epsilon, "dtype": self.dtype_policy}
        self.stem = Conv(16, 3, 2, activation="hard_silu", **conv)
        self.blocks, channels, expanded = [], 16, []
        for i, (size, inner, outputs, excite, activation, stride) in enumerate(ROWS):
            if reduced and i >= 12:
                inner, outputs = inner if i == 12 else inner // 2, outputs // 2
            own = _excite(inner) if excite else None
            self.blocks.append(InvertedResidual(size, channels, inner, outputs, activation, stride, own, **conv))
            channels = outputs
            expanded += [inner] if stride > 1 else []
        self.strides = tuple(2**level for level in range(levels[0], levels[1] + 1))
        self.channels = (*expanded, 6 * channels)[levels[0] - 1 : levels[1]]
        self.last = Conv(6 * channels, 1, activation="hard_silu", **conv)

    def call(self, x, training=False):
        """Runs the network.

        Args:
            x: [B, H, W, 3], pixels / 127.5 - 1.

        Returns:
            List of feature maps, one per level.
        """
        x = self.stem(x, training=training)
        features = []
        for block in self.blocks:
            x, expanded = block(x, training=training)
            if block.stride > 1:
                features.append(expanded)
        features.append(self.last(x, training=training))
        return features[self.levels[0] - 1 : self.levels[1]]


def _excite(channels):
    """Squeeze-and-excite with a quarter of the channels, rounded to a multiple of 8 (section 5.3)."""
    squeezed = max(8, (channels // 4 + 4) // 8 * 8)
    return squeezed + 8 * (squeezed < 0.9 * channels / 4), "relu", "hard_sigmoid"
