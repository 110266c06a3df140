"""Assignment by overlap against the papers' rules in slow loops, and its memory."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from kerasdet.ops import matching
from kerasdet.targets import assign

THRESHOLDS = ((0.5, 0.4), (0.7, 0.3), (0.5, 0.5))


def iou(a, b):
    """IoU of two boxes of whole pixels: one division, so exact to the last bit in float32."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return np.float32(shared) / np.float32(union) if union else np.float32(0)


def oracle(anchors, boxes, classes, crowds, positive, negative, low_quality):
    """Faster R-CNN, section 3.1.2: (i) the best anchors of every object, (ii) anchors above the threshold."""
    objects = [j for j in range(len(boxes)) if classes[j] >= 0 and not crowds[j]]
    overlaps = {j: [iou(anchor, boxes[j]) for anchor in anchors] for j in objects}
    indices = []
    for i, anchor in enumerate(anchors):
        best, value = 0, np.float32(0)
        for j in objects:
            if overlaps[j][i] > value:
                best, value = j, overlaps[j][i]
        index = assign.BACKGROUND if value < np.float32(negative) else assign.IGNORE
        if value >= np.float32(positive):
            index = best
        if low_quality and any(0 < overlaps[j][i] == max(overlaps[j]) for j in objects):
            index = best
        if index == assign.BACKGROUND:
            for box in (box for box, crowd in zip(boxes, crowds, strict=True) if crowd):
                width = min(anchor[2], box[2]) - max(anchor[0], box[0])
                height = min(anchor[3], box[3]) - max(anchor[1], box[1])
                if 2 * max(width, 0) * max(height, 0) > (anchor[2] - anchor[0]) * (anchor[3] - anchor[1]):
                    index = assign.IGNORE
        indices.append(index)
    return indices


def draw(rng, *shape, most=60):
    """Boxes of whole pixels in a picture of 200 x 200."""
    low = rng.integers(0, 140, (*shape, 2))
    return np.concatenate([low, low + rng.integers(4, most, (*shape, 2))], axis=-1)


def batch(rng, counts, crowd_share=0.0):
    """Objects of images with these many each, padded to the most."""
    most = max(counts)
    boxes, classes = np.zeros([len(counts), most, 4]), np.full([len(counts), most], -1)
    crowds = np.zeros([len(counts), most])
    for i, count in enumerate(counts):
        boxes[i, :count] = draw(rng, count)
        classes[i, :count] = rng.integers(0, 5, count)
        crowds[i, :count] = rng.uniform(size=count) < crowd_share
    return {"boxes": np.float32(boxes), "classes": np.int32(classes), "crowds": crowds.astype(bool)}


def compare(anchors, objects, *rule):
    found = assign.by_iou(tf.constant(np.float32(anchors)), {k: tf.constant(v) for k, v in objects.items()}, *rule)
    for b in range(len(objects["boxes"])):
        own = anchors if anchors.ndim == 2 else anchors[b]
        values = [objects[key][b] for key in ("boxes", "classes", "crowds")]
        expected = np.array(oracle(own.tolist(), values[0].tolist(), *values[1:], *rule))
        np.testing.assert_array_equal(found.indices[b], expected)
        taken = np.maximum(expected, 0)
        padded = np.concatenate([values[0], np.zeros([1, 4])]), np.concatenate([values[1], [-1]])
        np.testing.assert_array_equal(found.boxes[b], np.where(expected[:, None] >= 0, padded[0][taken], own))
        np.testing.assert_array_equal(found.classes[b], np.where(expected >= 0, padded[1][taken], -1))
    return found


@pytest.mark.parametrize("low_quality", [True, False])
@pytest.mark.parametrize("positive, negative", THRESHOLDS)
def test_random_objects(positive, negative, low_quality):
    rng = np.random.default_rng(0)
    found = compare(draw(rng, 150), batch(rng, (6, 0, 12)), positive, negative, low_quality)
    indices = found.indices.numpy()
    assert (indices >= 0).any() and (indices == assign.BACKGROUND).any()  # the draw shows what it shall
    assert (indices[1] == assign.BACKGROUND).all()
    np.testing.assert_array_equal(found.positive, indices >= 0)
    np.testing.assert_array_equal(found.counted, indices != assign.IGNORE)


@pytest.mark.parametrize("low_quality", [True, False])
def test_more_objects_than_a_block(low_quality):
    rng = np.random.default_rng(1)
    count = 300
    assert count > 2 * matching.BLOCK and count % matching.BLOCK
    found = compare(draw(rng, 100), batch(rng, (count,), crowd_share=0.3), 0.5, 0.4, low_quality)
    assert found.indices.numpy().max() > matching.BLOCK


@pytest.mark.parametrize("count", [matching.BLOCK, matching.BLOCK + 1])
def test_ties_go_to_the_first_object_in_any_block(count):
    boxes = np.tile(np.float32([0, 0, 20, 20]), (1, count, 1))
    objects = {"boxes": boxes, "classes": np.zeros([1, count], np.int32), "crowds": np.zeros([1, count], bool)}
    found = compare(np.array([[0, 0, 20, 20], [0, 0, 20, 10], [50, 50, 60, 60]]), objects, 0.5, 0.4, True)
    np.testing.assert_array_equal(found.indices[0], [0, 0, assign.BACKGROUND])


