"""EfficientNet (Tan & Le, ICML 2019, arXiv:1905.11946) and its Lite form, tapped at a pyramid's strides."""

import math
import os
import zipfile

import keras
import numpy as np
import tensorflow as tf

from kerasdet.backbones import pretrained
from kerasdet.layers.composite import Composite
from kerasdet.layers.conv import MSRA, Conv
from kerasdet.layers.inverted import InvertedResidual

# Table 1, stages 2 to 8: blocks, kernel, stride, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# The last stage of each stride 2, 4, 8, 16, 32.
ENDS = (0, 1, 2, 4, 6)

# Width and depth of B0...B7 (section 3.3, in the release), and of Lite0...Lite4.
SCALES = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8), (1.6, 2.2), (1.8, 2.6), (2.0, 3.1))
LITE_SCALES = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8))

# Depthwise kernels start like the others: of variance 2 / cells, whatever the channels.
_DEPTHWISE = {"initializer": keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")}


@keras.saving.register_keras_serializable("kerasdet")
class EfficientNet(Composite):
    """An EfficientNet up to its last stage; the convolution for ImageNet's classes above it is left out.

    Args:
        number: of B0...B7, or of Lite0...Lite4.
        levels: first and last level to return, 1...5; level l has stride 2**l.
        width, depth: factors of channels and blocks in the place of the number's own; None for those.
        lite: ReLU6 instead of swish, no squeeze-and-excite; stem, first and last stage are not scaled.
        survival: probability that the last block is not skipped in training; those before are skipped less (stochastic
            depth, section 5).
        norm: kind of `layers.norm`.
        epsilon, momentum: of the norms.
        weights: None, "imagenet" (Keras' download) or the path of a Keras weights file; for a Lite form the path of a
            `.npz` file with the release's tensors by their PyTorch names: see `load_keras` and `load_lite`.

    Attributes:
        strides, channels: of the maps that it returns.
    """

    def __init__(
        self, number, levels=(3, 5), width=None, depth=None, lite=False, survival=1.0, norm="batch", epsilon=1e-3,
        momentum=0.99, weights=None, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.number, self.levels, self.lite = number, levels, lite
        self.normalization = "lite" if lite else "torch"
        own = (LITE_SCALES if lite else SCALES)[number]
        width, depth = own[0] if width is None else width, own[1] if depth is None else depth
        activation = "relu6" if lite else "silu"
        conv = {"norm": norm, "epsilon": epsilon, "momentum": momentum, "initializer": MSRA, "dtype": self.dtype_policy}
        channels = 32 if lite else rounded(32, width)
        self.stem = Conv(channels, 3, 2, padding="same", activation=activation, **conv)
        stages = STAGES[: ENDS[levels[1] - 1] + 1]
        fixed = (0, len(STAGES) - 1) if lite else ()
        counts = [count if i in fixed else math.ceil(depth * count) for i, (count, *_) in enumerate(STAGES)]
        self.stages, outputs, before = [], [], 0
        for count, (_, size, stride, expansion, wide) in zip(counts, stages, strict=False):
            stage, wide = [], rounded(wide, width)
            for i in range(count):
                drop = (1 - survival) * (before + i) / sum(counts)
                excite = None if lite else (max(1, channels // 4), activation)
                stage.append(InvertedResidual(
                    size, channels, channels * expansion, wide, activation, stride if i == 0 else 1, excite, drop,
                    {"padding": "same", **_DEPTHWISE}, **conv,
                ))  # fmt: skip
                channels = wide
            self.stages.append(stage)
            outputs.append(wide)
            before += count
        self.strides = tuple(2**level for level in range(levels[0], levels[1] + 1))
        self.channels = tuple(outputs[end] for end in ENDS[levels[0] - 1 : levels[1]])
        if weights:
            (load_lite if lite else load_keras)(self, weights)

    def call(self, x, training=False):
        """Runs the network.

        Args:
            x: [B, H, W, 3], normalized pixels.

        Returns:
            List of feature maps, one per level.
        """
        x = self.stem(x, training=training)
        features = []
        for stage in self.stages:
            for block in stage:
                x, _ = block(x, training=training)
            features.append(x)
        return [features[end] for end in ENDS[self.levels[0] - 1 : self.levels[1]]]


def rounded(channels, width):
    """Channels times the width, to the next multiple of 8; never by more than a tenth down."""
    scaled = channels * width
    found = max(8, int(scaled + 4) // 8 * 8)
    return found + 8 * (found < 0.9 * scaled)


def convolutions(network):
    """The convolutions of an `EfficientNet` in their order, as released files name them.

    Yields:
        (conv, stage, block, role): the stage and the block within it from 0, None of the stem; the role is "stem",
        "expand", "depthwise", "reduce", "excite" or "project".
    """
    yield network.stem, None, None, "stem"
    for s, stage in enumerate(network.stages):
        for b, block in enumerate(stage):
            gates = (None, None) if block.excite is None else (block.excite.fc1, block.excite.fc2)
            convs = (block.expand, block.depthwise, *gates, block.project)
            for conv, role in zip(convs, ("expand", "depthwise", "reduce", "excite", "project"), strict=True):
                if conv is not None:
                    yield conv, s, b, role


# Of each role its convolution and its norm, by Keras' and by the Lite release's names.
_KERAS = {
    "stem": ("stem_conv", "stem_bn"),
    "expand": ("expand_conv", "expand_bn"),
    "depthwise": ("dwconv", "bn"),
    "reduce": ("se_reduce", None),
    "excite": ("se_expand", None),
    "project": ("project_conv", "project_bn"),
}
_LITE = {
    "stem": ("_conv_stem", "_bn0"),
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}


def load_keras(network, weights):
    """Loads the ImageNet weights of `keras.applications`, whose own layers for pixels are left out.

    Args:
        network: an `EfficientNet` that is not Lite.
        weights: as in `pretrained.network`.

    Raises:
        ValueError: the file is of another network.
    """
    source = pretrained.network(getattr(keras.applications, f"EfficientNetB{network.number}"), weights)
    network(tf.zeros([1, 32, 32, 3]))
    for conv, stage, block, role in convolutions(network):
        place = "" if stage is None else f"block{stage + 1}{chr(ord('a') + block)}_"
        values = [source.get_layer(place + name).get_weights() for name in _KERAS[role] if name]
        _copy(conv, *sum(values, []))


def load_lite(network, weights):
    """Loads the tensors of a released EfficientNet-Lite; those above the last stage are not needed.

    Args:
        network: an `EfficientNet` of Lite form.
        weights: path of a `.npz` file of PyTorch's names, such as "_blocks.0._bn1.weight", and layouts.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, or of another network.
    """
    if weights == "imagenet":
        raise ValueError("EfficientNet-Lite has no download of its own: give the path of an .npz file of its tensors.")
    if not os.path.isfile(weights):
        raise FileNotFoundError(f"{weights}: no such weights file.")
    try:
        with np.load(weights, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except (ValueError, zipfile.BadZipFile, AttributeError):
        raise ValueError(f"{weights}: no .npz file of plain arrays, which EfficientNet-Lite is loaded from.") from None
    network(tf.zeros([1, 32, 32, 3]))
    first, copies = np.cumsum([0, *map(len, network.stages)]), []
    for conv, stage, block, role in convolutions(network):
        place = "" if stage is None else f"_blocks.{first[stage] + block}."
        kernel, norm = (place + name for name in _LITE[role])
        wanted = [f"{kernel}.weight", *(f"{norm}.{end}" for end in ("weight", "bias", "running_mean", "running_var"))]
        if missing := [name for name in wanted if name not in found]:
            raise ValueError(f"{weights}: no tensor '{missing[0]}', which the network needs.")
        values = [found[name] for name in wanted]
        values[0] = np.transpose(values[0], (2, 3, 1, 0))
        if values[0].shape != tuple(conv.kernel.shape):
            raise ValueError(f"{weights}: tensor '{wanted[0]}' is of another network than Lite{network.number}.")
        copies.append((conv, values))
    for conv, values in copies:
        _copy(conv, *values)


def _copy(conv, kernel, *others):
    """Copies a kernel, of which Keras keeps a depthwise one as [H, W, C, 1], and the bias or the norm's four."""
    conv.kernel.assign(np.reshape(kernel, conv.kernel.shape))
    norm = conv.norm
    own = [conv.bias] if norm is None else [norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance]
    for variable, value in zip(own, others, strict=True):
        variable.assign(value)
