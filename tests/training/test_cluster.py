"""k-means beside all partitions of a small set, overlaps beside every anchor of a pyramid, and the fit of a pyramid."""

import itertools

import numpy as np
import pytest

from kerasdet import anchors, boxes
from kerasdet.training import cluster

PYRAMID = {"levels": (3, 5), "octaves": 2, "ratios": (0.5, 1.0, 2.0), "scale": 3.0}


def some_boxes(count, low, high, side=160, seed=0):
    """Boxes of log-uniform sizes anywhere in a square picture."""
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.uniform(np.log(low), np.log(high), (count, 2)))
    start = rng.uniform(0, side - sizes)
    return np.concatenate([start, start + sizes], 1).astype(np.float32)


def slow_iou(a, b):
    shared = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def test_iou_of_sizes_is_that_of_boxes_with_one_corner():
    sizes, others = np.array([[4, 2], [3, 9.0]]), np.array([[2, 2], [4, 2], [5, 5.0]])
    expected = [[slow_iou((0, 0, *a), (0, 0, *b)) for b in others] for a in sizes]
    np.testing.assert_allclose(cluster.iou(sizes, others), expected, rtol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_kmeans_finds_the_best_partition(k):
    """All ways to part eight sizes into k clusters around their means."""
    sizes = np.array([[10, 12], [11, 10], [9, 30], [10, 33], [50, 48], [55, 60], [12, 11], [48, 52.0]])
    best = 0
    for labels in itertools.product(range(k), repeat=len(sizes)):
        means = np.array([sizes[np.array(labels) == i].mean(0) for i in set(labels)])
        best = max(best, cluster.iou(sizes, means).max(1).mean())
    centers, mean = cluster.kmeans(sizes, k)
    assert mean == pytest.approx(best, abs=1e-9)
    assert cluster.iou(sizes, centers).max(1).mean() == pytest.approx(mean)
    assert (np.diff(centers.prod(1)) > 0).all() and len(centers) == k


def test_kmeans_repeats_itself_and_takes_few_sizes():
    sizes = some_boxes(300, 4, 100)[:, 2:]
    np.testing.assert_array_equal(cluster.kmeans(sizes, 5, seed=3)[0], cluster.kmeans(sizes, 5, seed=3)[0])
    centers, mean = cluster.kmeans([[4, 8], [4, 8], [2, 2]], 5)
    np.testing.assert_array_equal(centers, [[2, 2], [4, 8]])
    assert mean == 1


def test_overlaps_are_those_of_all_anchors():
    found = some_boxes(60, 6, 120)
    pyramid = anchors.Anchors(anchors.shapes(anchors.octaves((8, 16, 32), 3.0, 2)), (8, 16, 32))
    every = np.array(boxes.iou(found, pyramid((160, 160))))
    np.testing.assert_allclose(cluster.overlaps(found, **PYRAMID), every.max(1), atol=1e-5)
    few = pyramid((160, 160)).numpy()[::97]
    np.testing.assert_allclose(
        np.array(boxes.iou(found[:5], few)), [[slow_iou(a, b) for b in few] for a in found[:5]], atol=1e-5
    )


@pytest.mark.parametrize("size, ratio", [(26, 1.0), (40, 3.0)])
def test_fit_reaches_objects_of_one_shape(size, ratio):
    """The pyramid at hand misses them; the one that is found reaches them with few anchors a cell."""
    rng = np.random.default_rng(0)
    sizes = size * np.array([1 / ratio**0.5, ratio**0.5]) * rng.uniform(0.9, 1.1, (80, 2))
    start = rng.uniform(0, 160 - sizes)
    found = np.concatenate([start, start + sizes], 1)
    now = {"levels": (3, 6), "octaves": 1, "ratios": (1.0,), "scale": 32.0}
    assert np.mean(cluster.overlaps(found, **now) >= 0.5) < 0.1
    better = cluster.fit(found, **now)
    assert np.mean(cluster.overlaps(found, **better) >= 0.5) >= 0.95
    assert better["octaves"] * len(better["ratios"]) <= 2
    assert better == cluster.fit(found, **now)


def test_fit_keeps_what_fits():
    found = some_boxes(200, 30, 60)
    now = {"levels": (3, 6), "octaves": 1, "ratios": (1.0,), "scale": 4.0}
    reached = np.mean(cluster.overlaps(found, **now) >= 0.5)
    assert np.mean(cluster.overlaps(found, **cluster.fit(found, **now)) >= 0.5) >= reached
