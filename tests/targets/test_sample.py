"""Sampling: what the numbers depend on, and hard negatives by hand."""

import numpy as np
import tensorflow as tf

from kerasdet.targets import sample

IDS = tf.constant([5, 7], tf.int64)


def keys(kind=sample.ANCHORS, seed=0, step=3, order="random"):
    return sample.keys(order, IDS, tf.constant(step, tf.int64), 50, kind, seed).numpy()


def test_numbers_depend_on_image_step_seed_and_kind():
    first = keys()
    np.testing.assert_array_equal(first, keys())
    assert not np.allclose(first[0], first[1])
    for other in (keys(step=4), keys(seed=1), keys(sample.REGIONS), keys(sample.REGIONS, seed=1)):
        assert np.abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.4
        assert not np.any(first == other)


def test_first_prefers_lower_places_whatever_the_seed():
    np.testing.assert_array_equal(keys(order="first"), keys(seed=9, order="first"))
    assert (np.diff(keys(order="first")) < 0).all()


def test_hard_negatives():
    losses = tf.constant([[1.0, 5, 5, 3, 5, 0], [2.0, 2, 2, 2, 2, 2]])
    allowed = tf.constant([[1, 1, 1, 1, 0, 1], [0, 1, 0, 1, 0, 0]]) > 0
    chosen = sample.hard_negatives(losses, allowed, tf.constant([3, 4])).numpy()
    np.testing.assert_array_equal(chosen, [[0, 1, 1, 1, 0, 0], [0, 1, 0, 1, 0, 0]])
    np.testing.assert_array_equal(sample.hard_negatives(losses, allowed, tf.constant([1, 1]))[0], [0, 1, 0, 0, 0, 0])