def test_anchors_of_each_image():
    rng = np.random.default_rng(2)
    compare(draw(rng, 3, 80), batch(rng, (4, 7, 1), crowd_share=0.2), 0.5, 0.4, True)


def test_no_objects_at_all():
    anchors = draw(np.random.default_rng(3), 20)
    objects = batch(np.random.default_rng(4), (0, 0))
    found = compare(anchors, objects, 0.5, 0.4, True)
    assert (found.indices.numpy() == assign.BACKGROUND).all()
    np.testing.assert_array_equal(found.boxes, np.tile(anchors, (2, 1, 1)))


def test_padding_between_objects_matches_nothing():
    """A padded row has class -1; what its box says does not matter."""
    objects = {
        "boxes": np.float32([[[0, 0, 10, 10], [50, 50, 60, 60]]]),
        "classes": np.int32([[-1, 3]]),
        "crowds": np.zeros([1, 2], bool),
    }
    found = compare(np.array([[0, 0, 10, 10], [50, 50, 60, 60]]), objects, 0.5, 0.4, True)
    np.testing.assert_array_equal(found.indices[0], [assign.BACKGROUND, 1])


def test_crowds():
    """The crowd's own anchor, one inside, half and less than half under it, and an object's own anchor in it."""
    objects = {
        "boxes": np.float32([[[0, 0, 100, 100], [20, 20, 40, 40]]]),
        "classes": np.int32([[1, 2]]),
        "crowds": np.array([[True, False]]),
    }
    anchors = np.array([[0, 0, 100, 100], [60, 60, 80, 80], [90, 0, 110, 20], [91, 0, 111, 20], [20, 20, 40, 40]])
    expected = [assign.IGNORE, assign.IGNORE, assign.BACKGROUND, assign.BACKGROUND, 1]
    np.testing.assert_array_equal(compare(anchors, objects, 0.5, 0.4, True).indices[0], expected)
    moved = anchors + [-1, 0, -1, 0]  # the third is now more than half under the crowd
    assert compare(moved, objects, 0.5, 0.4, True).indices[0][2] == assign.IGNORE


def test_random_crowds():
    rng = np.random.default_rng(4)
    objects = batch(rng, (10, 10, 10), crowd_share=0.5)
    anchors = draw(rng, 150, most=25)
    found = compare(anchors, objects, 0.5, 0.4, True).indices.numpy()
    crowds = objects["crowds"]
    without = {**objects, "classes": np.where(crowds, -1, objects["classes"]), "crowds": np.zeros_like(crowds)}
    assert np.any((found == assign.IGNORE) & (compare(anchors, without, 0.5, 0.4, True).indices == assign.BACKGROUND))


def test_low_quality_gives_every_object_an_anchor():
    objects = {
        "boxes": np.float32([[[0, 0, 4, 4], [500, 500, 504, 504]]]),  # tiny, and beyond all anchors
        "classes": np.int32([[0, 0]]),
        "crowds": np.zeros([1, 2], bool),
    }
    anchors = np.array([[0, 0, 64, 64], [-32, -32, 32, 32], [64, 64, 128, 128]])
    np.testing.assert_array_equal(compare(anchors, objects, 0.5, 0.4, True).indices[0], [0, 0, -1])
    np.testing.assert_array_equal(compare(anchors, objects, 0.5, 0.4, False).indices[0], [-1, -1, -1])


def matched(indices):
    indices = tf.constant(indices, tf.int32)
    return assign.Match(indices, tf.zeros([*indices.shape, 4]), indices)


def test_positives():
    match = matched([[0, 3, -1, -2], [5, -2, -1, -1], [1, 1, 1, 1]])
    assert assign.positives(match, {"ids": tf.constant([7, 8, 9], tf.int64)}) == 7
    assert assign.positives(match, {"ids": tf.constant([7, 8, -1], tf.int64)}) == 3  # a filling image does not count
    assert assign.positives(match, {"ids": tf.constant([-1, -1, -1], tf.int64)}) == 1
    assert assign.positives(matched([[-1, -2]]), {"ids": tf.constant([0], tf.int64)}) == 1


def test_over_replicas():
    assert assign.over_replicas(tf.constant(3.0)) == 3
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    with strategy.scope():  # outside a replica
        assert assign.over_replicas(tf.constant(3.0)) == 3
    assert strategy.run(lambda: assign.over_replicas(tf.constant(3.0))) == 3


