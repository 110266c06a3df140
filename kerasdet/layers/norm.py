"""Normalization: BatchNorm in its three states (training, synchronized, frozen) and GroupNorm."""

import contextlib
import contextvars
import math

import keras
import tensorflow as tf

KINDS = (None, "batch", "sync", "frozen", "group")

_repeated = contextvars.ContextVar("repeated", default=False)


def build(kind, epsilon=1e-5, momentum=0.9):
    """Makes the norm layer of a kind.

    Args:
        kind: None, "batch", "sync" (statistics over all replicas), "frozen" or "group".
        epsilon: added to the variance.
        momentum: share of the running statistics that a step keeps.

    Returns:
        A layer, or None.

    Raises:
        ValueError: the kind is unknown.
    """
    if kind not in KINDS:
        raise ValueError(f"norm must be one of {KINDS}, got {kind!r}.")
    if kind is None:
        return None
    if kind == "group":
        return GroupNorm(epsilon=epsilon)
    return BatchNorm(epsilon, momentum, synchronized=kind == "sync", frozen=kind == "frozen")


@contextlib.contextmanager
def repeated(again=True):
    """Within, a step that has run runs again: its batch moves no running statistics a second time."""
    token = _repeated.set(again)
    try:
        yield
    finally:
        _repeated.reset(token)


@keras.saving.register_keras_serializable("kerasdet")
class BatchNorm(keras.layers.Layer):
    """Batch normalization (Ioffe & Szegedy, 2015), whose running statistics can be folded into a convolution.

    At inference and when frozen, `Conv` folds the fixed scale and shift of `affine` into its kernel and bias, which
    saves a pass over the activations. Only training on batch statistics runs `call`.

    Args:
        epsilon: added to the variance. 1e-5 in released ResNets, 1e-3 in Keras' own networks.
        momentum: share of the running statistics that is kept in each step.
        synchronized: whether statistics are computed over the batch of all replicas.
        frozen: no weight is trained, and training uses the running statistics too.
    """

    def __init__(self, epsilon=1e-5, momentum=0.9, synchronized=False, frozen=False, **kwargs):
        super().__init__(trainable=not frozen, **kwargs)
        self.epsilon = epsilon
        self.momentum = momentum
        self.synchronized = synchronized
        self.frozen = frozen

    def build(self, shape):
        def weight(name, initializer, trainable):
            return self.add_weight(
                shape=(shape[-1],), name=name, initializer=initializer, trainable=trainable, dtype="float32",
                autocast=False, aggregation="mean",
            )  # fmt: skip

        self.gamma = weight("gamma", "ones", not self.frozen)
        self.beta = weight("beta", "zeros", not self.frozen)
        self.moving_mean = weight("moving_mean", "zeros", False)
        self.moving_variance = weight("moving_variance", "ones", False)

    def affine(self):
        """Scale and shift of the running statistics, [C] float32 each: y = x * scale + shift."""
        scale = self.gamma * tf.math.rsqrt(self.moving_variance + self.epsilon)
        return scale, self.beta - self.moving_mean * scale

    def is_affine(self, training):
        """Whether this call uses the running statistics."""
        return not training or self.frozen or not self.trainable

    def call(self, x, training=False):
        if self.is_affine(training):
            scale, shift = self.affine()
            return x * tf.cast(scale, x.dtype) + tf.cast(shift, x.dtype)
        if self.synchronized:
            x32 = tf.cast(x, tf.float32)
            count = self._over_all(tf.cast(tf.reduce_prod(tf.shape(x)[:3]), tf.float32))
            mean = self._over_all(tf.reduce_sum(x32, [0, 1, 2])) / count
            variance = self._over_all(tf.reduce_sum(tf.square(x32 - mean), [0, 1, 2])) / count
            scale = self.gamma * tf.math.rsqrt(variance + self.epsilon)
            y = tf.cast((x32 - mean) * scale + self.beta, x.dtype)
            variance *= count / tf.maximum(count - 1.0, 1.0)  # unbiased, as the running variance of FusedBatchNorm
        else:
            y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
                x=x, scale=self.gamma, offset=self.beta, mean=[], variance=[], epsilon=self.epsilon, is_training=True
            )
        if not _repeated.get():
            for running, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                running.assign(self.momentum * running + (1.0 - self.momentum) * tf.stop_gradient(batch))
        return y

    def _over_all(self, x):
        """The sum over replicas, which may hold different numbers of regions."""
        return tf.distribute.get_replica_context().all_reduce("SUM", x)

    def get_config(self):
        config = {k: getattr(self, k) for k in ("epsilon", "momentum", "synchronized", "frozen")}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("kerasdet")
