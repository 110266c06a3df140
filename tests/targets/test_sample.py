"""Hard negatives by hand."""

import numpy as np
import tensorflow as tf

from kerasdet.targets import sample


def test_hard_negatives():
    losses = tf.constant([[1.0, 5, 5, 3, 5, 0], [2.0, 2, 2, 2, 2, 2]])
    allowed = tf.constant([[1, 1, 1, 1, 0, 1], [0, 1, 0, 1, 0, 0]]) > 0
    chosen = sample.hard_negatives(losses, allowed, tf.constant([3, 4])).numpy()
    np.testing.assert_array_equal(chosen, [[0, 1, 1, 1, 0, 0], [0, 1, 0, 1, 0, 0]])
    np.testing.assert_array_equal(sample.hard_negatives(losses, allowed, tf.constant([1, 1]))[0], [0, 1, 0, 0, 0, 0])
