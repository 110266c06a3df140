"""Deep layer aggregation (Yu et al., CVPR 2018, arXiv:1707.06484): DLA-34 with iterative up-sampling to stride 4."""

import keras
import tensorflow as tf

from kerasdet.backbones.resnet import Basic
from kerasdet.layers.composite import Composite
from kerasdet.layers.conv import Conv, Upsample
from kerasdet.layers.deform import DeformConv

# Table 1: channels of the stem and the levels, and how deep the trees of levels 2 to 5 are.
CHANNELS = (16, 16, 32, 64, 128, 256, 512)
DEPTHS = (1, 2, 2, 1)


@keras.saving.register_keras_serializable("kerasdet")
class DLA(Composite):
    """DLA-34 and the up-sampling of CenterNet (Objects as Points, section 5 and figure 6c): one map of stride 4.

    Args:
        levels: (2, 2), the only map that there is.
        deformable: whether the convolutions of the up-sampling are deformable.
        width: factor of all channels.
        norm: kind of `layers.norm`.
        weights: None; there are no weights of Keras' own.

    Attributes:
        strides, channels: of the map that it returns.
    """

    normalization = "centernet"
    strides = (4,)

    def __init__(self, levels=(2, 2), deformable=True, width=1.0, norm="batch", weights=None, **kwargs):
        super().__init__(**kwargs)
        if tuple(levels) != (2, 2) or weights is not None:
            raise ValueError(
                f"DLA returns level 2 alone, from random weights; got levels={levels}, weights={weights!r}."
            )
        conv = {"norm": norm, "epsilon": 1e-5, "dtype": self.dtype_policy}
        stem, *channels = (max(int(count * width), 1) for count in CHANNELS)
        self.stem = Conv(stem, 7, activation="relu", **conv)
        self.early = [Conv(channels[i], 3, stride=1 + i, activation="relu", **conv) for i in (0, 1)]
        self.trees = [
            Tree(depth, channels[i - 1], channels[i], 2, i > 2, **conv) for i, depth in enumerate(DEPTHS, start=2)
        ]
        up = {"deformable": deformable, **conv}
        self.ups = [Up(channels[-2 - i], [2] * (i + 1), **up) for i in range(3)]
        self.last = Up(channels[2], [2, 4], **up)
        self.channels = (channels[2],)

    def call(self, x, training=False):
        """Runs the network.

        Args:
            x: [B, H, W, 3], normalized pixels; sides are multiples of 32.

        Returns:
            List of one map [B, H / 4, W / 4, channels].
        """
        x = self.stem(x, training=training)
        for conv in self.early:
            x = conv(x, training=training)
        maps = []
        for tree in self.trees:
            x = tree(x, training=training)
            maps.append(x)
        # Each pass merges all coarser maps into the next finer one; the last of a pass is its best (figure 3c).
        best = [maps[-1]]
        for i, up in enumerate(self.ups):
            first = len(maps) - 2 - i
            maps[first + 1 :] = up(maps[first:], training=training)
            best.insert(0, maps[-1])
        return [self.last(best[:3], training=training)[-1]]


@keras.saving.register_keras_serializable("kerasdet")
class Tree(Composite):
    """Hierarchical aggregation (figure 3d): two trees of half the depth, or two blocks, and what joins their outputs.

    Args:
        depth: 1 for two blocks.
        inputs, channels: of the maps before and after.
        stride: of the first block.
        keeps: whether the input, pooled, is joined too.
        joined: channels of the maps of outer trees that are joined too.
        conv: of `Conv`.
    """

    def __init__(self, depth, inputs, channels, stride=1, keeps=False, joined=0, **conv):
        super().__init__(dtype=conv["dtype"])
        self.stride, self.keeps = stride, keeps
        self.project = Conv(channels, 1, **conv) if inputs != channels else None
        if depth == 1:
            form = {"dilation": 1, "entry": 1, "project": False, **conv}
            self.first = Basic(channels, stride=stride, **form)
            self.second = Basic(channels, stride=1, **form)
            self.root = Conv(channels, 1, activation="relu", **conv)
        else:
            if self.project is not None:
                # Released weights hold a projection here too, which nothing uses.
                self.project.build((None, None, None, inputs))
            joined += inputs if keeps else 0
            self.first = Tree(depth - 1, inputs, channels, stride, **conv)
            self.second = Tree(depth - 1, channels, channels, joined=joined + channels, **conv)

    def call(self, x, others=(), training=False):
        below = tf.nn.max_pool2d(x, self.stride, self.stride, "VALID") if self.stride > 1 else x
        others = [*others, *([below] if self.keeps else [])]
        if isinstance(self.first, Tree):
            x = self.first(x, training=training)
            return self.second(x, [*others, x], training=training)
        shortcut = below if self.project is None else self.project(below, training=training)
        first = _block(self.first, x, shortcut, training)
        second = _block(self.second, first, first, training)
        return self.root(tf.concat([second, first, *others], axis=-1), training=training)


def _block(block, x, shortcut, training):
    """A residual block whose shortcut is given: the tree projects it after pooling."""
    x = block.conv1(x, training=training)
    return tf.nn.relu(block.conv2(x, training=training) + shortcut)


@keras.saving.register_keras_serializable("kerasdet")
class Up(Composite):
    """Iterative aggregation (figure 3b): every coarser map is projected, up-sampled, added to the one before and mixed.

    Args:
        channels: of all maps that it returns.
        factors: of the up-sampling of each map but the first.
        deformable: whether its convolutions are deformable.
        conv: of `Conv`.
    """

    def __init__(self, channels, factors, deformable, norm, epsilon, dtype):
        super().__init__(dtype=dtype)

        def conv():
            form = {"norm": norm, "activation": "relu", "epsilon": epsilon, "dtype": dtype}
            return DeformConv(channels, **form) if deformable else Conv(channels, 3, **form)

        self.projections, self.nodes = [conv() for _ in factors], [conv() for _ in factors]
        self.resizers = [Upsample(factor, dtype=dtype) for factor in factors]

    def call(self, maps, training=False):
        """Aggregates.

        Args:
            maps: list of maps, of which the first has the size and channels of the result.

        Returns:
            List of one map less, each of all maps up to it.
        """
        x, found = maps[0], []
        for i, coarse in enumerate(maps[1:]):
            coarse = self.resizers[i](self.projections[i](coarse, training=training))
            x = self.nodes[i](coarse + x, training=training)
            found.append(x)
        return found
