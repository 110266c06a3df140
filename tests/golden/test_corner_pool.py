"""Corner pooling against the reference values, natively and by the twin."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet.ops import corner_pool
from tests.golden import goldens

GOLDENS = goldens.load("corner_pool")
CASES = [case for case in goldens.cases("corner_pool") if "features" in GOLDENS[case]]


@pytest.mark.parametrize("direction", ["top", "bottom", "left", "right"])
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(way, case, dtype, direction):
    golden = GOLDENS[case]
    features = tf.constant(golden["features"], dtype)
    with tf.GradientTape() as tape:
        tape.watch(features)
        out = corner_pool(features, direction)
        total = tf.reduce_sum(out * tf.constant(golden["upstream"], dtype))
    np.testing.assert_array_equal(out, golden[direction])
    atol = 1e-9 if dtype == tf.float64 else 1e-4
    np.testing.assert_allclose(tape.gradient(total, features), golden[f"grad_{direction}64"], rtol=atol, atol=atol)


def test_corners(way):
    """The sums of CornerNet's two modules."""
    golden = GOLDENS["combined"]
    a, b = tf.constant(golden["features_a"]), tf.constant(golden["features_b"])
    for name, vertical, horizontal in (("top_left", "top", "left"), ("bottom_right", "bottom", "right")):
        np.testing.assert_allclose(corner_pool(a, vertical) + corner_pool(b, horizontal), golden[name], atol=1e-6)
