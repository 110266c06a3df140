"""Class and box losses against the reference values.

These cases of the file await their detector: balanced_l1_*, xent*, corner_focal*, kl_loss.
"""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet.losses import boxes, classes
from tests.golden import goldens

LOSSES = goldens.load("losses")


def decimal(setting):
    """The number that a float32 setting stands for: a decimal one, or 1/9."""
    return 1 / 9 if np.isclose(setting, 1 / 9, rtol=1e-6) else float(f"{setting:.7g}")


def with_gradient(loss, predictions, *args):
    predictions = tf.constant(predictions)
    with tf.GradientTape() as tape:
        tape.watch(predictions)
        values = loss(predictions, *args)
    return values.numpy(), tape.gradient(values, predictions).numpy()


@pytest.mark.parametrize("case", goldens.cases("losses", "focal_"))
def test_focal(case):
    golden = LOSSES[case]
    alpha, gamma = decimal(golden["alpha"]), decimal(golden["gamma"])
    loss, gradient = with_gradient(classes.focal, golden["logits"], golden["targets"], alpha, gamma)
    ordinary = np.abs(golden["logits"]) < 20
    for got, expected in ((loss, golden["loss64"]), (gradient, golden["grad64"])):
        np.testing.assert_allclose(got[ordinary], expected[ordinary], rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(got[~ordinary], expected[~ordinary], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", goldens.cases("losses", "smooth_l1_"))
def test_smooth_l1(case):
    golden = LOSSES[case]
    loss, gradient = with_gradient(boxes.smooth_l1, golden["pred"], golden["targets"], decimal(golden["beta"]))
    np.testing.assert_allclose(loss, golden["loss64"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradient, golden["grad64"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", goldens.cases("losses", "huber_"))
def test_huber(case):
    golden = LOSSES[case]
    loss, gradient = with_gradient(boxes.huber, golden["pred"], golden["targets"], decimal(golden["delta"]))
    np.testing.assert_allclose(loss, golden["loss64"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradient, golden["grad64"], rtol=1e-4, atol=1e-4)
