"""The weighted bidirectional feature pyramid (EfficientDet, Tan et al., CVPR 2020, section 3)."""

import keras
import tensorflow as tf

from kerasdet.layers.composite import Composite
from kerasdet.layers.conv import Conv, SeparableConv
from kerasdet.layers.pyramid import upsample

FUSIONS = ("fast", "softmax", "sum")

# Added to the variance in norms, as in the release.
EPSILON = 1e-3


@keras.saving.register_keras_serializable("kerasdet")
class BiFPN(Composite):
    """Cells that fuse the levels of a pyramid downward and upward again, with learned weights.

    The first level above the backbone's last map is a 1x1 convolution of it and a max-pool, the next are max-pools.

    Args:
        width: channels of every level.
        cells: how often it is repeated.
        channels: of the backbone's maps.
        levels: first and last level.
        fusion: "fast" (equation of section 3.3: each weight over their sum), "softmax", or "sum" without weights.
        activation: before the convolution of a node.
        norm, momentum: of the norms, see `layers.norm`.
    """

    def __init__(
        self, width, cells, channels, levels=(3, 7), fusion="fast", activation="silu", norm="batch", momentum=0.99,
        **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        count = levels[1] - levels[0] + 1
        if fusion not in FUSIONS:
            raise ValueError(f"fusion must be one of {FUSIONS}, got {fusion!r}.")
        if count < max(len(channels), 3):
            raise ValueError(
                f"a BiFPN of the levels {tuple(levels)} is too small for {len(channels)} maps: it needs 3."
            )
        self.width, self.levels = width, levels
        inner = {"norm": norm, "momentum": momentum, "epsilon": EPSILON, "dtype": self.dtype_policy}
        extra = count > len(channels) and channels[-1] != width
        self.extra = lateral(width, **inner) if extra else None
        before = [*channels, *[width] * (count - len(channels))]
        self.cells = []
        for _ in range(cells):
            self.cells.append(Cell(width, before, fusion, activation, **inner))
            before = [width] * count

    def strides(self, strides):
        """Strides of its levels, from those of the backbone's maps, pixels."""
        extra = self.levels[1] - self.levels[0] + 1 - len(strides)
        return (*strides, *(strides[-1] * 2**i for i in range(1, extra + 1)))

    def call(self, features, training=False):
        """Builds the pyramid.

        Args:
            features: list of [B, H, W, C], each half the size of the previous one, rounded up.

        Returns:
            List of [B, H', W', width], one per level.
        """
        return self.stages(features, training)[-1]

    def stages(self, features, training=False):
        """The pyramid before the first cell and after every one, a list of lists of maps; arguments as in `call`."""
        maps = list(features)
        while len(maps) <= self.levels[1] - self.levels[0]:
            first = self.extra is not None and len(maps) == len(features)
            maps.append(halved(self.extra(maps[-1], training=training) if first else maps[-1]))
        stages = [maps]
        for cell in self.cells:
            stages.append(cell(stages[-1], training=training))
        return stages


@keras.saving.register_keras_serializable("kerasdet")
class Cell(Composite):
    """One pass downward and one upward (figure 2d); a level that only one map would reach has no node of its own."""

    def __init__(self, width, channels, fusion, activation, **conv):
        super().__init__(dtype=conv["dtype"])
        self.nodes = []
        for level, inputs in wiring(len(channels)):
            given = [channels[i] if i < len(channels) else width for i in inputs]
            self.nodes.append(Node(level, inputs, given, width, fusion, activation, **conv))

    def call(self, maps, training=False):
        """Fuses.

        Args:
            maps: list of [B, H, W, C], one per level.

        Returns:
            List of [B, H, W, width], one per level.
        """
        count, sizes = len(maps), [tf.shape(x)[1:3] for x in maps]
        levels, found = list(range(count)), list(maps)
        for node in self.nodes:
            given, come_from = ([each[i] for i in node.inputs] for each in (found, levels))
            found.append(node(given, levels=come_from, size=sizes[node.level], training=training))
            levels.append(node.level)
        return found[-count:]


@keras.saving.register_keras_serializable("kerasdet")
class Node(Composite):
    """Brings maps to one level, sums them with weights, and convolves the sum (section 3.3)."""

    def __init__(self, level, inputs, channels, width, fusion, activation, **conv):
        super().__init__(dtype=conv["dtype"])
        self.level, self.inputs, self.fusion = level, inputs, fusion
        self.laterals = [lateral(width, **conv) if c != width else None for c in channels]
        self.activation = keras.activations.get(activation)
        self.conv = SeparableConv(width, 3, biased=True, **conv)
        if fusion != "sum":
            self.scale = self.add_weight(
                shape=(len(inputs),), name="scale", initializer="ones", dtype="float32", autocast=False
            )

    def call(self, given, levels, size, training=False):
        """Runs the node.

        Args:
            given: list of maps [B, H, W, C].
            levels: of each map.
            size: the two numbers (H, W) of the node's level.

        Returns:
            [B, H, W, width].
        """
        maps = self.aligned(given, levels, size, training)
        return self.conv(self.activation(self.fused(maps)), training=training)

    def aligned(self, given, levels, size, training=False):
        """The maps as the node's level has them, a list of [B, H, W, width]; arguments as in `call`."""
        maps = []
        for x, level, conv in zip(given, levels, self.laterals, strict=True):
            x = x if conv is None else conv(x, training=training)
            # A neighbor is one level finer or coarser.
            maps.append(upsample(x, size) if level > self.level else halved(x) if level < self.level else x)
        return maps

    def fused(self, maps):
        """The weighted sum of maps of one size, [B, H, W, width]."""
        if self.fusion == "sum":
            return tf.add_n(maps)
        scale = tf.convert_to_tensor(self.scale)
        if self.fusion == "softmax":
            weights = tf.nn.softmax(scale)
        else:
            positive = tf.nn.relu(scale)
            weights = positive / (tf.reduce_sum(positive) + 1e-4)
        return tf.add_n([x * w for x, w in zip(maps, tf.unstack(tf.cast(weights, maps[0].dtype)), strict=True)])


def wiring(count):
    """The nodes of a cell on so many levels.

    Returns:
        List of (level, inputs): the input i below `count` is the cell's own map of level i, the others are its nodes.
    """
    nodes, latest = [], list(range(count))
    for level in reversed(range(count - 1)):
        nodes.append((level, (level, latest[level + 1])))
        latest[level] = count + len(nodes) - 1
    for level in range(1, count):
        # The top has no node of the way down.
        inputs = (level, latest[level]) if latest[level] != level else (level,)
        nodes.append((level, (*inputs, latest[level - 1])))
        latest[level] = count + len(nodes) - 1
    return nodes


def lateral(width, **conv):
    """A 1x1 convolution with bias and norm."""
    return Conv(width, 1, biased=True, initializer="glorot_uniform", **conv)


def halved(x):
    """Max-pool to half the size, rounded up; outside the map lies minus infinity."""
    return tf.nn.max_pool2d(x, 3, 2, "SAME")
