"""IoU-Net: published counts, the boxes it learns from, its loss as a loop in NumPy, and detections that fit better."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet.detectors import IoUNet, iou_net
from kerasdet.layers.start import weights_expected
from kerasdet.targets import jitter, sample
from tests.contract import scenes

OBJECTS = [(12, 20, 60, 70, 0), (50, 8, 90, 40, 1)]
SHARED = {"shared": True}

# Forms on ResNet-50-FPN: classes, arguments, all weights and trainable ones.
FORMS = {
    "own layers, VOC": (20, {}, 55_419_981, 55_366_861),
    "own layers, COCO": (80, {}, 55_788_981, 55_735_861),
    "shared layers, VOC": (20, SHARED, 41_524_301, 41_471_181),
    "shared layers, COCO": (80, SHARED, 41_893_301, 41_840_181),
}


@pytest.mark.parametrize("form", FORMS)
def test_counts(form):
    classes, arguments, whole, trainable = FORMS[form]
    with weights_expected():
        model = IoUNet(classes, norm="batch", resize=("keep",), **arguments)
    assert model.count_params() == whole
    assert sum(np.prod(v.shape) for v in model.trainable_variables) == trainable
    assert model.roi["layer"] == "precise" and model.nms == "iou_guided"


def make(**changes):
    keras.utils.set_random_seed(3)
    return IoUNet(**{**IoUNet.tiny(), **changes})


@pytest.fixture(scope="module")
def model():
    return make()


def overlap(a, b):
    width, height = max(0, min(a[2], b[2]) - max(a[0], b[0])), max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (areas - width * height)


def drawn(count, size, seed=0):
    return tf.random.stateless_uniform([count, size], [seed, 1])


def test_boxes_lie_around_the_objects():
    """Each has the overlap that it is said to have, with an object that is one; none leaves the picture."""
    pictures = [*OBJECTS, (0, 0, 96, 96, 1, True)], [], [(60, 60, 96, 96, 1)]
    images, objects = scenes.batch(*pictures)
    boxes, numbers, overlaps = jitter.around(
        objects, images["windows"], tf.reshape(drawn(3, 200 * jitter.DRAWS), [3, 200, jitter.DRAWS])
    )
    assert set(numbers[0].numpy()) == {0, 1} and set(numbers[2].numpy()) == {0}
    assert (boxes >= 0).numpy().all() and (boxes <= scenes.SIDE).numpy().all()
    assert (overlaps[1] == -1).numpy().all()
    for i in (0, 2):
        wanted = [overlap(b, pictures[i][n]) for b, n in zip(boxes[i].numpy(), numbers[i].numpy(), strict=True)]
        np.testing.assert_allclose(overlaps[i], wanted, atol=1e-5)


def test_they_are_spread_evenly_over_their_overlap():
    """Section 3.1: from 0.5 to 1, although some overlaps come about more often than others."""
    images, objects = scenes.batch(OBJECTS)
    count = iou_net.CANDIDATES
    _, _, overlaps = jitter.around(objects, images["windows"], tf.reshape(drawn(1, count * 6), [1, count, 6]))
    rows, valid = jitter.evenly(overlaps, tf.reshape(drawn(1, 8000, 1), [1, 4000, 2]))
    assert bool(valid[0])
    found = np.histogram(tf.gather(overlaps, rows, batch_dims=1), bins=10, range=(0.5, 1.0))[0]
    assert found.sum() == 4000 and abs(found / 400 - 1).max() < 0.2
    raw = np.histogram(overlaps, bins=10, range=(0.5, 1.0))[0]
    assert raw.max() > 1.5 * raw.min() > 0


def test_nothing_to_draw():
    overlaps = tf.constant([[0.2, -1.0, 0.49], [0.2, 0.7, 0.3]])
    rows, valid = jitter.evenly(overlaps, tf.fill([2, 5, 2], 0.99))
    np.testing.assert_array_equal(valid, [False, True])
    np.testing.assert_array_equal(rows[1], [1] * 5)


def test_the_loss_of_the_branch(model):
    """Smooth L1 of 4 IoU - 3, of the object's own class, over all boxes of images with objects."""
    images, objects = scenes.batch(OBJECTS, [], [OBJECTS[0]], ids=[4, 5, -1])
    outputs = model.network(images)
    seen, ious = [], model.ious
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "ious", lambda *given: seen.append((given, ious(*given))) or seen[-1][1], raising=False)
        loss = model.iou_term(outputs, objects, images)
    ((_, boxes, classes, _), said) = seen[0]
    assert (boxes[1:] == 0).numpy().all() and (classes[1:] == -1).numpy().all()
    each = []
    for box, kind, iou in zip(boxes[0].numpy(), classes[0].numpy(), said[0].numpy(), strict=True):
        label = max(overlap(box, one) for one in OBJECTS if one[4] == kind)
        assert label >= 0.5
        distance = abs((4 * iou - 3) - (4 * label - 3))
        each.append(distance**2 / 2 if distance < 1 else distance - 0.5)
    assert len(each) == model.iou_batch
    np.testing.assert_allclose(loss, np.mean(each), rtol=1e-4)


