"""Modulated deformable convolution (Zhu et al., CVPR 2019, arXiv:1811.11168)."""

import keras
import tensorflow as tf

from kerasdet import ops
from kerasdet.layers import norm as norms


def deform_conv(x, offsets, mask, kernel, stride=(1, 1), padding=(1, 1), dilation=(1, 1), offset_groups=1):
    """A convolution whose taps are moved, and weighed, at every place (equation 1).

    A tap reads the map bilinearly, zeros outside; one that lies a whole pixel outside gets no gradient. What the taps
    read is computed again for the gradient, so that no more than inputs and outputs stay in memory.

    Args:
        x: [B, H, W, C] float.
        offsets: [B, H', W', G * 2 * taps], y and x of every tap, row by row of the kernel, pixels; G groups of channels
            have offsets of their own.
        mask: [B, H', W', G * taps], the weight of every tap, or None for 1 (deformable convolution of 2017).
        kernel: [rows, columns, C / groups, filters].
        stride, padding, dilation: of the convolution, (y, x) pixels; zeros on both sides.
        offset_groups: G.

    Returns:
        [B, H', W', filters], H' = (H + 2 padding - dilation (rows - 1) - 1) // stride + 1.
    """
    rows, columns, depth, filters = kernel.shape
    taps, groups = rows * columns, x.shape[-1] // depth
    if mask is None:
        mask = tf.ones_like(offsets[..., ::2])

    def convolved(x, offsets, mask, kernel):
        read = ops.deform_columns(
            x, offsets, mask, (rows, columns), stride, padding, dilation, groups=offset_groups
        )  # [B, H', W', taps, C]
        batch, height, width = (read.shape[axis] or tf.shape(read)[axis] for axis in range(3))
        by_group = [
            tf.matmul(
                tf.reshape(part, [-1, taps * depth]), tf.reshape(of_group, [taps * depth, filters // groups])
            )
            for part, of_group in zip(
                tf.split(read, groups, axis=-1), tf.split(kernel, groups, axis=-1), strict=True
            )
        ]  # fmt: skip
        return tf.reshape(tf.concat(by_group, axis=-1), [batch, height, width, filters])

    @tf.custom_gradient
    def again(*given):
        def gradient(upstream):
            # Tied to what comes down, so that no optimizer of graphs takes the reading of the forward pass instead.
            with tf.control_dependencies([upstream]):
                late = [tf.identity(one) for one in given]
            with tf.GradientTape() as tape:
                tape.watch(late)
                found = convolved(*late)
            return tape.gradient(found, late, upstream)

        return convolved(*given), gradient

    return again(x, offsets, mask, kernel)


@keras.saving.register_keras_serializable("kerasdet")
class DeformConv(keras.layers.Layer):
    """A 3x3 `deform_conv` whose offsets and weights a convolution predicts, then norm and activation (section 3.2).

    Args:
        filters: output channels.
        norm, activation, epsilon, momentum: as in `Conv`; there is a bias before the norm, as in released weights.
    """

    size = 3

    def __init__(self, filters, norm=None, activation=None, epsilon=1e-5, momentum=0.9, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.norm = norms.build(norm, epsilon, momentum)
        self.activation = keras.activations.get(activation)

    def build(self, shape):
        def weight(name, shape, initializer):
            return self.add_weight(shape=shape, name=name, initializer=initializer, dtype="float32", autocast=False)

        depth, taps = shape[-1], self.size**2
        # As the release starts: uniform, and no offsets at all with weights of one half.
        bound = (depth * taps) ** -0.5
        self.kernel = weight(
            "kernel", (self.size, self.size, depth, self.filters), keras.initializers.RandomUniform(-bound, bound)
        )
        self.bias = weight("bias", (self.filters,), "zeros")
        self.offset_kernel = weight("offset_kernel", (self.size, self.size, depth, 3 * taps), "zeros")
        self.offset_bias = weight("offset_bias", (3 * taps,), "zeros")
        if self.norm is not None:
            self.norm.build((*shape[:-1], self.filters))

    def call(self, x, training=False):
        """Convolves; the places that taps read are float32 in mixed precision too.

        Args:
            x: [B, H, W, C].

        Returns:
            [B, H, W, filters].
        """
        kernel, bias, norm = tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.bias), self.norm
        if norm is not None and norm.is_affine(training):
            scale, shift = norm.affine()
            kernel, bias, norm = kernel * scale, bias * scale + shift, None
        taps, wide = self.size**2, tf.cast(x, tf.float32)
        said = tf.nn.conv2d(wide, tf.convert_to_tensor(self.offset_kernel), 1, "SAME") + self.offset_bias
        x = deform_conv(wide, said[..., : 2 * taps], tf.sigmoid(said[..., 2 * taps :]), kernel) + bias
        x = tf.cast(x, self.compute_dtype)
        if norm is not None:
            x = norm(x, training=training)
        return self.activation(tf.cast(x, self.compute_dtype))
