"""ResNet (He et al., CVPR 2016, arXiv:1512.03385) and ResNeXt (Xie et al., CVPR 2017, arXiv:1611.05431)."""

import keras
import tensorflow as tf

from kerasdet.backbones import pretrained
from kerasdet.layers.composite import Composite
from kerasdet.layers.conv import Conv

# Table 1: blocks of the stages conv2_x ... conv5_x. ResNet-10 is Simon et al.'s (arXiv:1612.01452).
BLOCKS = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


@keras.saving.register_keras_serializable("kerasdet")
class ResNet(Composite):
    """A residual network, tapped at chosen levels.

    Args:
        depth: 10, 18, 34, 50, 101 or 152.
        levels: first and last level to return, 2...5; level l has stride 2**l.
        norm: kind of `layers.norm`.
        epsilon: epsilon of the norms.
        stride_in: which convolution strides: "3x3" (torchvision's and NVIDIA's form) or "1x1" (the paper's and Keras').
        groups, group_width: ResNeXt's cardinality and bottleneck width: 32 and 4 for 32x4d.
        width: channels of the stem; all other channels are multiples of it. 64 in the paper.
        output_stride: 32, or 16 or 8 to replace the strides of the last stages with dilation.
        normalization: pixel statistics, see `layers.pixels`.
        freeze: the layers up to this level are not trained; 2, the stem and conv2_x, is Detectron's default.
        weights: None, "imagenet" (Keras' download) or the path of a Keras weights file: see `load_keras`.

    Attributes:
        strides, channels: of the maps that it returns.
    """

    def __init__(
        self, depth, levels=(2, 5), norm="batch", epsilon=1e-5, stride_in="3x3", groups=1, group_width=64, width=64,
        output_stride=32, normalization="torch", freeze=0, weights=None, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        if output_stride not in (8, 16, 32):
            raise ValueError(f"output_stride must be 8, 16 or 32, got {output_stride}.")
        self.depth = depth
        self.levels = levels
        self.normalization = normalization
        self.stride_in = stride_in
        self.norm = norm
        returned = range(levels[0], levels[1] + 1)
        self.strides = tuple(min(2**level, output_stride) for level in returned)
        self.channels = tuple((4 if depth >= 50 else 1) * width * 2 ** (level - 2) for level in returned)
        conv = {"norm": norm, "epsilon": epsilon, "dtype": self.dtype_policy}
        form = {"stride_in": stride_in, "groups": groups, "group_width": group_width, "width": width, **conv}
        self.stem = Conv(width, 7, 2, activation="relu", **conv)
        self.stages = []
        for number in range(2, levels[1] + 1):
            dilation = max(2**number // output_stride, 1)
            stride = 1 if number == 2 or dilation > 1 else 2
            self.stages.append(_blocks(depth, number, stride, dilation, **form))
        if freeze:
            for layer in [self.stem, *sum(self.stages[: freeze - 1], [])]:
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
        x = self.stem(x, training=training)
        x = tf.nn.max_pool2d(tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]), 3, 2, "VALID")  # after ReLU, 0 pads like -inf
        features = []
        for level, stage in enumerate(self.stages, start=2):
            for block in stage:
                x = block(x, training=training)
            if level >= self.levels[0]:
                features.append(x)
        return features


