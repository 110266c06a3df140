"""Matching natively and by its twin, bit by bit, against slow loops in NumPy; and what crowds hide."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import ops
from kerasdet.ops import library
from kerasdet.targets import assign
from tests.ops.ways import WAYS

needs_library = pytest.mark.skipif(library.load() is None, reason="the native operators are not built")

BY_IOU = {name: tf.function(assign.by_iou, reduce_retracing=True) for name in WAYS}
ONE_TO_ONE = {name: tf.function(assign.one_to_one, reduce_retracing=True) for name in WAYS}

# Coordinates that no one should send.
HOSTILE = np.float32([np.nan, np.inf, -np.inf, 1e30, -1e30, 3e38, 1e19, 0, -5])


@pytest.fixture(params=WAYS)
def way(request):
    if request.param == "native" and library.load() is None:
        pytest.skip("the native operators are not built")
    with WAYS[request.param]():
        yield request.param


def shared(boxes, anchors):
    """Areas that boxes share with anchors, [M, A] float32, in the order of `kerasdet.boxes`; NaN where either is."""
    low = [np.maximum(boxes[:, None, k], anchors[None, :, k]) for k in (0, 1)]
    high = [np.minimum(boxes[:, None, k], anchors[None, :, k]) for k in (2, 3)]
    width, height = (np.maximum(b - a, np.float32(0)) for a, b in zip(low, high, strict=True))
    return width * height


def area(boxes):
    return np.maximum(boxes[..., 2] - boxes[..., 0], 0) * np.maximum(boxes[..., 3] - boxes[..., 1], 0)


def overlaps(boxes, anchors, real):
    with np.errstate(all="ignore"):
        both = shared(boxes, anchors)
        iou = both / (area(boxes)[:, None] + area(anchors)[None] - both)
        return np.where((iou > 0) & real[:, None], iou, np.float32(0))


def by_iou(iou, positive, negative, low_quality):
    """Object by object."""
    best, indices = np.zeros(iou.shape[1], np.float32), np.zeros(iou.shape[1], int)
    forced = np.zeros(iou.shape[1], bool)
    for j, row in enumerate(iou):
        indices[row > best] = j
        best = np.maximum(best, row)
        forced |= (row > 0) & (row == row.max(initial=0))
    decided = np.where(best < np.float32(negative), assign.BACKGROUND, assign.IGNORE)
    decided[best >= np.float32(positive)] = indices[best >= np.float32(positive)]
    return np.where(forced & low_quality, indices, decided), best, indices


def one_to_one(iou, positive):
    """All pairs in order, of equal ones the first object, then the first anchor."""
    _, best, indices = by_iou(iou, 0, 0, False)
    rows, columns = np.nonzero(iou)
    result = np.where(best >= np.float32(positive), indices, assign.BACKGROUND)
    objects, anchors = set(), set()
    for k in np.lexsort([columns, rows, -iou[rows, columns]]):
        if rows[k] not in objects and columns[k] not in anchors:
            objects.add(rows[k])
            anchors.add(columns[k])
            result[columns[k]] = rows[k]
    return result


def draw(rng, *shape, side=200, low=4, high=60, whole=True):
    """Boxes in and around a picture; many are equal where they lie at whole eighths."""
    corner, size = rng.uniform(-20, side, (*shape, 2)), np.exp(rng.uniform(np.log(low), np.log(high), (*shape, 2)))
    if whole:
        corner, size = np.floor(corner / 8) * 8, np.ceil(size / 8) * 8
    return np.float32(np.concatenate([corner, corner + size], axis=-1))


def scene(seed, images, anchors, count, crowds=0.1, hostile=0.0, **kind):
    rng = np.random.default_rng(seed)
    places, boxes = draw(rng, images, anchors, **kind), draw(rng, images, count, **kind)
    for values in (places, boxes):
        bad = rng.uniform(size=values.shape) < hostile
        values[bad] = rng.choice(HOSTILE, bad.sum())
    objects = {
        "boxes": boxes,
        "classes": rng.integers(-1, 4, (images, count), np.int32),
        "crowds": rng.uniform(size=(images, count)) < crowds,
    }
    return places, objects


SCENES = {
    "ties": scene(0, 3, 300, 70),
    "floats": scene(1, 2, 500, 70, whole=False),
    "no object": scene(2, 2, 50, 0),
    "no anchor": scene(3, 2, 0, 5),
    "one of each": scene(4, 1, 1, 1),
    "more objects than anchors": scene(5, 1, 40, 200),
    "crowds": scene(6, 2, 300, 100, crowds=0.6),
    "hostile": scene(7, 3, 400, 90, hostile=0.1),
    "all equal": (np.zeros([1, 150, 4], np.float32) + [0, 0, 8, 8], {
        "boxes": np.zeros([1, 100, 4], np.float32) + np.float32([0, 0, 8, 4]), "classes": np.zeros([1, 100], np.int32),
        "crowds": np.zeros([1, 100], bool),
    }),
    "5000 objects": scene(8, 1, 1500, 5000, side=1500, high=30, whole=False),
    "5000 objects in one place": scene(9, 1, 24, 5000, side=10, high=30),
}  # fmt: skip


@pytest.mark.parametrize("name", SCENES)
def test_both_rules(way, name):
    anchors, objects = SCENES[name]
    tensors = tf.nest.map_structure(tf.constant, objects)
    places = tf.constant(anchors, tf.float32)
    found = BY_IOU[way](places, tensors, 0.5, 0.4).indices.numpy()
    plain = assign.by_iou(places, tensors, 0.7, 0.3, low_quality=False).indices.numpy()
    single = ONE_TO_ONE[way](places, tensors, 0.5).indices.numpy()
    for b, (own, boxes) in enumerate(zip(np.float32(anchors), objects["boxes"], strict=True)):
        crowds = objects["crowds"][b]
        iou = overlaps(boxes, own, (objects["classes"][b] >= 0) & ~crowds)
        with np.errstate(all="ignore"):
            under = (shared(boxes[crowds], own) > 0.5 * area(own)).any(axis=0)
        for expected, indices in (
            (by_iou(iou, 0.5, 0.4, True)[0], found[b]),
            (by_iou(iou, 0.7, 0.3, False)[0], plain[b]),
            (one_to_one(iou, 0.5), single[b]),
        ):
            hidden = under & (expected == assign.BACKGROUND)
            np.testing.assert_array_equal(indices, np.where(hidden, assign.IGNORE, expected))


def test_shared_anchors_are_those_of_every_image(way):
    anchors, objects = scene(10, 3, 200, 50, whole=False)
    objects = tf.nest.map_structure(tf.constant, objects)
    for match in (
        lambda places: assign.by_iou(places, objects, 0.5, 0.4),
        lambda p: assign.one_to_one(p, objects, 0.5),
    ):
        shared_by_all, own = match(anchors[0]), match(np.tile(anchors[:1], [3, 1, 1]))
        for one, other in zip(shared_by_all, own, strict=True):
            np.testing.assert_array_equal(one, other)


def test_sizes_that_are_not_known(way):
    """Inside a function traced for any number of images, anchors and objects."""
    anchors, objects = scene(11, 2, 90, 40)
    specs = {"boxes": [None, None, 4], "classes": [None, None], "crowds": [None, None]}
    specs = {key: tf.TensorSpec(shape, objects[key].dtype) for key, shape in specs.items()}

    @tf.function(input_signature=[tf.TensorSpec([None, None, 4]), specs])
    def match(anchors, objects):
        return assign.by_iou(anchors, objects, 0.5, 0.4), assign.one_to_one(anchors, objects, 0.5)

    tensors = tf.nest.map_structure(tf.constant, objects)
    expected = assign.by_iou(anchors, tensors, 0.5, 0.4), assign.one_to_one(anchors, tensors, 0.5)
    for one, other in zip(tf.nest.flatten(match(anchors, tensors)), tf.nest.flatten(expected), strict=True):
        np.testing.assert_array_equal(one, other)


def test_predicted_boxes_take_no_gradient(way):
    anchors, objects = scene(12, 1, 60, 20)
    anchors, objects = tf.Variable(anchors), tf.nest.map_structure(tf.constant, objects)
    with tf.GradientTape() as tape:
        matches = assign.by_iou(anchors, objects, 0.5, 0.4), assign.one_to_one(anchors, objects, 0.5)
        matches += (assign.match_from_indices(tf.fill([1, 60], -1), anchors, objects),)
        total = tf.add_n([tf.reduce_sum(match.boxes) for match in matches])
    assert tape.gradient(total, anchors) is None


def test_match_from_indices():
    objects = {
        "boxes": tf.constant([[[0.0, 0, 4, 4], [1, 1, 5, 5]], [[2, 2, 6, 6], [0, 0, 0, 0]]]),
        "classes": tf.constant([[3, 4], [5, -1]]),
        "crowds": tf.zeros([2, 2], tf.bool),
    }
    anchors = tf.constant([[9.0, 9, 10, 10], [7, 7, 8, 8]])
    match = assign.match_from_indices(tf.constant([[1, -1], [-2, 0]]), anchors, objects)
    np.testing.assert_array_equal(match.boxes, [[[1, 1, 5, 5], [7, 7, 8, 8]], [[9, 9, 10, 10], [2, 2, 6, 6]]])
    np.testing.assert_array_equal(match.classes, [[4, -1], [-1, 5]])


def test_hidden_boxes(way):
    """Under a crowd, half under it, without area, half and mostly outside, and under the part of a crowd inside."""
    objects = {
        "boxes": tf.constant([[[0.0, 0, 40, 40], [60, 60, 70, 70]]]),
        "classes": tf.constant([[0, 0]]),
        "crowds": tf.constant([[True, False]]),
    }
    boxes = tf.constant(
        [[30.0, 0, 49, 10], [30, 0, 50, 10], [5, 5, 5, 9], [50, 90, 60, 110], [50, 91, 60, 111], [-30, 5, 10, 9]]
    )
    windows = tf.constant([[0.0, 0, 100, 100]])
    np.testing.assert_array_equal(assign.under_crowds(boxes, objects), [[1, 0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(assign.under_crowds(boxes, objects, windows), [[1, 0, 0, 0, 0, 1]])
    np.testing.assert_array_equal(assign.inside(boxes, windows), [[1, 1, 1, 1, 0, 0]])
    np.testing.assert_array_equal(assign.hidden(boxes, objects, windows), [[1, 0, 0, 0, 1, 1]])
    np.testing.assert_array_equal(assign.hidden(boxes, objects), [[1, 0, 0, 0, 0, 0]])


@pytest.mark.parametrize("rank", [2, 3])
def test_hidden_points(way, rank):
    """Points inside and outside crowds of two images and of their windows."""
    rng = np.random.default_rng(13)
    points = np.float32(rng.integers(0, 60, (2, 500, 2)))
    _, objects = scene(14, 2, 0, 40, side=60, high=20)
    windows = np.float32([[0, 0, 60, 40], [10, 10, 60, 60]])
    found = assign.hidden(points[0] if rank == 2 else points, tf.nest.map_structure(tf.constant, objects), windows)
    for b in range(2):
        for (x, y), hidden in zip(points[0 if rank == 2 else b], found[b].numpy(), strict=True):
            crowds = objects["boxes"][b][objects["crowds"][b]]
            under = any(x1 < x < x2 and y1 < y < y2 for x1, y1, x2, y2 in crowds)
            left, top, right, bottom = windows[b]
            assert hidden == (under or not (left <= x <= right and top <= y <= bottom))
    assert 50 < np.sum(found) < 950


@needs_library
def test_runs_on_the_host():
    """Where a function is placed on a GPU, its matching is not."""

    @tf.function
    def match(anchors, boxes):
        with tf.device("GPU:0"):
            return ops.match_by_iou(anchors, boxes, tf.ones([1, 3], tf.bool), 0.5, 0.4, True)

    graph = match.get_concrete_function(tf.TensorSpec([5, 4]), tf.TensorSpec([1, 3, 4])).graph
    (operation,) = (operation for operation in graph.get_operations() if operation.type == "Kerasdet>MatchByIou")
    assert operation.device.endswith("CPU:0")
    assert match(tf.zeros([5, 4]), tf.zeros([1, 3, 4])).shape == (1, 5)


@pytest.mark.parametrize(
    "shapes, named",
    [
        (([5, 5], [2, 3, 4], [2, 3]), "anchors"),
        (([3, 5, 4], [2, 3, 4], [2, 3]), "anchors"),
        (([5, 4], [3, 4], [3]), "objects"),
        (([5, 4], [2, 3, 4], [2, 4]), "chosen"),
    ],
)
def test_wrong_shapes(way, shapes, named):
    anchors, objects, chosen = tf.zeros(shapes[0]), tf.zeros(shapes[1]), tf.zeros(shapes[2], tf.bool)
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{named} must have shape"):
        ops.match_by_iou(anchors, objects, chosen, 0.5, 0.4, True)
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{named} must have shape"):
        ops.match_one_to_one(anchors, objects, chosen, 0.5)


@pytest.mark.parametrize("least", [[4], [3, 5]])
def test_wrong_least_areas(way, least):
    with pytest.raises(tf.errors.InvalidArgumentError, match="least must have shape"):
        ops.covered(tf.zeros([5, 4]), tf.zeros([2, 3, 4]), tf.zeros([2, 3], tf.bool), tf.zeros(least))
