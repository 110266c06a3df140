"""k-means beside all partitions of a small set, overlaps beside every anchor, and arguments that reach more objects."""

import itertools

import numpy as np
import pytest

from kerasdet import anchors, boxes, clusters

RATIOS = (0.5, 1.0, 2.0)


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
    np.testing.assert_allclose(clusters.iou(sizes, others), expected, rtol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_kmeans_finds_the_best_partition(k):
    """All ways to part eight sizes into k clusters around their means."""
    sizes = np.array([[10, 12], [11, 10], [9, 30], [10, 33], [50, 48], [55, 60], [12, 11], [48, 52.0]])
    best = 0
    for labels in itertools.product(range(k), repeat=len(sizes)):
        means = np.array([sizes[np.array(labels) == i].mean(0) for i in set(labels)])
        best = max(best, clusters.iou(sizes, means).max(1).mean())
    centers, mean = clusters.kmeans(sizes, k)
    assert mean == pytest.approx(best, abs=1e-9)
    assert clusters.iou(sizes, centers).max(1).mean() == pytest.approx(mean)
    assert (np.diff(centers.prod(1)) > 0).all() and len(centers) == k


def test_kmeans_repeats_itself_and_takes_few_sizes():
    sizes = some_boxes(300, 4, 100)[:, 2:]
    np.testing.assert_array_equal(clusters.kmeans(sizes, 5, seed=3)[0], clusters.kmeans(sizes, 5, seed=3)[0])
    centers, mean = clusters.kmeans([[4, 8], [4, 8], [2, 2]], 5)
    np.testing.assert_array_equal(centers, [[2, 2], [4, 8]])
    assert mean == 1


def shares(found, strides, shapes, positive=0.5):
    return np.mean(clusters.overlaps(found, strides, shapes) >= positive)


def octaves(levels, octaves, ratios, scale):
    """Strides and shapes of a pyramid of octaves, as plain loops."""
    steps = [2**level for level in range(levels[0], levels[1] + 1)]
    sizes = [[scale * step * 2 ** (i / octaves) for i in range(octaves)] for step in steps]
    return steps, [[(size / r**0.5, size * r**0.5) for size in own for r in ratios] for own in sizes]


def squares(count, low, high, side=160, seed=0):
    """Nearly square boxes of log-uniform sizes anywhere in a picture."""
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.uniform(np.log(low), np.log(high), (count, 1))) * rng.uniform(0.95, 1.05, (count, 2))
    start = rng.uniform(0, side - sizes)
    return np.concatenate([start, start + sizes], 1)


def test_overlaps_are_those_of_all_anchors():
    found = some_boxes(60, 6, 120)
    pyramid = anchors.Anchors(anchors.shapes(anchors.octaves((8, 16, 32), 3.0, 2), RATIOS), (8, 16, 32))
    every = np.array(boxes.iou(found, pyramid((160, 160))))
    np.testing.assert_allclose(clusters.overlaps(found, *octaves((3, 5), 2, RATIOS, 3.0)), every.max(1), atol=1e-5)
    assert pyramid.strides == (8, 16, 32)
    few = pyramid((160, 160)).numpy()[::97]
    np.testing.assert_allclose(
        np.array(boxes.iou(found[:5], few)), [[slow_iou(a, b) for b in few] for a in found[:5]], atol=1e-5
    )


