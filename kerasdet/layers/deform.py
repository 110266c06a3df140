"""Modulated deformable convolution (Zhu et al., CVPR 2019, arXiv:1811.11168), of TensorFlow's own operators."""

import keras
import tensorflow as tf

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
    height, width = (offsets.shape[axis] or tf.shape(offsets)[axis] for axis in (1, 2))

    def positions(axis, count, size):
        """Where the taps lie without offsets: [places, taps along the axis]."""
        start = tf.range(count) * stride[axis] - padding[axis]
        return tf.cast(start[:, None] + tf.range(size) * dilation[axis], x.dtype)

    def convolved(x, offsets, kernel, mask):
        y = tf.reshape(positions(0, height, rows), [height, 1, rows, 1])
        x0 = tf.reshape(positions(1, width, columns), [1, width, 1, columns])
        base = [
            tf.reshape(tf.broadcast_to(one, [height, width, rows, columns]), [1, height, width, taps])
            for one in (y, x0)
        ]
        read = []
        for group, part in enumerate(tf.split(x, offset_groups, axis=-1)):
            moved = offsets[..., group * 2 * taps : (group + 1) * 2 * taps]
            weights = None if mask is None else mask[..., group * taps : (group + 1) * taps]
            read.append(_read(part, base[0] + moved[..., ::2], base[1] + moved[..., 1::2], weights))
        read = tf.concat(read, axis=-1)  # [B * H' * W', taps, C]
        by_group = [
            tf.matmul(
                tf.reshape(read[:, :, g * depth : (g + 1) * depth] if groups > 1 else read, [-1, taps * depth]),
                tf.reshape(of_group, [taps * depth, filters // groups]),
            )
            for g, of_group in enumerate(tf.split(kernel, groups, axis=-1))
        ]
        return tf.reshape(tf.concat(by_group, axis=-1), [tf.shape(x)[0], height, width, filters])

    @tf.custom_gradient
    def again(*given):
        def gradient(upstream):
            with tf.GradientTape() as tape:
                tape.watch(given)
                found = convolved(*given, *(() if mask is not None else (None,)))
            return tape.gradient(found, given, upstream)

        return convolved(*given, *(() if mask is not None else (None,))), gradient

    return again(x, offsets, kernel, *(() if mask is None else (mask,)))


def _read(x, y, x_, weights):
    """Bilinear values of a map [B, H, W, C] at places [B, H', W', taps], times their weights: [places, taps, C]."""
    batch, height, width, channels = (size or tf.shape(x)[i] for i, size in enumerate(x.shape))
    # Every cell beside its three neighbors, so that a tap is one gather; a border of zeros all around.
    padded = tf.pad(x, [[0, 0], [1, 2], [1, 2], [0, 0]])
    corners = [padded[:, i : i + height + 2, j : j + width + 2] for i in (0, 1) for j in (0, 1)]
    table = tf.reshape(tf.concat(corners, axis=-1), [-1, 4 * channels])

    def split(place, size):
        """The cell before a place, counted with the border, and the share of the next; outside both read zeros."""
        size = tf.cast(size, place.dtype)
        outside = (place <= -1) | (place >= size)
        place = tf.where(outside, tf.constant(-1.0, place.dtype), place)
        low = tf.floor(tf.stop_gradient(place))
        return tf.cast(low, tf.int32) + 1, place - low, tf.cast(~outside, place.dtype)

    row, down, inside = split(y, height)
    column, right, inside_x = split(x_, width)
    inside *= inside_x
    if weights is not None:
        inside *= weights
    start = tf.reshape(tf.range(batch) * ((height + 2) * (width + 2)), [-1, 1, 1, 1])
    places = tf.reshape(start + row * (width + 2) + column, [-1])
    values = tf.reshape(tf.gather(table, places), [-1, 4, channels])
    up, left = (1.0 - down) * inside, 1.0 - right
    down *= inside
    shares = tf.stack([up * left, up * right, down * left, down * right], axis=-1)
    shares = tf.reshape(shares, [-1, 4, 1])
    read = tf.add_n([values[:, i] * shares[:, i] for i in range(4)])
    return tf.reshape(read, [-1, y.shape[-1], channels])


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