class GroupNorm(keras.layers.Layer):
    """Group normalization (Wu & He, ECCV 2018, equation 7) in float32: 32 groups, or fewer in narrow layers.

    Statistics are combined from sums per channel, and the gradient is analytic: two to three times as fast on a CPU as
    moments over a five-dimensional tensor.

    Args:
        groups: number of groups; if it does not divide the channels, their greatest common divisor is used.
        epsilon: added to the variance.
    """

    def __init__(self, groups=32, epsilon=1e-5, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.groups = groups
        self.epsilon = epsilon

    def build(self, shape):
        self.gamma = self.add_weight(shape=(shape[-1],), name="gamma", initializer="ones")
        self.beta = self.add_weight(shape=(shape[-1],), name="beta", initializer="zeros")

    def is_affine(self, training):
        """Group statistics depend on the input: nothing to fold."""
        return False

    def call(self, x, training=False):
        groups = math.gcd(self.groups, x.shape[-1])
        return _group_norm(x, tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta), groups, self.epsilon)

    def get_config(self):
        return {**super().get_config(), "groups": self.groups, "epsilon": self.epsilon}


def _group_norm(x, gamma, beta, groups, epsilon):
    channels = x.shape[-1]

    def over_groups(sums):
        """Converts sums per channel [B, C] to the mean over each channel's group, [B, 1, 1, C]."""
        size = channels // groups
        count = tf.cast(tf.shape(x)[1] * tf.shape(x)[2] * size, tf.float32)
        means = tf.reduce_sum(tf.reshape(sums, [-1, groups, size]), axis=2, keepdims=True) / count
        return tf.reshape(tf.tile(means, [1, 1, size]), [-1, 1, 1, channels])

    @tf.custom_gradient
    def normalized(x, gamma, beta):
        mean = over_groups(tf.reduce_sum(x, [1, 2]))
        inverse = tf.math.rsqrt(over_groups(tf.reduce_sum(tf.square(x - mean), [1, 2])) + epsilon)
        scale = inverse * gamma

        def gradient(upstream):
            plain = tf.reduce_sum(upstream, [1, 2])
            # Sums of the upstream gradient times the normalized input.
            along = (tf.reduce_sum(upstream * x, [1, 2]) - plain * mean[:, 0, 0]) * inverse[:, 0, 0]
            slope = tf.square(inverse) * over_groups(along * gamma)
            level = slope * mean - inverse * over_groups(plain * gamma)
            return upstream * scale - x * slope + level, tf.reduce_sum(along, 0), tf.reduce_sum(plain, 0)

        return x * scale + (beta - mean * scale), gradient

    return normalized(x, gamma, beta)


@keras.saving.register_keras_serializable("kerasdet")
class L2Norm(keras.layers.Layer):
    """Scales the channels of every position to unit length, then each channel by a learned factor (ParseNet, 3.3).

    Args:
        scale: initial factor.
        added: number added to a position's sum of squares, 1e-10 in Caffe; None for a sum of at least 1e-24.
    """

    def __init__(self, scale, added=None, **kwargs):
        super().__init__(**kwargs)
        self.initial_scale = scale
        self.added = added

    def build(self, shape):
        self.scale = self.add_weight(
            shape=(shape[-1],), name="scale", initializer=keras.initializers.Constant(self.initial_scale),
            dtype="float32", autocast=False,
        )  # fmt: skip

    def call(self, x):
        x32 = tf.cast(x, tf.float32)
        if self.added is None:
            unit = tf.math.l2_normalize(x32, axis=-1, epsilon=1e-24)
        else:
            unit = x32 * tf.math.rsqrt(tf.reduce_sum(tf.square(x32), axis=-1, keepdims=True) + self.added)
        return tf.cast(unit * self.scale, x.dtype)
