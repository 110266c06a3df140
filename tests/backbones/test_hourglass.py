"""Hourglasses: what is computed again for the gradient changes no value."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet import backbones

SMALL = {"name": "hourglass104", "stacks": 2, "widths": (16, 16, 24), "blocks": (1, 1, 1), "stem": 8, "norm": "batch"}


def step(fire, recompute):
    """Maps, gradients of input and weights, and running statistics after a training step; convolutions of its graph."""
    keras.utils.set_random_seed(0)
    network = backbones.build({**SMALL, "fire": fire, "recompute": recompute}, levels=(2, 2), norm="batch")
    x = tf.constant(np.random.default_rng(0).normal(size=[2, 64, 64, 3]), tf.float32)
    network(x)

    @tf.function(autograph=False)
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            maps = network(x, training=True)
            total = tf.add_n([tf.reduce_sum(tf.sin(one)) for one in maps])
        return maps, tape.gradient(total, [x, *(one.value for one in network.trainable_variables)])

    traced = run.get_concrete_function(x)
    convolutions = sum(node.op == "Conv2D" for node in traced.graph.as_graph_def().node)
    maps, gradients = traced(x)
    return maps, gradients, [one.numpy() for one in network.non_trainable_variables], convolutions


@pytest.mark.parametrize("fire", [False, True])
def test_recomputing_changes_no_value(fire):
    *plain, few = step(fire, recompute=False)
    *again, many = step(fire, recompute=True)
    for a, b in zip(tf.nest.flatten(plain), tf.nest.flatten(again), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * max(1.0, np.abs(a).max()))
    assert many > 1.5 * few
