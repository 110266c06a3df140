"""Candidates equal those of one search over all pairs of a level, in the same order."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet.decoding import candidates


def oracle(logits, counts, per_level):
    """Sorts the (anchor, class) pairs of each level: highest first, of equals the lower anchor and class."""
    classes, found, start = logits.shape[-1], [], 0
    for count in counts:
        level = logits[start : start + count].reshape(-1)
        best = np.argsort(-level, kind="stable")[:per_level]
        found += [(level[i], start + i // classes, i % classes) for i in best]
        start += count
    return found


def compare(logits, counts, per_level):
    values, rows, classes = candidates.top(tf.constant(logits), counts, per_level)
    for b, image in enumerate(logits):
        expected = oracle(image, counts, per_level)
        assert list(zip(values[b].numpy(), rows[b].numpy(), classes[b].numpy(), strict=True)) == expected
    return rows


@pytest.mark.parametrize("per_level", [1, 7, 40, 5000])
@pytest.mark.parametrize("classes", [1, 4])
def test_equals_one_search_over_all_pairs(per_level, classes):
    rng = np.random.default_rng(per_level)
    counts = (90, 24, 6, 1)  # the last levels hold fewer than are asked for
    logits = rng.normal(size=(3, sum(counts), classes)).astype(np.float32)
    rows = compare(logits, counts, per_level)
    assert rows.shape == (3, sum(min(per_level, count * classes) for count in counts))


@pytest.mark.parametrize("values", [1, 2, 5])
def test_ties(values):
    rng = np.random.default_rng(values)
    counts = (60, 15)
    logits = rng.integers(0, values, (4, sum(counts), 3)).astype(np.float32)
    for per_level in (1, 10, 50, 200):
        compare(logits, counts, per_level)


def test_pairs_of_one_anchor_precede_those_of_the_next():
    """Many classes of a single anchor may fill the level."""
    logits = np.float32([[[1, 2, 3], [9, 8, 7], [4, 5, 6]]])
    values, rows, classes = candidates.top(tf.constant(logits), [3], 4)
    np.testing.assert_array_equal(values[0], [9, 8, 7, 6])
    np.testing.assert_array_equal(rows[0], [1, 1, 1, 2])
    np.testing.assert_array_equal(classes[0], [0, 1, 2, 2])


def test_dynamic_counts():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 50, 3)).astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3]), tf.TensorSpec([], tf.int32)])
    def top(logits, first):
        return candidates.top(logits, [first, tf.shape(logits)[1] - first], 30)

    for first in (44, 10):
        known = candidates.top(tf.constant(logits), [first, 50 - first], 30)
        for got, expected in zip(top(logits, first), known, strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("count", [4, 50])
def test_top_of_classes(count):
    scores = np.random.default_rng(2).permutation(60).reshape(2, 10, 3).astype(np.float32)
    values, anchors = candidates.top_of_classes(tf.constant(scores), count)
    order = np.argsort(-scores, axis=1)[:, :count]
    np.testing.assert_array_equal(anchors, order)
    np.testing.assert_array_equal(values, np.take_along_axis(scores, order, axis=1))