def test_steps_and_seeds_draw_other_boxes(model):
    """But not other regions: boxes around objects have numbers of their own."""
    images, _ = scenes.batch(OBJECTS)
    kinds = [(0, sample.JITTER, 0), (1, sample.JITTER, 0), (0, sample.JITTER, 1), (0, sample.REGIONS, 0)]
    draws = [sample.keys("random", images["ids"], step, 50, kind, seed).numpy() for step, kind, seed in kinds]
    assert all(np.abs(a - b).max() > 0.1 for i, a in enumerate(draws) for b in draws[:i])


@pytest.mark.parametrize("shared", [False, True])
def test_detections_climb(shared):
    """Refined boxes are predicted to fit better, by the branch itself; scores, classes and their order stay."""
    images, _ = scenes.batch(OBJECTS, [OBJECTS[1]])
    still, moving = (make(refine_steps=steps, shared=shared, above=0.0) for steps in (0, 4))
    for model in (still, moving):
        model.iou_predictor.kernel.assign(model.iou_predictor.kernel * 20)  # slopes as steep as after training
    outputs = still.network(images)
    before, after = (model.detections(outputs, images) for model in (still, moving))
    for name in ("scores", "classes", "counts"):
        np.testing.assert_array_equal(before[name], after[name])
    real = before["scores"].numpy() > 0
    gain = (after["ious"] - before["ious"]).numpy()[real]
    moved = np.abs(after["boxes"] - before["boxes"]).max(axis=-1)[real]
    assert real.sum() > 10 and moved.max() > 0.5
    assert gain.mean() > 1e-3 and gain.min() > 0
    kept = moving.ious(outputs["features"], before["boxes"], before["classes"])
    np.testing.assert_allclose(before["ious"].numpy()[real], np.maximum(kept, 0)[real], atol=1e-5)


def test_each_class_has_an_iou(model):
    images, _ = scenes.batch(OBJECTS)
    outputs, box = model.network(images), tf.constant([[[12.0, 20, 60, 70]] * 3])
    every = model.iou_predictor(model.on_regions(model.iou_head, outputs["features"], box, model.roi_size))
    found = model.ious(outputs["features"], box, tf.constant([[0, 1, -1]]))
    np.testing.assert_allclose(found[0], [(every[i, k] + 3) / 4 for i, k in enumerate((1, 2, 0))], rtol=1e-5)


def test_other_layers_have_no_gradient_for_boxes():
    with pytest.raises(ValueError, match="roi_layer must be 'precise' where boxes are refined, got 'align'"):
        make(roi_layer="align")
    assert make(roi_layer="align", refine_steps=0).roi["layer"] == "align"
