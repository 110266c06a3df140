"""The convolution that all backbones, pyramids and heads are made of."""

import functools

import keras
import numpy as np
import tensorflow as tf

from kerasdet.layers import norm as norms
from kerasdet.layers.start import Start

# How new layers start in Detectron2 and torchvision: Caffe2's "Xavier", of variance 1 / inputs, and its "MSRA", of
# variance 2 / outputs, each counted with the kernel's cells. In a transposed kernel Keras' "outputs" are the inputs, as
# torch's are.
XAVIER = keras.initializers.VarianceScaling(1.0, "fan_in", "uniform")
MSRA = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


@keras.saving.register_keras_serializable("kerasdet")
def leaky(x):
    """The leaky ReLU of darknet, of slope 0.1 (Keras' own has 0.2)."""
    return tf.nn.leaky_relu(x, 0.1)


@keras.saving.register_keras_serializable("kerasdet")
class Conv(Start, keras.layers.Layer):
    """Convolution, norm and activation with symmetric zero padding, as the released weights of other frameworks expect.

    Padding "same" of TensorFlow puts the odd pixel of a stride-2 convolution behind; here it lies on both sides.
    A norm with fixed statistics is folded into kernel and bias, which saves every pass over the activations.

    Args:
        filters: output channels.
        size: side of the kernel, odd.
        stride, dilation, groups: of the convolution.
        norm: kind of `layers.norm.build`, or None for a bias.
        activation: name of a Keras activation, a function such as `leaky`, or None.
        epsilon, momentum: of the norm.
        initializer: of the kernel.
        bias: initial value of the bias.
        biased: whether there is a bias, also before a norm; None for one where there is no norm.
        padding: zeros on each side; None for (size - 1) * dilation / 2, and "same" for TensorFlow's own padding.
    """

    def __init__(
        self, filters, size, stride=1, norm=None, activation=None, dilation=1, groups=1, epsilon=1e-5,
        momentum=0.9, initializer="he_normal", bias=0.0, biased=None, padding=None, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.filters = filters
        self.size = size
        self.stride = stride
        self.dilation = dilation
        self.groups = groups
        initializer = keras.initializers.get(initializer)
        # An initializer draws the same numbers whenever it is asked for the same shape: layers that share one would be
        # twins.
        self.initializer = initializer.clone() if hasattr(initializer, "clone") else initializer
        self.initial_bias = bias
        self.biased = norm is None if biased is None else biased
        self.padding = (size - 1) * dilation // 2 if padding is None else padding
        self.norm = norms.build(norm, epsilon, momentum)
        self.activation = keras.activations.get(activation)

    def build(self, shape):
        self.kernel = self.add_weight(
            shape=(self.size, self.size, shape[-1] // self.groups, self.filters),
            name="kernel", initializer=self.initializer, dtype="float32", autocast=False,
        )  # fmt: skip
        self._build_rest(shape)

    def _build_rest(self, shape):
        if self.biased:
            self.bias = self.add_weight(
                shape=(self.filters,), name="bias", initializer=keras.initializers.Constant(self.initial_bias),
                dtype="float32", autocast=False,
            )  # fmt: skip
        if self.norm is not None:
            self.norm.build((*shape[:-1], self.filters))

    def call(self, x, training=False, norm=None):
        """Convolves, normalizes and activates.

        Args:
            x: [B, H, W, C].
            training: whether norms use the batch's statistics.
            norm: a norm layer that follows the convolution and its bias, for a layer without its own: levels that share
                a convolution may each have theirs.

        Returns:
            [B, H', W', filters].
        """
        kernel = tf.convert_to_tensor(self.kernel)
        bias = tf.convert_to_tensor(self.bias) if self.biased else None
        norm = norm if self.norm is None else self.norm
        if norm is not None and norm.is_affine(training):
            scale, shift = norm.affine()
            kernel, bias, norm = self._scaled(kernel, scale), shift if bias is None else bias * scale + shift, None
        x = self._convolve(*self._padded(x), tf.cast(kernel, x.dtype))
        if bias is not None:
            x = tf.nn.bias_add(x, tf.cast(bias, x.dtype))
        if norm is not None:
            x = norm(x, training=training)
        return self.activation(tf.cast(x, self.compute_dtype))

    def _scaled(self, kernel, scale):
        """The kernel with a factor for each filter."""
        return kernel * scale

    def _padded(self, x):
        """The input and the name of the padding that is left to TensorFlow."""
        if self.padding == "same" or (self.stride == 1 and 2 * self.padding == (self.size - 1) * self.dilation):
            return x, "SAME"
        if self.padding:
            # Padded apart: oneDNN has no gradient of a convolution with explicit padding.
            pad = [self.padding] * 2
            x = tf.pad(x, [[0, 0], pad, pad, [0, 0]])
        return x, "VALID"

    def _convolve(self, x, padding, kernel):
        if not _has_gradient(x.dtype, self.dilation > 1, self.groups > 1):
            x, kernel = tf.cast(x, tf.float32), tf.cast(kernel, tf.float32)
        return tf.nn.conv2d(x, kernel, self.stride, padding, dilations=self.dilation)


@functools.cache
def _has_gradient(dtype, dilated, grouped):
    """Whether this machine has the gradient of such a convolution.

    oneDNN has kernels of half types for newer processors only. TensorFlow's own for the CPU take no dilation and no
    groups.
    """
    if dtype not in (tf.bfloat16, tf.float16) or not (dilated or grouped):
        return True
    with tf.init_scope():
        x, dilations = tf.zeros([1, 4, 4, 4], dtype), [1, 2, 2, 1] if dilated else [1] * 4
        form = {"strides": [1] * 4, "padding": "SAME", "dilations": dilations, "out_backprop": x}
        try:
            tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=[3, 3, 2 if grouped else 4, 4], **form)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
            return False
    return True


@keras.saving.register_keras_serializable("kerasdet")
class DepthwiseConv(Conv):
    """A `Conv` of each channel separately.

    Args:
        size: side of the kernel, odd.
        kwargs: of `Conv`.
    """

    def __init__(self, size, **kwargs):
        super().__init__(None, size, **kwargs)

    def build(self, shape):
        self.filters = self.groups = shape[-1]
        super().build(shape)

    def _convolve(self, x, padding, kernel):
        kernel = tf.reshape(kernel, [self.size, self.size, self.filters, 1])
        strides = [1, self.stride, self.stride, 1]
        return tf.nn.depthwise_conv2d(x, kernel, strides, padding, dilations=[self.dilation] * 2)


@keras.saving.register_keras_serializable("kerasdet")
class Deconv(Conv):
    """A transposed `Conv` that doubles height and width: 4x4 of stride 2.

    Args:
        filters: output channels.
        kwargs: of `Conv`.
    """

    def __init__(self, filters, **kwargs):
        super().__init__(filters, 4, 2, **kwargs)

    def build(self, shape):
        # The filters come before the inputs in a transposed kernel.
        self.kernel = self.add_weight(
            shape=(self.size, self.size, self.filters, shape[-1]),
            name="kernel", initializer=self.initializer, dtype="float32", autocast=False,
        )  # fmt: skip
        self._build_rest(shape)

    def _scaled(self, kernel, scale):
        return kernel * scale[:, None]

    def _padded(self, x):
        return x, "SAME"

    def _convolve(self, x, padding, kernel):
        batch, height, width = tf.unstack(tf.shape(x)[:3])
        size = tf.stack([batch, 2 * height, 2 * width, self.filters])
        x = tf.nn.conv2d_transpose(x, kernel, size, self.stride, padding)
        return tf.ensure_shape(x, [None, None, None, self.filters])


@keras.saving.register_keras_serializable("kerasdet")
class Upsample(keras.layers.Layer):
    """A transposed convolution of each channel, which makes a map `factor` times as large; it starts bilinearly.

    Its kernel has 2 * factor cells a side. An output reads two by two cells, by its place in its block of
    factor * factor outputs: as many convolutions, whose outputs are put side by side, because TFLite knows no
    transposed convolution of single channels.

    Args:
        factor: an even whole number.
    """

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, shape):
        near = 1 - abs(np.arange(2 * self.factor) / self.factor - (2 * self.factor - 1) / (2 * self.factor))
        start = np.tile(np.outer(near, near)[:, :, None, None], [1, 1, 1, shape[-1]])
        self.kernel = self.add_weight(
            shape=start.shape, name="kernel", initializer=lambda *_, **__: tf.constant(start, tf.float32),
            dtype="float32", autocast=False,
        )  # fmt: skip

    def call(self, x):
        """Resizes.

        Args:
            x: [B, H, W, C].

        Returns:
            [B, H * factor, W * factor, C].
        """
        kernel, factor = tf.cast(tf.convert_to_tensor(self.kernel), x.dtype), self.factor
        padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
        height, width = tf.shape(x)[1], tf.shape(x)[2]

        def part(place):
            """Where the two cells of a place in the block begin, and their places in the kernel."""
            late = place >= factor // 2
            return int(late), [place + factor // 2 + (0 if late else factor), place + factor // 2 - factor * late]

        rows = []
        for i in range(factor):
            top, taps_y = part(i)
            row = []
            for j in range(factor):
                left, taps_x = part(j)
                own = tf.reshape(tf.gather(tf.gather(kernel, taps_y), taps_x, axis=1), [2, 2, -1, 1])
                cells = padded[:, top : top + height + 1, left : left + width + 1]
                row.append(tf.nn.depthwise_conv2d(cells, own, [1, 1, 1, 1], "VALID"))
            rows.append(tf.concat(row, axis=-1))
        # Channels by row, then by column of the block: what depth to space expects.
        return tf.nn.depth_to_space(tf.concat(rows, axis=-1), factor)


@keras.saving.register_keras_serializable("kerasdet")
class SeparableConv(keras.layers.Layer):
    """A depthwise convolution of each channel, then a 1x1 `Conv`, without a norm or an activation between them.

    Args:
        filters: output channels.
        size: side of the depthwise kernel, odd.
        depthwise_initializer: of the depthwise kernel.
        dtype: of the layers.
        kwargs: of the 1x1 `Conv`, which alone has a bias.
    """

    def __init__(self, filters, size, depthwise_initializer="glorot_uniform", dtype=None, **kwargs):
        super().__init__(dtype=dtype)
        self.filters = filters
        self.depthwise = DepthwiseConv(size, biased=False, initializer=depthwise_initializer, dtype=self.dtype_policy)
        self.pointwise = Conv(filters, 1, **{"initializer": "glorot_uniform", **kwargs}, dtype=self.dtype_policy)

    def build(self, shape):
        self.depthwise.build(shape)
        self.pointwise.build(shape)

    def call(self, x, training=False, norm=None):
        """As `Conv.call`."""
        return self.pointwise(self.depthwise(x), training=training, norm=norm)