MEMORY = """
import resource
import numpy as np
import tensorflow as tf
from kerasdet import anchors
from kerasdet.ops import matching
from kerasdet.targets import assign

strides = (8, 16, 32, 64, 128)
grid = anchors.Anchors(anchors.shapes(anchors.octaves(strides)), strides)((1024, 1024))
assert len(grid) == 196416

@tf.function(input_signature=[tf.TensorSpec([1, None, 4])])
def run(boxes):
    count = tf.shape(boxes)[1]
    objects = {"boxes": boxes, "classes": tf.zeros([1, count], tf.int32), "crowds": tf.zeros([1, count], tf.bool)}
    return assign.by_iou(grid, objects, 0.5, 0.4).indices

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

rng = np.random.default_rng(0)
low = rng.uniform(0, 1000, (1, 2000, 2))
boxes = tf.constant(np.concatenate([low, low + rng.uniform(4, 24, low.shape)], -1), tf.float32)
run(boxes[:, :0])
before = peak()
indices = run(boxes).numpy()
print(len(np.unique(indices[indices >= 0])), peak() - before)
"""


@pytest.mark.parametrize("native", ["1", "0"])
def test_memory_of_2000_objects(native):
    """196,416 anchors and 2,000 objects: all overlaps at once would be 1.5 GiB a tensor; growth stays below 700 MiB."""
    root = pathlib.Path(__file__).parents[2]
    environment = {**os.environ, "KERASDET_NATIVE": native}
    run = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True, cwd=root, env=environment
    )
    found, megabytes = map(float, run.stdout.split())
    assert found > 1000  # small neighbors share their best anchors
    assert megabytes < 700


def greedy(anchors, boxes, classes, crowds, positive):
    """SSD, section 2.2, and its release: the greatest overlap that is left, again and again; then the threshold."""
    overlaps = np.array([[iou(a, box) for a in anchors] for box in boxes], np.float32).reshape(len(boxes), len(anchors))
    overlaps[[j for j in range(len(boxes)) if classes[j] < 0 or crowds[j]]] = 0
    indices = np.full(len(anchors), assign.BACKGROUND)
    left = overlaps.copy()
    while left.size and left.max() > 0:
        j, i = np.unravel_index(left.argmax(), left.shape)  # of equals the first object, then the first anchor
        indices[i] = j
        left[j], left[:, i] = 0, 0
    for i, anchor in enumerate(anchors):
        best = overlaps[:, i].argmax() if len(boxes) else 0
        if indices[i] < 0 and len(boxes) and overlaps[best, i] >= np.float32(positive):
            indices[i] = best
        if indices[i] == assign.BACKGROUND:
            for box in (box for box, crowd in zip(boxes, crowds, strict=True) if crowd):
                width = min(anchor[2], box[2]) - max(anchor[0], box[0])
                height = min(anchor[3], box[3]) - max(anchor[1], box[1])
                if 2 * max(width, 0) * max(height, 0) > (anchor[2] - anchor[0]) * (anchor[3] - anchor[1]):
                    indices[i] = assign.IGNORE
    return indices


@pytest.mark.parametrize(
    "anchors, counts, crowds", [(120, (6, 0, 12), 0.0), (60, (80,), 0.2), (20, (70, 3), 0.0)],
    ids=["random", "crowds", "more objects than anchors"],
)  # fmt: skip
def test_one_to_one(anchors, counts, crowds):
    rng = np.random.default_rng(6)
    anchors, objects = draw(rng, anchors), batch(rng, counts, crowd_share=crowds)
    tensors = {k: tf.constant(v) for k, v in objects.items()}
    found = tf.function(assign.one_to_one)(tf.constant(np.float32(anchors)), tensors, 0.5)
    for b in range(len(counts)):
        values = [objects[key][b].tolist() for key in ("boxes", "classes", "crowds")]
        np.testing.assert_array_equal(found.indices[b], greedy(anchors.tolist(), *values, 0.5))


def test_one_to_one_of_equal_objects_and_anchors():
    """All overlaps are 1: the first object takes the first anchor, and so on; what is left takes the first object."""
    count = matching.BLOCK + 5
    objects = {
        "boxes": tf.tile(tf.constant([[[0.0, 0, 20, 20]]]), [1, count, 1]),
        "classes": tf.zeros([1, count], tf.int32),
        "crowds": tf.zeros([1, count], tf.bool),
    }
    anchors = tf.tile(tf.constant([[0.0, 0, 20, 20]]), [count + 3, 1])
    found = assign.one_to_one(anchors, objects, 0.5).indices[0].numpy()
    np.testing.assert_array_equal(found, [*range(count), 0, 0, 0])


def test_crowds_at_the_border():
    """Two thirds of an anchor lie outside the picture, and all that is inside lies under a crowd."""
    objects = {
        "boxes": tf.constant([[[0.0, 0, 50, 50]]]),
        "classes": tf.zeros([1, 1], tf.int32),
        "crowds": tf.constant([[True]]),
    }
    anchors, windows = tf.constant([[-20.0, 10, 10, 20]]), tf.constant([[0.0, 0, 100, 100]])
    assert assign.one_to_one(anchors, objects, 0.5).indices[0, 0] == assign.BACKGROUND
    assert assign.one_to_one(anchors, objects, 0.5, windows).indices[0, 0] == assign.IGNORE
