"""Stacked hourglasses (Newell et al., ECCV 2016, arXiv:1603.06937) as CornerNet builds them (section 3.5)."""

import keras
import tensorflow as tf

from kerasdet.layers.composite import Composite, recomputed
from kerasdet.layers.conv import Conv, Deconv, DepthwiseConv
from kerasdet.layers.pyramid import upsample

# CornerNet, section 3.5: channels of the hourglass' levels from the finest to the coarsest, and residual blocks.
CHANNELS = (256, 256, 384, 384, 384, 512)
BLOCKS = (2, 2, 2, 2, 2, 4)

# Arguments of the other forms: one stack for CenterNet's triplets; CornerNet-Lite's (Law et al., arXiv:1904.08900).
HOURGLASS_52 = {"stacks": 1}
HOURGLASS_54 = {"stacks": 3, "widths": (256, 384, 384, 512), "blocks": (1, 1, 1, 1)}
SQUEEZE = {"widths": (256, 256, 384, 384, 512), "blocks": (2, 2, 2, 2, 4), "fire": True, "down": 3}


@keras.saving.register_keras_serializable("kerasdet")
class Hourglass(Composite):
    """Hourglasses one behind another; each gives a map, and all are trained.

    Args:
        levels: (2, 2): `down` says how fine the maps are.
        stacks: number of hourglasses.
        widths: channels of each level, from the finest to the coarsest.
        blocks: residual blocks of each level.
        stem: channels of the first convolution.
        output: channels of the maps that it returns; None for those of the finest level.
        fire: whether the blocks are SqueezeNet's fire modules and transposed convolutions up-sample.
        down: how often the stem halves the picture.
        recompute: whether training keeps the residual blocks' inputs alone and computes their insides again for the
            gradient: less memory for a third more time.
        norm: kind of `layers.norm`.
        weights: None; there are no weights of Keras' own.

    Attributes:
        strides, channels: of the maps that it returns, one for each stack.
    """

    normalization = "centernet"

    def __init__(
        self, levels=(2, 2), stacks=2, widths=CHANNELS, blocks=BLOCKS, stem=128, output=None, fire=False, down=2,
        recompute=False, norm="batch", weights=None, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        if len(widths) != len(blocks) or len(widths) < 2:
            raise ValueError(f"widths and blocks must be one for each level, got {tuple(widths)} and {tuple(blocks)}.")
        if weights is not None:
            raise ValueError(f"an hourglass starts from random weights; got weights={weights!r}.")
        conv = {"norm": norm, "dtype": self.dtype_policy}
        block = {"recompute": recompute, **conv}
        finest, output = widths[0], output or widths[0]
        self.stem = Conv(stem, 7, 2, activation="relu", **conv)
        channels = [2 * stem] * (down - 2) + [finest]
        before = [stem, *channels]
        self.halvings = [Residual(before[i], one, 2, **block) for i, one in enumerate(channels)]
        self.hourglasses = [Level(widths, blocks, Fire if fire else Residual, **block) for _ in range(stacks)]
        self.outputs = [Conv(output, 3, activation="relu", **conv) for _ in range(stacks)]
        between = range(stacks - 1)
        self.inputs_again = [Conv(finest, 1, **conv) for _ in between]
        self.outputs_again = [Conv(finest, 1, **conv) for _ in between]
        self.merges = [Residual(finest, finest, **block) for _ in between]
        self.strides, self.channels = (2**down,) * stacks, (output,) * stacks

    def call(self, x, training=False, merged=False):
        """Runs the network.

        Args:
            x: [B, H, W, 3], normalized pixels; H and W as CornerNet's or CenterNet's resize rules give them.
            training: whether norms use the batch's statistics.
            merged: whether the maps inside of the hourglasses are returned too.

        Returns:
            List of maps [B, ceil(H / 4), ceil(W / 4), channels], one for each stack; with `merged` also a list of
            lists: of each stack the maps of its levels, the coarsest first, in which a level's own blocks and the
            coarser levels meet.
        """
        x = self.stem(x, training=training)
        for block in self.halvings:
            x = block(x, training=training)
        maps, levels = [], []
        for i, (hourglass, output) in enumerate(zip(self.hourglasses, self.outputs, strict=True)):
            levels.append(hourglass(x, training=training))
            maps.append(output(levels[-1][-1], training=training))
            if i < len(self.merges):
                both = self.inputs_again[i](x, training=training) + self.outputs_again[i](maps[-1], training=training)
                x = self.merges[i](tf.nn.relu(both), training=training)
        return (maps, levels) if merged else maps


@keras.saving.register_keras_serializable("kerasdet")
class Level(Composite):
    """A level of the hourglass: its own blocks beside all coarser levels, which are entered with stride 2.

    Args:
        widths, blocks: of this and all coarser levels.
        kind: `Residual` or `Fire`.
        block: of it.
    """

    def __init__(self, widths, blocks, kind, **block):
        super().__init__(dtype=block["dtype"])
        (own, below, *_), (count, *_) = widths, blocks
        self.beside = [kind(own, own, **block) for _ in range(count)]
        self.enter = [kind(own, below, 2, **block)] + [kind(below, below, **block) for _ in range(count - 1)]
        if len(widths) > 2:
            self.below = [Level(widths[1:], blocks[1:], kind, **block)]
        else:
            self.below = [kind(below, below, **block) for _ in range(blocks[1])]
        self.leave = [kind(below, below, **block) for _ in range(count - 1)] + [kind(below, own, **block)]
        self.resize = Deconv(own, dtype=block["dtype"]) if kind is Fire else None

    def call(self, x, training=False):
        """List of the merged maps of all coarser levels, the coarsest first, and of this one."""
        beside, coarser = x, []
        for block in self.beside:
            beside = block(beside, training=training)
        for block in self.enter:
            x = block(x, training=training)
        for block in self.below:
            x = block(x, training=training)
            if isinstance(block, Level):
                coarser, x = x, x[-1]
        for block in self.leave:
            x = block(x, training=training)
        return [*coarser, beside + (upsample(x, tf.shape(beside)[1:3]) if self.resize is None else self.resize(x))]


class Block(Composite):
    """What an hourglass is made of.

    Args:
        inputs, channels: of its input and output.
        stride: of its first convolution.
        recompute: see `Hourglass`.
        conv: of `Conv`.
    """

    def __init__(self, inputs, channels, stride=1, recompute=False, **conv):
        super().__init__(dtype=conv["dtype"])
        self.recompute = recompute
        self.make(inputs, channels, stride, conv)

    def call(self, x, training=False):
        def run(x):
            return self.run(x, training)

        return recomputed(run, x) if self.recompute and training else run(x)


@keras.saving.register_keras_serializable("kerasdet")
class Residual(Block):
    """Two 3x3 convolutions and a shortcut, projected where it changes size or channels."""

    def make(self, inputs, channels, stride, conv):
        self.conv1 = Conv(channels, 3, stride, activation="relu", **conv)
        self.conv2 = Conv(channels, 3, **conv)
        self.shortcut = Conv(channels, 1, stride, **conv) if stride != 1 or inputs != channels else None

    def run(self, x, training):
        shortcut = x if self.shortcut is None else self.shortcut(x, training=training)
        return tf.nn.relu(self.conv2(self.conv1(x, training=training), training=training) + shortcut)


@keras.saving.register_keras_serializable("kerasdet")
class Fire(Block):
    """A fire module (CornerNet-Lite, section 4.1): 1x1 to half the channels, then 1x1 beside a depthwise 3x3."""

    def make(self, inputs, channels, stride, conv):
        half = channels // 2
        self.squeeze = Conv(half, 1, **conv)
        self.pointwise = Conv(half, 1, stride, **conv)
        self.depthwise = DepthwiseConv(3, stride=stride, **conv)
        self.adds = stride == 1 and inputs == channels

    def run(self, x, training):
        squeezed = self.squeeze(x, training=training)
        both = [conv(squeezed, training=training) for conv in (self.pointwise, self.depthwise)]
        both = tf.concat(both, axis=-1)
        return tf.nn.relu(both + x if self.adds else both)
