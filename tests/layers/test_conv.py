"""Convolution and norms: values, folding, statistics."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet.layers import Conv, DepthwiseConv, L2Norm, norm


def oracle(x, kernel, stride, dilation, groups):
    """A convolution in loops, padded alike on all sides so that stride 1 keeps the size."""
    size, _, per_group, filters = kernel.shape
    pad = (size - 1) * dilation // 2
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    reach = (size - 1) * dilation + 1
    rows, columns = range(0, x.shape[1] - reach + 1, stride), range(0, x.shape[2] - reach + 1, stride)
    y = np.zeros((len(x), len(rows), len(columns), filters))
    for f in range(filters):
        group = f // (filters // groups)
        channels = slice(group * per_group, (group + 1) * per_group)
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                window = x[:, row : row + reach : dilation, column : column + reach : dilation, channels]
                y[:, i, j, f] = (window * kernel[None, :, :, :, f]).sum(axis=(1, 2, 3))
    return y


def randomize(layer, seed=0):
    """Draws all weights, variances positive."""
    rng = np.random.default_rng(seed)
    for variable in layer.variables:
        low = 0.5 if "variance" in variable.path or "gamma" in variable.path else -0.5
        variable.assign(rng.uniform(low, low + 1, variable.shape))


def draw(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


FORMS = [(1, 1, 1, 1), (3, 1, 1, 1), (3, 2, 1, 1), (7, 2, 1, 1), (1, 2, 1, 1)]
FORMS += [(3, 1, 2, 1), (3, 1, 4, 1), (3, 1, 1, 2), (3, 2, 1, 4)]


@pytest.mark.parametrize("size, stride, dilation, groups", FORMS)
@pytest.mark.parametrize("sides", [(8, 8), (9, 6)])
def test_convolution_is_the_sum(size, stride, dilation, groups, sides):
    layer = Conv(8, size, stride, dilation=dilation, groups=groups)
    x = draw(2, *sides, 4)
    layer.build(x.shape)
    randomize(layer)
    assert layer.kernel.shape == (size, size, 4 // groups, 8)
    expected = oracle(x.astype(np.float64), layer.kernel.numpy().astype(np.float64), stride, dilation, groups)
    np.testing.assert_allclose(layer(x), expected + layer.bias.numpy(), atol=1e-4)


def test_grouped_convolution_has_gradients():
    layer = Conv(8, 3, groups=4)
    x = tf.constant(draw(2, 5, 5, 8))
    layer.build(x.shape)
    randomize(layer)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x) ** 2)
    gradient = tape.gradient(loss, layer.kernel.value)[1, 1, 0, 5]
    kernel, losses = layer.kernel.numpy(), []
    for step in (-0.5, 0.5):  # of a parabola the difference is exact
        moved = kernel.copy()
        moved[1, 1, 0, 5] += step
        layer.kernel.assign(moved)
        losses.append(np.sum(np.square(layer(x), dtype=np.float64)))
    np.testing.assert_allclose(losses[1] - losses[0], gradient, rtol=1e-3)


def test_activation_comes_last():
    layer = Conv(4, 3, norm="batch", activation="relu")
    x = draw(1, 6, 6, 3)
    layer.build(x.shape)
    randomize(layer)
    y = layer(x).numpy()
    assert (y == 0).any() and (y > 0).any() and (y >= 0).all()


@pytest.mark.parametrize("kind", ["batch", "sync", "frozen"])
def test_folding_is_convolving_then_normalizing(kind):
    layer = Conv(6, 3, 2, norm=kind, epsilon=1e-3)
    x = draw(2, 8, 8, 3)
    layer.build(x.shape)
    randomize(layer)
    y = oracle(x, layer.kernel.numpy(), 2, 1, 1)
    n = layer.norm
    scaled = (y - n.moving_mean.numpy()) / np.sqrt(n.moving_variance.numpy() + 1e-3)
    np.testing.assert_allclose(layer(x), scaled * n.gamma.numpy() + n.beta.numpy(), atol=1e-4)


def test_frozen_is_batch_at_inference():
    x = draw(2, 8, 8, 3)
    results = []
    for kind in ("batch", "sync", "frozen"):
        layer = Conv(6, 3, norm=kind)
        layer.build(x.shape)
        randomize(layer)
        results.append(layer(x).numpy())
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_frozen_does_not_learn():
    layer = Conv(6, 3, norm="frozen")
    x = draw(2, 8, 8, 3)
    layer.build(x.shape)
    randomize(layer)
    before = [variable.numpy() for variable in layer.norm.variables]
    np.testing.assert_array_equal(layer(x, training=True), layer(x, training=False))
    assert [variable.name for variable in layer.trainable_variables] == ["kernel"]
    assert len(layer.norm.variables) == 4
    for variable, value in zip(layer.norm.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize("kind", ["batch", "sync"])
def test_training_uses_the_batch(kind):
    layer = norm.build(kind, epsilon=1e-3)
    x = draw(3, 4, 5, 6) * 3 + 2
    layer.build(x.shape)
    randomize(layer)
    gamma, beta, mean, variance = (variable.numpy() for variable in layer.variables)
    y = layer(x, training=True)
    flat = x.astype(np.float64).reshape(-1, 6)
    expected = (flat - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-3) * gamma + beta
    np.testing.assert_allclose(y, expected.reshape(x.shape), atol=1e-4)
    np.testing.assert_allclose(layer.moving_mean, 0.9 * mean + 0.1 * flat.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, 0.9 * variance + 0.1 * flat.var(0, ddof=1), rtol=1e-5)
    layer(x, training=False)
    np.testing.assert_allclose(layer.moving_mean, 0.9 * mean + 0.1 * flat.mean(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["batch", "sync"])
def test_training_keeps_digits_of_a_far_mean(kind):
    """Activations of mean 1,000 and deviation 1: E[x^2] - E[x]^2 alone would lose the variance in float32."""
    layer = norm.build(kind)
    x = draw(4, 8, 8, 2) + 1000
    layer.build(x.shape)
    flat = x.astype(np.float64).reshape(-1, 2)
    expected = ((flat - flat.mean(0)) / flat.std(0)).reshape(x.shape)
    np.testing.assert_allclose(layer(x, training=True), expected, atol=1e-2)


def test_batch_gradient_flows_through_the_statistics():
    """The sum of a normalized batch does not depend on it."""
    layer = norm.build("batch")
    x = tf.constant(draw(2, 3, 3, 4))
    layer.build(x.shape)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = layer(x, training=True)
        total, cubes = tf.reduce_sum(y), tf.reduce_sum(y**3)
    np.testing.assert_allclose(tape.gradient(total, x), np.zeros(x.shape), atol=1e-5)
    assert np.abs(tape.gradient(cubes, x)).max() > 0.1
    gradients = tape.gradient(total, [layer.gamma.value, layer.beta.value])
    np.testing.assert_allclose(gradients[0], np.zeros(4), atol=1e-4)
    np.testing.assert_allclose(gradients[1], np.full(4, 18), rtol=1e-5)


def group_norm(x, groups, gamma, beta, epsilon=1e-5):
    """Wu & He, equation 1, for each image and group of channels."""
    x = x.astype(np.float64)
    parts = []
    for part in np.split(x, groups, axis=-1):
        mean, variance = part.mean((1, 2, 3), keepdims=True), part.var((1, 2, 3), keepdims=True)
        parts.append((part - mean) / np.sqrt(variance + epsilon))
    return np.concatenate(parts, axis=-1) * gamma + beta


@pytest.mark.parametrize("channels, groups", [(64, 32), (32, 32), (48, 16), (20, 4), (7, 1)])
def test_group_norm(channels, groups):
    layer = norm.build("group")
    x = draw(2, 4, 5, channels) * 2 + 1
    layer.build(x.shape)
    randomize(layer)
    expected = group_norm(x, groups, layer.gamma.numpy(), layer.beta.numpy())
    np.testing.assert_allclose(layer(x, training=True), expected, atol=1e-4)
    np.testing.assert_array_equal(layer(x, training=True), layer(x))


def test_group_norm_is_float32_in_mixed_precision():
    """Channels of mean 100 in bfloat16: the statistics are float32, only the result is rounded."""
    layer = Conv(32, 1, norm="group", dtype="mixed_bfloat16")
    layer.build((1, 8, 8, 4))
    assert {variable.dtype for variable in layer.norm.variables} == {"float32"}
    x = tf.cast(draw(1, 8, 8, 32) + 100, tf.bfloat16)
    expected = group_norm(tf.cast(x, tf.float32).numpy(), 32, 1, 0)
    np.testing.assert_allclose(tf.cast(layer.norm(x), tf.float32), expected, rtol=2**-8, atol=1e-4)


@pytest.mark.parametrize("kind", [None, "batch", "frozen", "group"])
@pytest.mark.parametrize("training", [False, True])
def test_mixed_precision_is_near_float32(kind, training):
    x = draw(2, 8, 8, 16)
    results = []
    for policy in ("float32", "mixed_bfloat16"):
        layer = Conv(32, 3, norm=kind, activation="relu", dtype=policy)
        layer.build(x.shape)
        randomize(layer)
        assert {variable.dtype for variable in layer.variables} == {"float32"}
        y = layer(x, training=training)
        assert y.dtype == layer.compute_dtype
        results.append(tf.cast(y, tf.float32).numpy())
    np.testing.assert_allclose(results[1], results[0], rtol=0.05, atol=0.02 * results[0].max())


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("form", [{"dilation": 2}, {"groups": 4}, {"dilation": 2, "groups": 4}, {"groups": 16}])
def test_gradients_in_mixed_precision_are_near_float32(policy, form):
    """TensorFlow lacks some of them on processors for which oneDNN has no kernels of half types."""
    x, gradients = tf.constant(draw(2, 8, 8, 16)), []
    for dtype in ("float32", policy):
        layer = Conv(32, 3, dtype=dtype, **form)
        layer.build(x.shape)
        randomize(layer)

        @tf.function
        def gradient(layer=layer):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.cast(layer(x), tf.float32) ** 2)
            return tape.gradient(loss, layer.kernel.value)

        gradients.append(gradient().numpy())
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=0.05, atol=0.02 * abs(gradients[0]).max())


def test_unknown_norm():
    with pytest.raises(ValueError, match="norm must be one of .*'layer'"):
        Conv(4, 3, norm="layer")


def test_setting_trainable_freezes_a_batch_norm():
    layer = keras.Sequential([Conv(4, 3, norm="batch")])
    x = draw(1, 6, 6, 3)
    layer.build(x.shape)
    layer.trainable = False
    np.testing.assert_array_equal(layer(x, training=True), layer(x, training=False))


@pytest.mark.parametrize("channels, groups", [(64, 32), (48, 16), (8, 8)])
def test_group_norm_and_its_gradient(channels, groups):
    """Against the formula in NumPy, and its gradient by automatic differentiation in double precision."""
    layer = norm.build("group")
    x, upstream = 3 + 2 * draw(2, 5, 7, channels), draw(2, 5, 7, channels, seed=2)
    layer.build(x.shape)
    randomize(layer)

    def plain(x, gamma, beta):
        parts = tf.reshape(x, [2, 5 * 7, groups, channels // groups])
        mean = tf.reduce_mean(parts, [1, 3], keepdims=True)
        variance = tf.reduce_mean((parts - mean) ** 2, [1, 3], keepdims=True)
        return tf.reshape((parts - mean) / tf.sqrt(variance + 1e-5), x.shape) * gamma + beta

    inputs = [tf.constant(value, tf.float64) for value in (x, layer.gamma.numpy(), layer.beta.numpy())]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        expected = plain(*inputs)
    gradients = tape.gradient(expected, inputs, tf.constant(upstream, tf.float64))
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    found = tape.gradient(y, [x, layer.gamma.value, layer.beta.value], upstream)
    for one, other in zip(found, gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size, stride, dilation", [(3, 1, 1), (3, 2, 1), (5, 2, 1), (3, 1, 2)])
def test_depthwise_convolution_is_one_of_as_many_groups(size, stride, dilation):
    layer = DepthwiseConv(size, stride=stride, dilation=dilation, norm="frozen", activation="relu6")
    x = draw(2, 9, 8, 6)
    layer.build(x.shape)
    randomize(layer)
    scale, shift = layer.norm.affine()
    expected = oracle(x.astype(np.float64), layer.kernel.numpy().astype(np.float64), stride, dilation, groups=6)
    np.testing.assert_allclose(layer(x), np.clip(expected * scale + shift, 0, 6), atol=1e-4)


def test_other_paddings():
    """None at all, more than symmetric, and TensorFlow's, whose odd pixel lies behind."""
    x = draw(1, 8, 8, 2)
    kernel = draw(4, 4, 2, 3, seed=2)

    def got(padding, size=4, stride=1):
        layer = Conv(3, size, stride, padding=padding)
        layer.build(x.shape)
        layer.kernel.assign(kernel[:size, :size])
        return layer(x).numpy()

    whole = got(0)
    assert whole.shape == (1, 5, 5, 3)
    np.testing.assert_allclose(whole, tf.nn.conv2d(x, kernel, 1, "VALID"), atol=1e-6)
    padded = got(1)
    assert padded.shape == (1, 7, 7, 3)
    np.testing.assert_allclose(padded[:, 1:-1, 1:-1], whole, atol=1e-5)
    np.testing.assert_allclose(got("same", 3, 2), tf.nn.conv2d(x, kernel[:3, :3], 2, "SAME"), atol=1e-5)
    assert np.abs(got("same", 3, 2) - got(None, 3, 2)).max() > 0.1


def test_l2_norm():
    """Each position's channels over their length, times the channel's factor; a position of zeros stays zero."""
    layer = L2Norm(20.0)
    x = draw(2, 3, 3, 5)
    x[0, 0, 0] = 0
    layer.build(x.shape)
    np.testing.assert_array_equal(layer.scale, np.full(5, 20, np.float32))
    layer.scale.assign([1.0, 2, 3, 4, 5])
    lengths = np.maximum(np.linalg.norm(x.astype(np.float64), axis=-1, keepdims=True), 1e-12)
    np.testing.assert_allclose(layer(x), x / lengths * [1, 2, 3, 4, 5], atol=1e-6)
    assert not np.asarray(layer(x))[0, 0, 0].any()
