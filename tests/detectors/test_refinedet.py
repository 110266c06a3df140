"""RefineDet: published counts; right answers; the filter; what the first step gives the second; one-line faults."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet import coders
from kerasdet.detectors import RefineDet, refinedet
from kerasdet.detectors.refinedet import Doubled
from tests.contract import scenes

OBJECTS = [(12, 20, 60, 70, 0), (50, 8, 90, 40, 1)]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    return RefineDet(**RefineDet.tiny())


def drawn(**arguments):
    """A model as a graph that is never run, so that no number of it is drawn."""
    with keras.StatelessScope(initialize_variables=False), tf.Graph().as_default():
        return RefineDet(20, **arguments)


def test_published_counts():
    """On VGG16 for Pascal VOC, and with as many more weights as COCO's classes have; anchors at both sides."""
    model = drawn()
    assert sum(np.prod(v.shape) for v in model.weights) == 34_440_884
    last = sum(np.prod(v.shape) for conv in model.class_head.predictors for v in conv.weights)
    assert 34_440_884 + last // 21 * 60 == 36_100_484
    assert [sum(model.anchors.counts((side, side))) for side in (320, 512)] == [6375, 16320]


@pytest.mark.slow
def test_on_resnet_101():
    """The same strides and anchors, on maps that need no L2 norm."""
    model = drawn(**refinedet.RESNET101)
    assert model.anchors.strides == (8, 16, 32, 64) and not model.l2_norms
    assert sum(model.anchors.counts((320, 320))) == 6375


def test_maps_are_as_large_as_the_anchors_expect(model):
    images, _ = scenes.batch(OBJECTS)
    pixels = {**images, "pixels": tf.zeros([1, 64, 160, 3])}
    for maps in model.features(pixels):
        assert [tuple(x.shape[1:3]) for x in maps] == model.anchors.grids((64, 160))


def test_a_map_is_doubled_as_by_keras():
    doubled, keras_own = Doubled(5), keras.layers.Conv2DTranspose(5, 2, 2)
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 7)).astype(np.float32)
    doubled(x), keras_own(x)
    doubled.bias.assign(np.arange(5.0))
    keras_own.set_weights(doubled.get_weights())
    np.testing.assert_allclose(doubled(x), keras_own(x), rtol=1e-5, atol=1e-5)


def right_answers(model, images, objects, certainty=12.0):
    """Outputs that say what the targets are: the first step moves positive anchors onto their objects."""
    grid, match = model.match(objects, images)
    first = tf.one_hot(tf.cast(match.positive, tf.int32), 2, on_value=certainty, off_value=-certainty)
    outputs = {"objectness": first, "refinements": coders.encode(grid, match.boxes, coders.WEIGHTS)}
    moved, _ = model.refined(outputs, images)
    second = model._assigned(moved, objects, images)
    logits = tf.one_hot(second.classes + 1, model.num_classes + 1, on_value=certainty, off_value=-certainty)
    return {**outputs, "logits": logits, "deltas": coders.encode(moved, second.boxes, coders.WEIGHTS)}


def test_right_answers_cost_nothing_and_wrong_ones_more(model):
    images, objects = scenes.batch(OBJECTS)
    right = right_answers(model, images, objects)
    cost = scenes.costs(model, right, images, objects)
    # With no doubt left, the second step has no negatives: the filter takes them.
    assert cost(logits=tf.roll(right["logits"], 1, axis=-1))["class"] > 5
    assert cost(objectness=-right["objectness"])["anchor_class"] > 5
    moved = cost(refinements=right["refinements"] + 0.2)
    assert moved["anchor_box"] > 1e-2 and moved["box"] > 1e-2
    found = model.detections(right, images)
    for *box, kind in OBJECTS:
        best = np.flatnonzero(found["classes"][0].numpy() == kind)[0]
        np.testing.assert_allclose(found["boxes"][0, best], box, atol=1e-3)


def test_the_filter_hides_what_the_first_step_is_sure_of(model):
    """Anchors below the least objectness detect nothing, whatever their classes say."""
    images, objects = scenes.batch(OBJECTS)
    right = right_answers(model, images, objects)
    for probability, found in ((0.011, True), (0.009, False)):
        logit = np.float32(np.log(probability / (1 - probability)))
        doubtful = tf.stack(
            [tf.zeros_like(right["objectness"][..., 0]), tf.fill(right["objectness"].shape[:2], logit)], -1
        )
        counts = model.detections({**right, "objectness": doubtful}, images)["counts"]
        assert bool(counts[0] > 0) == found


def test_no_gradient_reaches_the_first_step_by_the_second(model):
    images, objects = scenes.batch(OBJECTS)
    outputs = {name: tf.constant(value) for name, value in model.network(images).items()}
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        terms = model.loss_terms(outputs, objects, images)
        second = terms["class"] + terms["box"]
    found = tape.gradient(second, outputs)
    assert found["objectness"] is None and found["refinements"] is None
    assert float(tf.norm(found["logits"])) > 0 and float(tf.norm(found["deltas"])) > 0


def test_negatives_of_an_image_without_objects(model):
    """Three as in SSD, so that it teaches something; none in the release."""
    images, none = scenes.batch([])
    outputs = model.network(images)
    assert float(model.loss_terms(outputs, none, images)["anchor_class"]) > 0
    release = RefineDet(**{**RefineDet.tiny(), "empty_negatives": 0})
    assert sum(map(float, release.loss_terms(outputs, none, images).values())) == 0


def test_bad_arguments_are_one_line():
    for change, words in (
        ({"sizes": ((32,), (64,))}, "sizes must have 3 entries, one for every map, got 2"),
        ({"multiple": 16}, "multiple must be one of the last map's stride, 32, got 16"),
        ({"backbone": "vgg"}, "backbone must be one of"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            RefineDet(**{**RefineDet.tiny(), **change})
        assert "\n" not in str(error.value)
