"""What darknet's layers compute where TensorFlow's own compute something else."""

import keras
import tensorflow as tf

from kerasdet.layers.conv import Conv, leaky

# Activations by their names in a cfg.
ACTIVATIONS = {
    "linear": None,
    "leaky": leaky,
    "relu": "relu",
    "relu6": "relu6",
    "logistic": "sigmoid",
    "swish": "silu",
    "mish": "mish",
}


def max_pool(x, size, stride, padding):
    """Max pool with a total padding of minus infinity, of which the smaller half lies before.

    Args:
        x: [B, H, W, C].
        size, stride: of the window, pixels.
        padding: in all, size - 1 in most cfgs: 2x2 of stride 1 then keeps the map's size.

    Returns:
        [B, H', W', C], H' = floor((H + padding - size) / stride) + 1.
    """
    if padding == size - 1 and (stride == 1 or size == stride == 2):
        return tf.nn.max_pool2d(x, size, stride, "SAME")  # the same padding
    pad = [padding // 2, padding - padding // 2]
    return tf.nn.max_pool2d(tf.pad(x, [[0, 0], pad, pad, [0, 0]], constant_values=x.dtype.min), size, stride, "VALID")


def reorg(x, stride):
    """YOLOv2's pass-through as darknet computes it: a permutation that is no space-to-depth in any order of channels.

    darknet reads the channels-first map [C, H, W] as if it were [C / s^2, H s, W s], takes that from space to depth,
    and reads the result as [C s^2, H / s, W / s].

    Args:
        x: [B, H, W, C], sides that the stride divides, and channels that its square divides.
        stride: s.

    Returns:
        [B, H / s, W / s, C s^2].
    """
    batch, height, width = tf.unstack(tf.shape(x)[:3])
    channels = x.shape[3]
    flat = tf.reshape(tf.transpose(x, [0, 3, 1, 2]), [-1, stride, width, stride])
    rows = tf.reshape(tf.transpose(flat, [0, 1, 3, 2]), [batch, -1, stride * stride, width])
    moved = tf.reshape(
        tf.transpose(rows, [0, 2, 1, 3]), [batch, channels * stride * stride, height // stride, width // stride]
    )
    return tf.transpose(moved, [0, 2, 3, 1])


def shortcut(x, other, ratio=1, alpha=1.0, beta=1.0):
    """Adds another map to the channels that both have.

    Args:
        x: [B, H, W, C], which gives the shape.
        other: [B, H', W', C'].
        ratio: W / W', a whole number or one over it: above 1 only every n-th pixel of x takes one of the smaller map,
            below 1 every n-th of the larger map is taken.
        alpha, beta: factors of x and of the other one.

    Returns:
        [B, H, W, C].
    """
    if ratio < 1:
        step = round(1 / ratio)
        other = other[:, ::step, ::step]
    channels = min(x.shape[3], other.shape[3])
    own, other = x[..., :channels], other[..., :channels]
    if ratio > 1:
        # The added pixel is the first of each block; the others are kept.
        ratio = round(ratio)
        rest = tf.zeros_like(other)
        blocks = tf.concat([beta * other + (alpha - 1.0) * own[:, ::ratio, ::ratio]] + [rest] * (ratio**2 - 1), axis=3)
        added = own + tf.nn.depth_to_space(blocks, ratio)
    else:
        added = alpha * own + beta * other if (alpha, beta) != (1.0, 1.0) else own + other
    return added if channels == x.shape[3] else tf.concat([added, x[..., channels:]], axis=3)


@keras.saving.register_keras_serializable("kerasdet")
class Connected(Conv):
    """A fully connected layer of a whole map, [B, H, W, C] to [B, 1, 1, filters]: the size of the map is fixed.

    Args:
        filters: number of outputs.
        kwargs: of `Conv`.
    """

    def __init__(self, filters, **kwargs):
        super().__init__(filters, 1, **kwargs)

    def build(self, shape):
        self.inputs = tuple(shape[1:])
        super().build((None, 1, 1, shape[1] * shape[2] * shape[3]))

    def call(self, x, training=False):
        return super().call(tf.reshape(x, [-1, 1, 1, self.kernel.shape[2]]), training=training)


@keras.saving.register_keras_serializable("kerasdet")
class Local(keras.layers.Layer):
    """A convolution with a kernel and a bias of its own at every place (YOLOv1's released network).

    Args:
        filters: output channels.
        size, stride: of the kernels.
        padding: zeros above and to the left; as many as are needed below and to the right.
        activation: name of a Keras activation, a function, or None.
    """

    def __init__(self, filters, size, stride=1, padding=0, activation=None, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.size, self.stride, self.padding = filters, size, stride, padding
        self.activation = keras.activations.get(activation)

    def build(self, shape):
        self.cells = [(side - (1 if self.padding else self.size)) // self.stride + 1 for side in shape[1:3]]
        reach = [(count - 1) * self.stride + self.size for count in self.cells]
        self.after = [max(need - side - self.padding, 0) for need, side in zip(reach, shape[1:3], strict=True)]
        rows, columns = self.cells
        window = self.size**2 * shape[3]
        self.kernel = self.add_weight(
            shape=(rows, columns, window, self.filters), name="kernel", dtype="float32", autocast=False,
            initializer=keras.initializers.RandomNormal(stddev=(2 / window) ** 0.5),
        )  # fmt: skip
        self.bias = self.add_weight(
            shape=(rows, columns, self.filters), name="bias", initializer="zeros", dtype="float32", autocast=False
        )

    def call(self, x):
        """Convolves and activates.

        Args:
            x: [B, H, W, C].

        Returns:
            [B, H', W', filters].
        """
        rows, columns = self.cells
        x = tf.pad(x, [[0, 0], *([self.padding, after] for after in self.after), [0, 0]])
        spans = [(count - 1) * self.stride + 1 for count in self.cells]
        windows = tf.concat(
            [
                x[:, i : i + spans[0] : self.stride, j : j + spans[1] : self.stride]
                for i in range(self.size)
                for j in range(self.size)
            ],
            axis=3,
        )
        places = tf.reshape(windows, [-1, rows * columns, windows.shape[3]])
        kernels = tf.reshape(tf.cast(self.kernel, x.dtype), [rows * columns, -1, self.filters])
        found = tf.transpose(tf.matmul(tf.transpose(places, [1, 0, 2]), kernels), [1, 0, 2])
        found = tf.reshape(found, [-1, rows, columns, self.filters]) + tf.cast(self.bias, x.dtype)
        return self.activation(found)
