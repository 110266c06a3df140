"""What lies outside of the pictures, or under a crowd, gives no loss."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import boxes
from kerasdet.detectors import SSD, FasterRCNN, RetinaNet
from kerasdet.targets import assign, sample
from tests.contract import scenes

OBJECTS = [(6, 8, 30, 34, 0)]
WINDOW = np.float32([[0, 0, 52, 96]])


def padded():
    """A picture that takes the left half of the network's image."""
    images, objects = scenes.batch(OBJECTS)
    return {**images, "windows": tf.constant(WINDOW)}, objects


def half_outside(anchors):
    """Which anchors [A, 4] lie by more than half outside the window, in NumPy."""
    x1, y1, x2, y2 = np.asarray(anchors, np.float64).T
    inside = np.maximum(np.minimum(x2, 52) - np.maximum(x1, 0), 0) * np.maximum(
        np.minimum(y2, 96) - np.maximum(y1, 0), 0
    )
    return 2 * inside < (x2 - x1) * (y2 - y1)


@pytest.mark.parametrize("kind", [RetinaNet, FasterRCNN, SSD])
def test_anchors_in_the_padding_learn_nothing(kind):
    model = kind(**kind.tiny())
    images, objects = padded()
    anchors, match = model.match(objects, images)
    # SSD's release learns from boxes that reach over the border, so of them only the part in the image counts.
    side = np.float32(scenes.SIDE)
    outside = half_outside(np.clip(anchors, 0, side) if kind is SSD else anchors)
    _, unpadded = model.match(objects, {**images, "windows": tf.constant([[0.0, 0, side, side]])})
    counted, positive = match.counted.numpy()[0], match.positive.numpy()[0]
    assert outside.sum() > len(outside) // 4 and positive.any()
    np.testing.assert_array_equal(counted, unpadded.counted.numpy()[0] & (~outside | positive))


def test_torchvisions_form_learns_from_the_padding_too():
    images, objects = padded()
    for kind in (RetinaNet, FasterRCNN):
        _, match = kind(**{**kind.tiny(), "torchvision_anchors": True}).match(objects, images)
        _, own = kind(**kind.tiny()).match(objects, images)
        assert np.sum(match.counted) > 1.3 * np.sum(own.counted)


def test_regions_in_the_padding_are_not_drawn():
    images, objects = padded()
    found = np.float32([[[60, 10, 90, 40], [40, 10, 60, 40], [20, 50, 44, 90], [0, 0, 0, 0]]])
    regions = sample.candidates(tf.constant(found), objects, images, 0.5)
    np.testing.assert_array_equal(regions.valid[0], [False, True, True, False, True])


@pytest.mark.parametrize("kind", [RetinaNet, FasterRCNN, SSD])
def test_a_crowd_over_everything_hides_all(kind):
    model = kind(**kind.tiny())
    images, objects = scenes.batch([(0, 0, 96, 96, 0, True)])
    anchors, match = model.match(objects, images)
    assert not np.any(match.counted) and len(anchors) > 50


def test_inside_is_half_of_the_area():
    anchors = tf.constant([[-10.0, 0, 10, 20], [-11, 0, 9, 20], [40, 40, 60, 60], [0, 0, 0, 0]])
    windows = tf.constant([[0.0, 0, 50, 50]])
    # Half, a little less, a quarter, and nothing of nothing.
    np.testing.assert_array_equal(assign.inside(anchors, windows), [[True, False, False, True]])
    assert float(boxes.area(anchors)[3]) == 0
