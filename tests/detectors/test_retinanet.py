"""RetinaNet: outputs made from the right answers give a loss near 0 and the objects back; oracles from the paper."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet import coders, data
from kerasdet.data import pipeline
from kerasdet.detectors import RetinaNet
from kerasdet.evaluation import coco
from kerasdet.targets import assign
from tests.contract import scenes

OBJECTS = [(12, 20, 60, 70, 0), (50, 8, 90, 40, 1)]


@pytest.fixture(scope="module")
def model():
    return RetinaNet(**{**RetinaNet.tiny(), "octaves": 3})


def right_answers(model, images, objects, certainty=8.0):
    """Outputs that say what the targets are."""
    grid = model.anchors(images["pixels"].shape[1:3])
    match = assign.by_iou(grid, objects, model.positive_iou, model.negative)
    logits = tf.one_hot(match.classes, model.num_classes, on_value=certainty, off_value=-certainty)
    return {"logits": logits, "deltas": coders.encode(grid, match.boxes)}


def test_mean_initial_score_is_the_prior():
    """Section 4.1: the class head starts at pi, and the box head at 0, which is no prior's business."""
    keras.utils.set_random_seed(0)
    model = RetinaNet(**{**RetinaNet.tiny(), "prior": 0.02})
    images, _ = scenes.batch(OBJECTS)
    outputs = model.network(images)
    assert float(tf.reduce_mean(tf.sigmoid(outputs["logits"]))) == pytest.approx(0.02, rel=0.2)
    np.testing.assert_allclose(model.class_head.predictor.bias, -np.log(0.98 / 0.02), rtol=1e-6)
    np.testing.assert_array_equal(model.box_head.predictor.bias, 0)


def test_right_answers_cost_nothing_and_wrong_ones_more(model):
    images, objects = scenes.batch(OBJECTS)
    right = right_answers(model, images, objects)
    cost = scenes.costs(model, right, images, objects)
    assert cost(logits=tf.roll(right["logits"], 1, axis=-1))["class"] > 5
    losses = [cost(logits=right["logits"] * s)["class"] for s in (1.0, 0.5, 0.0)]
    assert losses[0] < losses[1] < losses[2]


@pytest.mark.parametrize("box_loss", ["iou", "giou", "diou", "ciou", "smooth_l1"])
def test_every_box_loss_falls_toward_the_object(box_loss):
    model = RetinaNet(**{**RetinaNet.tiny(), "box_loss": box_loss})
    images, objects = scenes.batch(OBJECTS)
    right = right_answers(model, images, objects)
    wrong = {**right, "deltas": right["deltas"] + 0.3}
    with tf.GradientTape() as tape:
        tape.watch(wrong["deltas"])
        loss = model.loss_terms(wrong, objects, images)["box"]
    slope = tf.reduce_sum(tape.gradient(loss, wrong["deltas"]) * (right["deltas"] - wrong["deltas"]))
    assert float(loss) > float(model.loss_terms(right, objects, images)["box"])
    assert float(slope) < 0


def test_right_answers_are_detected(model):
    images, objects = scenes.batch(OBJECTS)
    found = model.detections(right_answers(model, images, objects), images)
    assert int(found["counts"][0]) == len(OBJECTS)
    got = {int(k): box for k, box in zip(found["classes"][0], found["boxes"][0].numpy(), strict=True) if k >= 0}
    for *box, kind in OBJECTS:
        np.testing.assert_allclose(got[kind], box, atol=1e-3)