@keras.saving.register_keras_serializable("kerasdet")
class Stage(Composite):
    """One stage of a `ResNet` as a separate layer: conv5_x on regions (ResNet, appendix A; Mask R-CNN, figure 4).

    Args:
        depth, norm, epsilon, stride_in, groups, group_width, width: as in `ResNet`.
        number: 2...5, of conv2_x...conv5_x.
        stride: stride of the first block: 2, which turns 14x14 into 7x7, or 1.
        weights: None, "imagenet" (Keras' download) or the path of a Keras weights file: see `load_keras`.
    """

    def __init__(
        self, depth, number=5, stride=2, norm="batch", epsilon=1e-5, stride_in="3x3", groups=1, group_width=64,
        width=64, weights=None, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.depth = depth
        self.number = number
        self.stride_in = stride_in
        self.norm = norm
        self.blocks = _blocks(
            depth, number, stride, norm=norm, epsilon=epsilon, stride_in=stride_in, groups=groups,
            group_width=group_width, width=width, dtype=self.dtype_policy,
        )  # fmt: skip
        if weights:
            source = _keras_network(self, weights)
            self(tf.zeros([1, 2, 2, width * 2 ** (number - 1)]))
            _copy_stage(source, number, self.blocks)

    def call(self, x, training=False):
        """Runs the stage.

        Args:
            x: [R, H, W, C], features of the previous stage, such as pooled regions.

        Returns:
            [R, ceil(H / stride), ceil(W / stride), C'].
        """
        for block in self.blocks:
            x = block(x, training=training)
        return x


def _blocks(depth, number, stride, dilation=1, *, stride_in, groups, group_width, width, **conv):
    """The blocks of stage conv{number}_x; a dilated stage has no stride."""
    if stride_in not in ("1x1", "3x3"):
        raise ValueError(f"stride_in must be '1x1' or '3x3', got {stride_in!r}.")
    channels = width * 2 ** (number - 2)
    blocks = []
    for b in range(BLOCKS[depth][number - 2]):
        shape = {"stride": 1, "dilation": dilation, "entry": dilation, "project": False}
        if b == 0:
            # The first convolution reads the map as before, with the old dilation; only its output is denser.
            shape.update(stride=stride, entry=max(dilation // 2, 1), project=number > 2 or depth >= 50)
        if depth < 50:
            blocks.append(Basic(channels, **shape, **conv))
        else:
            inner = channels * group_width // 64 * groups
            blocks.append(Bottleneck(inner, 4 * channels, stride_in=stride_in, groups=groups, **shape, **conv))
    return blocks


@keras.saving.register_keras_serializable("kerasdet")
class Basic(Composite):
    """Two 3x3 convolutions and a shortcut (figure 5, left); `entry` is the dilation of the strided one."""

    def __init__(self, channels, stride, dilation, entry, project, norm, epsilon, **kwargs):
        super().__init__(**kwargs)
        conv = {"norm": norm, "epsilon": epsilon, "dtype": self.dtype_policy}
        self.conv1 = Conv(channels, 3, stride, activation="relu", dilation=entry, **conv)
        self.conv2 = Conv(channels, 3, dilation=dilation, **conv)
        self.shortcut = Conv(channels, 1, stride, **conv) if project else None

    def call(self, x, training=False):
        shortcut = x if self.shortcut is None else self.shortcut(x, training=training)
        x = self.conv1(x, training=training)
        return tf.nn.relu(self.conv2(x, training=training) + shortcut)


@keras.saving.register_keras_serializable("kerasdet")
class Bottleneck(Composite):
    """1x1, 3x3, 1x1 and a shortcut (figure 5, right); `entry` is the dilation of a strided 3x3 convolution."""

    def __init__(self, inner, channels, stride, dilation, entry, project, stride_in, groups, norm, epsilon, **kwargs):
        super().__init__(**kwargs)
        conv = {"norm": norm, "epsilon": epsilon, "dtype": self.dtype_policy}
        first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
        self.conv1 = Conv(inner, 1, first, activation="relu", **conv)
        dilation = dilation if stride_in == "1x1" else entry
        self.conv2 = Conv(inner, 3, second, activation="relu", dilation=dilation, groups=groups, **conv)
        self.conv3 = Conv(channels, 1, **conv)
        self.shortcut = Conv(channels, 1, stride, **conv) if project else None

    def call(self, x, training=False):
        shortcut = x if self.shortcut is None else self.shortcut(x, training=training)
        x = self.conv2(self.conv1(x, training=training), training=training)
        return tf.nn.relu(self.conv3(x, training=training) + shortcut)


def load_keras(resnet, weights):
    """Loads the ImageNet weights of `keras.applications` into a `ResNet` of the same form.

    Keras' convolutions have a bias before the norm; it is subtracted from the norm's mean. Keras feeds BGR, so the
    input channels of the first kernel are reversed.

    Args:
        resnet: a `ResNet` of depth 50, 101 or 152 with `backbones.KERAS_RESNET`.
        weights: as in `pretrained.network`.

    Raises:
        ValueError: the network has a different form, or the file is of another network.
    """
    source = _keras_network(resnet, weights, fits=resnet.normalization == "caffe")
    resnet(tf.zeros([1, 32, 32, 3]))
    _copy_conv(source, "conv1", resnet.stem, turned=True)
    for number, blocks in enumerate(resnet.stages, start=2):
        _copy_stage(source, number, blocks)


def _keras_network(layer, weights, fits=True):
    networks = {50: keras.applications.ResNet50, 101: keras.applications.ResNet101, 152: keras.applications.ResNet152}
    if layer.depth not in networks or layer.stride_in != "1x1" or not fits:
        raise ValueError(
            "Keras' ImageNet weights fit the backbones resnet50_keras, resnet101_keras and resnet152_keras only."
        )
    if layer.norm not in ("batch", "sync", "frozen"):
        raise ValueError(f"norm must be 'batch', 'sync' or 'frozen' for Keras' ImageNet weights, got {layer.norm!r}.")
    return pretrained.network(networks[layer.depth], weights)


def _copy_stage(source, number, blocks):
    for b, block in enumerate(blocks, start=1):
        for i, conv in enumerate((block.shortcut, block.conv1, block.conv2, block.conv3)):
            if conv is not None:
                _copy_conv(source, f"conv{number}_block{b}_{i}", conv)


def _copy_conv(source, name, conv, turned=False):
    kernel, bias = source.get_layer(f"{name}_conv").get_weights()
    gamma, beta, mean, variance = source.get_layer(f"{name}_bn").get_weights()
    conv.kernel.assign(kernel[:, :, ::-1] if turned else kernel)
    for variable, value in zip(
        (conv.norm.gamma, conv.norm.beta, conv.norm.moving_mean, conv.norm.moving_variance),
        (gamma, beta, mean - bias, variance), strict=True,
    ):  # fmt: skip
        variable.assign(value)
