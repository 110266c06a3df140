"""Levels that are not trained: training does not change what they compute, and those above still learn."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet import backbones

# A small form of each family.
SMALL = {
    "resnet18": {"name": "resnet18", "width": 8},
    "mobilenet_v1": {"name": "mobilenet_v1", "alpha": 0.25},
    "mobilenet_v2": {"name": "mobilenet_v2", "alpha": 0.35},
}
X = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)


def gradients(backbone):
    with tf.GradientTape() as tape:
        total = tf.add_n([tf.reduce_sum(tf.square(f)) for f in backbone(X, training=True)])
    return tape.gradient(total, backbone.trainable_variables)


@pytest.mark.parametrize("name", SMALL)
def test_frozen_levels(name):
    keras.utils.set_random_seed(0)
    counts = []
    for freeze in range(6):
        backbone = backbones.build({**SMALL[name], "freeze": freeze, "norm": "batch"}, levels=(2, 5))
        before = backbone(X)[0].numpy()
        after = backbone(X, training=True)[0].numpy()
        if freeze >= 2:  # the map of level 2: its norms do not see the batch
            np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)
        else:
            assert np.abs(after - before).max() > 1e-3
        assert all(gradient is not None for gradient in gradients(backbone))
        counts.append(len(backbone.trainable_variables))
    assert counts == sorted(counts, reverse=True) and len(set(counts)) == 6 and counts[-1] == 0