def test_losses_against_the_paper_in_numpy(model):
    """Equation 5 and smooth L1 over the positives, divided by their number in the batch, or by each image's own."""
    images, objects = scenes.batch(OBJECTS, [(5, 40, 50, 90, 1)], [])
    rng = np.random.default_rng(4)
    count = model.anchors((scenes.SIDE, scenes.SIDE)).shape[0]
    logits, deltas = rng.normal(-2, 2, [3, count, 2]), rng.normal(0, 0.5, [3, count, 4])
    grid = model.anchors((scenes.SIDE, scenes.SIDE))
    match = assign.by_iou(grid, objects, 0.5, 0.4, windows=images["windows"])
    indices, classes = match.indices.numpy(), match.classes.numpy()
    wanted = coders.encode(grid, match.boxes).numpy()
    focal, box = np.zeros(3), np.zeros(3)
    for i in range(3):
        for a in range(count):
            if indices[i, a] == assign.IGNORE:
                continue
            for k in range(2):
                p = 1 / (1 + np.exp(-logits[i, a, k]))
                truth = indices[i, a] >= 0 and classes[i, a] == k
                focal[i] += -0.25 * (1 - p) ** 2 * np.log(p) if truth else -0.75 * p**2 * np.log(1 - p)
            if indices[i, a] >= 0:
                for d in np.abs(deltas[i, a] - wanted[i, a]):
                    box[i] += d * d / 2 / 0.11 if d < 0.11 else d - 0.11 / 2
    positives = (indices >= 0).sum(axis=1)
    outputs = {"logits": tf.constant(logits, tf.float32), "deltas": tf.constant(deltas, tf.float32)}
    terms = model.loss_terms(outputs, objects, images)
    assert float(terms["class"]) == pytest.approx(focal.sum() / positives.sum(), rel=1e-4)
    assert float(terms["box"]) == pytest.approx(box.sum() / positives.sum(), rel=1e-4)
    other = RetinaNet(**{**RetinaNet.tiny(), "octaves": 3, "normalizer": "image"})
    per_image = other.loss_terms(outputs, objects, images)
    assert float(per_image["class"]) == pytest.approx((focal / np.maximum(positives, 1)).mean(), rel=1e-4)


def test_bad_arguments_are_one_line():
    for change, words in (
        ({"box_loss": "l3"}, "box_loss must be one of"),
        ({"normalizer": "none"}, "normalizer must be"),
        ({"backbone": "resnet49"}, "backbone must be one of"),
        ({"norm": "layer"}, "norm must be one of"),
        ({"classes": []}, "classes must be a list of one or more"),
        ({"classes": ["a", "a"]}, "classes must be a list of one or more different"),
        ({"resize": ("shortest", 1)}, "resize"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            RetinaNet(**{**RetinaNet.tiny(), **change})
        assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def shapes():
    whole = data.read("shapes", "val")
    return data.Dataset("shapes", whole.classes, whole.records[:80], keypoints=whole.keypoints)


def score(shapes, anchor_shift=0.0, class_shift=0, deltas=1.0):
    """AP50 on `shapes` of a detector that gives the right answers, but for one fault."""
    model = RetinaNet(**{**RetinaNet.tiny(), "classes": list(shapes.classes), "octaves": 3})
    results = []
    for images, objects in pipeline.load(shapes, model.preprocess, 8):
        outputs = right_answers(model, images, objects)
        outputs = {
            "logits": tf.roll(outputs["logits"], class_shift, axis=-1),
            "deltas": outputs["deltas"] * deltas,
        }
        right, model.anchors = model.anchors, lambda size: right(size) + anchor_shift  # noqa: B023
        model.anchors.counts = right.counts
        found = {k: v.numpy() for k, v in model.detections(outputs, images).items()}
        model.anchors = right
        results += coco.results(images["ids"].numpy(), found, shapes)
    return coco.score(coco.ground_truth(shapes), results)["AP50"]


def test_shapes_pass_a_right_detector(shapes):
    assert score(shapes) > 0.99


@pytest.mark.parametrize(
    "fault",
    [{"anchor_shift": 32.0}, {"class_shift": 1}, {"deltas": 0.0}],
    ids=["anchors shifted by half a stride-64 cell", "classes permuted", "no box regression"],
)
def test_shapes_fail_a_wrong_detector(shapes, fault):
    assert score(shapes, **fault) < 0.5
