"""Losses of class logits."""

import tensorflow as tf

from kerasdet.losses import widen


def focal(logits, targets, alpha=0.25, gamma=2.0, smoothing=0.0):
    """The focal loss of independent binary classifiers (Lin et al., ICCV 2017, equation 5).

    FL = -alpha_t * (1 - p_t)^gamma * log(p_t), where p_t is the probability of the true answer. It is computed from z,
    the logit of the wrong answer: 1 - p_t = sigmoid(z) and -log(p_t) = softplus(z). The gradient is analytic:

        dFL/dz = alpha_t * (1 - p_t)^gamma * (1 - p_t - gamma * p_t * log(p_t))

    Smoothed targets change the cross-entropy alone, by -smoothing / 2 * z, and not its weight, as in EfficientDet.

    Args:
        logits: [...] float.
        targets: [...] 0 or 1, same shape as the logits; they get no gradient.
        alpha: weight of the positives; negatives are weighted by 1 - alpha. None or a negative number: no weights.
        gamma: focusing exponent, at least 0.
        smoothing: share of the targets that is moved to one half, 0...1.

    Returns:
        [...] losses, at least 0 without smoothing, finite with finite gradients for all finite logits.
    """
    logits, targets = widen(logits, targets)
    sign = 1 - 2 * targets

    # Automatic differentiation of pow gives NaN where 1 - p_t underflows to 0 and gamma is below 1.
    @tf.custom_gradient
    def loss(logits):
        z = sign * logits
        cross_entropy, miss = tf.nn.softplus(z) - smoothing / 2 * z, tf.sigmoid(z)
        weight = tf.pow(miss, gamma)
        if alpha is not None and alpha >= 0:
            weight *= (1 - alpha) + (2 * alpha - 1) * targets

        def gradient(upstream):
            return upstream * sign * weight * (miss - smoothing / 2 + gamma * cross_entropy * (1 - miss))

        return weight * cross_entropy, gradient

    return loss(logits)
