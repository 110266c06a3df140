"""MobileNet V1 (arXiv:1704.04861) and V2 (arXiv:1801.04381) of `keras.applications`, tapped at a pyramid's strides.

They use TensorFlow's own padding, so level l has ceil(side / 2**l) cells for any side. Keras' networks pad as if all
sides were even: this is the same at multiples of 32, but loses a row and a column at SSD's 300 pixels.
"""

import keras

from kerasdet.backbones import pretrained
from kerasdet.layers.composite import Composite

# Share of the running statistics that is kept in each step, as in `layers.norm.BatchNorm`.
MOMENTUM = 0.9

NETWORKS = {1: keras.applications.MobileNet, 2: keras.applications.MobileNetV2}

# The last layer of each stride 2, 4, 8, 16, 32. V2 is tapped where the next block has expanded, as in SSDLite.
TAPS = {
    1: ("conv_pw_1_relu", "conv_pw_3_relu", "conv_pw_5_relu", "conv_pw_11_relu", "conv_pw_13_relu"),
    2: ("block_1_expand_relu", "block_3_expand_relu", "block_6_expand_relu", "block_13_expand_relu", "out_relu"),
}


@keras.saving.register_keras_serializable("kerasdet")
class MobileNet(Composite):
    """A MobileNet, tapped at chosen levels.

    Args:
        version: 1 or 2.
        levels: first and last level to return, 1...5; level l has stride 2**l.
        alpha: width multiplier.
        norm: "frozen" for a fixed BatchNorm, "batch" to train it. The running statistics then follow as fast as those
            of `layers.norm`; Keras' V2 averages them over a thousand steps, which is too slow for a short training.
        output_stride: 32, or 16 or 8 to replace the last strides with dilation.
        freeze: the layers up to this level are not trained, 0...5; 2 saves a third of the backbone's training time.
        weights: None, "imagenet" (Keras' download) or the path of a Keras weights file, see `pretrained.network`.

    Attributes:
        strides, channels: strides and channels of the maps that it returns.
    """

    normalization = "tf"

    def __init__(
        self, version, levels=(3, 5), alpha=1.0, norm="frozen", output_stride=32, freeze=0, weights=None, **kwargs
    ):  # fmt: skip
        super().__init__(**kwargs)
        if norm not in ("frozen", "batch"):
            raise ValueError(f"norm of a MobileNet must be 'frozen' or 'batch', got {norm!r}.")
        if output_stride not in (8, 16, 32):
            raise ValueError(f"output_stride must be 8, 16 or 32, got {output_stride}.")
        network = _padded(pretrained.network(NETWORKS[version], weights or None, alpha=alpha), output_stride)
        taps = [network.get_layer(name).output for name in TAPS[version][levels[0] - 1 : levels[1]]]
        self.network = keras.Model(network.input, taps)
        self.strides = tuple(min(2**level, output_stride) for level in range(levels[0], levels[1] + 1))
        self.channels = tuple(tap.shape[-1] for tap in taps)
        if norm == "frozen":
            # Keras passes the outer `training` on to a nested model, so only each layer's own flag really freezes it.
            for layer in self.network.layers:
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.trainable = False
        if freeze:
            last = self.network.layers.index(network.get_layer(TAPS[version][freeze - 1]))
            for layer in self.network.layers[: last + 1]:
                layer.trainable = False

    def call(self, x, training=False):
        """Runs the network.

        Args:
            x: [B, H, W, 3], pixels / 127.5 - 1.

        Returns:
            List of feature maps, one per level.
        """
        features = self.network(x, training=training)
        return list(features) if isinstance(features, (list, tuple)) else [features]


def _padded(network, output_stride):
    """Copies a network: every convolution pads itself, norms follow the batches faster, late strides dilate."""
    dilated, stride, dilation = {}, 1, 1
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            entry, own = dilation, layer.strides[0]
            if stride * own > output_stride:
                own, dilation = 1, dilation * own
            stride *= own
            # A convolution that loses its stride still reads a map of the old density; those after it reach further.
            dilated[layer.name] = {"strides": own, "dilation_rate": entry if layer.kernel_size[0] > 1 else 1}

    def copied(layer):
        if isinstance(layer, keras.layers.ZeroPadding2D):
            return keras.layers.Identity(name=layer.name)
        changes = {"padding": "same", **dilated.get(layer.name, {})} if hasattr(layer, "padding") else {}
        if isinstance(layer, keras.layers.BatchNormalization):
            changes = {"momentum": MOMENTUM}
        return type(layer).from_config({**layer.get_config(), **changes})

    copy = keras.models.clone_model(network, clone_function=copied)
    copy.set_weights(network.get_weights())
    return copy