def test_overlaps_with_grids_of_each_box():
    """Default boxes in pictures of two sizes, in parts of their sides."""
    shapes = anchors.default_shapes((0.2, 0.5, 0.9), ((2,), (2, 3)))
    layout = anchors.DefaultBoxes(lambda side: [side // 16, side // 32], shapes)
    best, parts, grids = [], [], []
    for height, width in ((96, 128), (192, 64)):
        found = some_boxes(20, 6, 60, side=64)
        best += np.array(boxes.iou(found, layout((height, width)))).max(1).tolist()
        parts += (found / [width, height, width, height]).tolist()
        grids += [[(width / 16, height / 16), (width / 32, height / 32)]] * 20
    strides = [1 / np.array(grids)[:, i] for i in range(2)]
    np.testing.assert_allclose(clusters.overlaps(np.array(parts), strides, shapes), best, atol=1e-5)


@pytest.mark.parametrize("positive", [0.5, 0.7])
def test_unreachable_objects_overlap_no_copy_of_themselves_on_the_grid(positive):
    found = some_boxes(80, 4, 60)
    centers = np.arange(4, 160, 8)
    expected = []
    for box in found.astype(float):
        half = np.tile((box[2:] - box[:2]) / 2, 2) * [-1, -1, 1, 1]
        expected.append(max(slow_iou(box, np.array([x, y, x, y]) + half) for x in centers for y in centers) < positive)
    assert 10 < sum(expected) < 70
    np.testing.assert_array_equal(clusters.unreachable(found, 8, positive), expected)
    np.testing.assert_array_equal(clusters.unreachable(found, np.full((80, 1), 8.0), positive), expected)


@pytest.mark.parametrize("size, ratio", [(26, 1.0), (40, 3.0)])
def test_octaves_reach_objects_of_one_shape(size, ratio):
    """The pyramid at hand misses them; the one that is found reaches them with few anchors a cell."""
    rng = np.random.default_rng(0)
    sizes = size * np.array([1 / ratio**0.5, ratio**0.5]) * rng.uniform(0.9, 1.1, (80, 2))
    start = rng.uniform(0, 160 - sizes)
    found = np.concatenate([start, start + sizes], 1)
    now = {"levels": (3, 6), "octaves": 1, "ratios": (1.0,), "scale": 32.0}
    assert shares(found, *octaves(**now)) < 0.1
    better = clusters.fit_octaves(found, **now, positive=0.5)
    assert shares(found, *octaves(**better)) >= 0.95
    assert better["octaves"] * len(better["ratios"]) <= 2
    assert better == clusters.fit_octaves(found, **now, positive=0.5)


def test_octaves_that_fit_are_kept():
    found = squares(200, 30, 60)
    now = {"levels": (3, 6), "octaves": 3, "ratios": RATIOS, "scale": 3.0}
    assert shares(found, *octaves(**now)) > 0.95
    assert clusters.fit_octaves(found, **now, positive=0.5) is None


def test_octaves_that_miss_reach_more_than_any_change_of_scale_alone():
    """Flat objects of many sizes: ratios and octaves have to change too."""
    found = squares(200, 20, 60) * [1, 0.25, 1, 0.25]
    now = {"levels": (3, 5), "octaves": 1, "ratios": (1.0,), "scale": 4.0}
    best = max(shares(found, *octaves(**{**now, "scale": scale})) for scale in np.geomspace(0.5, 8, 20))
    better = clusters.fit_octaves(found, **now, positive=0.5)
    assert shares(found, *octaves(**better)) > max(best, shares(found, *octaves(**now))) + 0.2
    assert max(better["ratios"]) < 0.5


@pytest.mark.parametrize("low, high", [(60, 150), (12, 30)])
def test_sizes_of_a_pyramid_double_from_level_to_level(low, high):
    strides, sizes = [4, 8, 16, 32], [(40,), (80,), (640,), (1280,)]
    found = squares(200, low, high)
    better = clusters.fit_sizes(found, strides, sizes, (0.2, 5.0), 0.7)
    for finer, coarser in itertools.pairwise(better["sizes"]):
        np.testing.assert_allclose(np.array(coarser) / finer, 2, atol=0.1)
    shapes = [[(s / r**0.5, s * r**0.5) for s in own for r in better["ratios"]] for own in better["sizes"]]
    assert shares(found, strides, shapes, 0.7) > 0.8
    assert clusters.fit_sizes(found, strides, **better, positive=0.7) is None


def test_sizes_of_one_map_lie_between_those_of_the_objects():
    found = squares(200, 50, 140)
    better = clusters.fit_sizes(found, [16], [(400, 800)], (1.0,), 0.7)
    (own,) = better["sizes"]
    assert 45 < min(own) and max(own) < 150 and len(own) <= 5
    shapes = [[(s / r**0.5, s * r**0.5) for s in own for r in better["ratios"]]]
    assert shares(found, [16], shapes, 0.7) > 0.8


@pytest.mark.parametrize("least", [None, 0.1])
@pytest.mark.parametrize("low, high", [(0.05, 0.2), (0.7, 0.95)])
def test_scales_reach_the_objects_in_parts_of_the_picture(least, low, high):
    found = squares(200, low, high, side=1)
    cells = np.full((200, 3, 2), [[38, 38], [19, 19], [10, 10]], float)
    misses = (0.3, 0.35, 0.4, 0.45), ((2,), (2, 3), (2,))
    better = clusters.fit_scales(found, cells, *misses, 0.5, least)
    assert set(better) == {"scales", "ratios"} | ({"tensorflow_boxes"} if least else set())
    scales, ratios = better["scales"], better["ratios"]
    assert len(scales) == 4 and len(ratios) == 3 and (np.diff(scales) > 0).all() and scales[-1] >= 2.9 * scales[0]
    shapes = (anchors.default_shapes if least is None else anchors.default_shapes_tf)(*better.values())
    assert shares(found, [1 / 38, 1 / 19, 1 / 10], shapes) > 0.85
    assert clusters.fit_scales(found, cells, scales, ratios, 0.5, better.get("tensorflow_boxes")) is None


def test_without_objects_nothing_fits_better():
    none, flat = np.zeros((0, 4)), np.float32([[3, 3, 3, 9]])
    for found in (none, flat):
        assert clusters.fit_octaves(found, (3, 5), 1, (1.0,), 4.0, 0.5) is None
        assert clusters.fit_sizes(found, [16], [(32,)], (1.0,), 0.7) is None
        assert clusters.fit_scales(found, np.ones((len(found), 1, 2)), (0.5, 1.0), ((),), 0.5) is None
