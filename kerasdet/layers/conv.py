"""The convolution that all backbones, pyramids and heads are made of."""

import keras
import tensorflow as tf

from kerasdet.layers import norm as norms


@keras.saving.register_keras_serializable("kerasdet")
class Conv(keras.layers.Layer):
    """Convolution, norm and activation with symmetric zero padding, as the released weights of other frameworks expect.

    Padding "same" of TensorFlow puts the odd pixel of a stride-2 convolution behind; here it lies on both sides.
    A norm with fixed statistics is folded into kernel and bias, which saves every pass over the activations.

    Args:
        filters: output channels.
        size: side of the kernel, odd.
        stride, dilation, groups: of the convolution.
        norm: kind of `layers.norm.build`, or None for a bias.
        activation: name of a Keras activation, or None.
        epsilon: of the norm.
        initializer: of the kernel.
        bias: initial value of the bias.
    """

    def __init__(
        self, filters, size, stride=1, norm=None, activation=None, dilation=1, groups=1, epsilon=1e-5,
        initializer="he_normal", bias=0.0, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.filters = filters
        self.size = size
        self.stride = stride
        self.dilation = dilation
        self.groups = groups
        self.initializer = keras.initializers.get(initializer)
        self.initial_bias = bias
        self.norm = norms.build(norm, epsilon)
        self.activation = keras.activations.get(activation)

    def build(self, shape):
        self.kernel = self.add_weight(
            shape=(self.size, self.size, shape[-1] // self.groups, self.filters),
            name="kernel", initializer=self.initializer, dtype="float32", autocast=False,
        )  # fmt: skip
        if self.norm is None:
            self.bias = self.add_weight(
                shape=(self.filters,), name="bias", initializer=keras.initializers.Constant(self.initial_bias),
                dtype="float32", autocast=False,
            )  # fmt: skip
        else:
            self.norm.build((*shape[:-1], self.filters))

    def call(self, x, training=False):
        kernel, bias = tf.convert_to_tensor(self.kernel), None
        if self.norm is None:
            bias = tf.convert_to_tensor(self.bias)
        elif self.norm.is_affine(training):
            scale, bias = self.norm.affine()
            kernel = kernel * scale
        if self.stride > 1 and self.size > 1:
            # Padded apart: oneDNN has no gradient of a convolution with explicit padding.
            pad = [(self.size - 1) * self.dilation // 2] * 2
            x = tf.pad(x, [[0, 0], pad, pad, [0, 0]])
        padding = "SAME" if self.stride == 1 else "VALID"
        x = tf.nn.conv2d(x, tf.cast(kernel, x.dtype), self.stride, padding, dilations=self.dilation)
        x = self.norm(x, training=training) if bias is None else tf.nn.bias_add(x, tf.cast(bias, x.dtype))
        return self.activation(tf.cast(x, self.compute_dtype))
