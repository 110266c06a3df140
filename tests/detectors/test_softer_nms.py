"""Softer-NMS: published counts, the loss as a loop in NumPy, its start, and how boxes vote by their variances."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet.decoding import suppress
from kerasdet.detectors import SofterNMS, softer_nms
from kerasdet.layers.start import weights_expected
from tests.contract import scenes

OBJECTS = [(12, 20, 60, 70, 0), (50, 8, 90, 40, 1)]


@pytest.mark.parametrize("classes, whole, trainable", [(20, 41_588_876, 41_535_756), (80, 42_142_376, 42_089_256)])
def test_published_counts(classes, whole, trainable):
    with weights_expected():
        model = SofterNMS(classes, norm="batch", resize=("keep",))
    assert model.count_params() == whole
    assert sum(np.prod(v.shape) for v in model.trainable_variables) == trainable


def make(**changes):
    keras.utils.set_random_seed(3)
    return SofterNMS(**{**SofterNMS.tiny(), **changes})


def test_variances_start_small():
    """At N(0, 1e-4), without a bias (section 3.2)."""
    model = make(fc=(1024,))
    assert not model.deviations.bias.numpy().any()
    assert np.std(model.deviations.kernel) == pytest.approx(1e-4, rel=0.05)


def test_region_terms():
    """Four offsets of the true class over the proposal's sides, each a normal distribution; over all regions."""
    model = make(order="first")
    model.deviations.kernel.assign(tf.random.normal(model.deviations.kernel.shape, stddev=0.02, seed=1))
    images, objects = scenes.batch(OBJECTS)
    outputs = model.network(images)
    regions = model.sampled(outputs, objects, images)
    head = {name: value.numpy()[0] for name, value in model.head(outputs["features"], regions.boxes).items()}
    total, spread = 0.0, []
    for i in np.flatnonzero(regions.positive[0]):
        (x1, y1, x2, y2), target = regions.boxes.numpy()[0, i], regions.targets.numpy()[0, i]
        sides, kind = [x2 - x1, y2 - y1] * 2, regions.classes.numpy()[0, i] + 1
        for k, corner in enumerate((x1, y1, x2, y2)):
            distance = abs(head["deltas"][i, kind, k] - 10 * (target[k] - corner) / sides[k])
            alpha = head["alphas"][i, kind, k]
            total += np.exp(-alpha) * (distance**2 / 2 if distance < 1 else distance - 0.5) + alpha / 2
            spread.append(alpha)
    assert np.std(spread) > 0.1
    terms = model.loss_terms(outputs, objects, images)
    np.testing.assert_allclose(terms["box"], total / regions.valid.numpy().sum(), rtol=1e-3)


def test_the_loss_begins_as_smooth_l1():
    model = make(order="first")
    images, objects = scenes.batch(OBJECTS)
    outputs = model.network(images)
    regions = model.sampled(outputs, objects, images)
    head = model.head(outputs["features"], regions.boxes)
    _, uncertain = model.multi_task(head, regions)
    _, certain = model.multi_task({**head, "alphas": tf.zeros_like(head["alphas"])}, regions)
    assert float(tf.reduce_max(certain)) > 0.01
    np.testing.assert_allclose(uncertain, certain, rtol=1e-2, atol=1e-2)


def test_sides_are_coded():
    proposals = tf.constant([[10.0, 20, 50, 40], [0, 0, 0, 0]])
    boxes = tf.constant([[6.0, 22, 54, 43], [0, 0, 0, 0]])
    offsets = softer_nms.encode(proposals, boxes)
    np.testing.assert_allclose(offsets, [[-1, 1, 1, 1.5], [0, 0, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(softer_nms.decode_sides(proposals, offsets), boxes, atol=1e-5)
    assert np.isfinite(softer_nms.decode_sides(proposals, offsets * 1e30)).all()


@pytest.mark.parametrize("nms", ["voting", "soft_voting"])
def test_detections_are_voted_by_square_pixels(nms):
    """The side of which a proposal is sure decides; a proposal twice as large has four times the variance."""
    model = make(nms={"name": nms, "sigma_t": 0.05}, suppression=0.5, above=0.05)
    images, _ = scenes.batch(OBJECTS)
    proposals = np.float32([[[10, 10, 50, 50], [14, 8, 50, 54], [8, 8, 90, 90], [0, 0, 0, 0]]])
    logits = np.float32([[[0, 3, -9], [0, 2, -9], [0, 1, -9], [0, 0, 0]]])
    alphas = np.log(np.float32([1.0, 0.25, 0.5, 9.0]))[None, :, None, None] + np.zeros([1, 4, 3, 4], np.float32)
    head = {"logits": logits, "alphas": alphas, "deltas": np.zeros([1, 4, 3, 4], np.float32)}
    model.head = lambda *_: {name: tf.constant(value) for name, value in head.items()}
    found = model.detections({"features": None, "proposals": tf.constant(proposals)}, images)
    first, boxes = found["boxes"][0, 0].numpy(), proposals[0, :3].astype(np.float64)
    sides = np.concatenate([boxes[:, 2:] - boxes[:, :2]] * 2, axis=1)
    variances = np.array([1.0, 0.25, 0.5])[:, None] * (sides / 10) ** 2

    def iou(a, b):
        shared = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
        return shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)

    weights = np.array([np.exp(-((1 - iou(boxes[0], b)) ** 2) / 0.05) for b in boxes])[:, None] / variances
    np.testing.assert_allclose(first, (weights * boxes).sum(0) / weights.sum(0), rtol=1e-4)
    assert np.isfinite(found["boxes"]).all()


def test_soft_nms_may_have_a_floor_of_its_own():
    """Boxes need a score above the least to take part, and may fall to the floor."""
    boxes = tf.constant([[[0.0, 0, 10, 10], [0, 1, 10, 11], [50, 50, 60, 60]]])
    scores, classes = tf.constant([[0.9, 0.2, 0.04]]), tf.zeros([1, 3], tf.int32)
    for floor, count in ((None, 1), (0.001, 2)):
        found = suppress.per_class(boxes, scores, classes, 1, 0.5, 0.1, 5, {"name": "soft", "floor": floor})
        assert int(found["counts"][0]) == count
    assert float(found["scores"][0, 1]) == pytest.approx(0.2 * np.exp(-((90 / 110) ** 2) / 0.5), rel=1e-4)
