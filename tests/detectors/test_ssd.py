"""SSD: published counts; outputs made from the right answers; matching, mining and losses as loops in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet import coders
from kerasdet.detectors import SSD, ssd
from kerasdet.layers.start import weights_expected
from kerasdet.targets import assign
from tests.contract import scenes

OBJECTS = [(12, 20, 60, 70, 0), (50, 8, 90, 40, 1)]

# Published forms: arguments, default boxes, weights of the backbone, and all weights and trainable ones by the number
# of outputs, which counts the background. Norms of the released networks train.
FORMS = {
    "SSD300": ({}, 8732, 20_483_904, {21: (26_285_486,) * 2, 81: (34_305_206,) * 2, 91: (35_641_826,) * 2}),
    "SSD512": (ssd.SSD512, 24564, 20_483_904, {21: (27_188_676,) * 2, 81: (36_038_196,) * 2, 91: (37_513_116,) * 2}),
    "SSDLite320 MobileNetV3": (
        ssd.SSDLITE_V3,
        3234,
        1_639_632,
        {21: (2_502_804, 2_469_860), 81: (3_334_404, 3_301_460), 91: (3_473_004, 3_440_060)},
    ),
    "SSDLite MobileNetV2": (
        {**ssd.SSDLITE_V2, "norm": "batch"},
        1917,
        2_257_984,
        {21: (3_406_585, 3_355_833), 81: (4_387_765, 4_337_013), 91: (4_551_295, 4_500_543)},
    ),
}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    return SSD(**SSD.tiny())


@pytest.mark.parametrize("form", FORMS)
def test_published_counts(form):
    arguments, boxes, backbone, weights = FORMS[form]
    first = min(weights)
    size = arguments.get("resize", ("stretch", 300, 300))[1:]
    # The weights are the same at any side: of the largest network, one for which there is least to compute.
    with weights_expected():
        model = SSD(first - 1, **{**arguments, "resize": ("stretch", *((257, 257) if size == (512, 512) else size))})
    assert sum(model.anchors.counts(size)) == boxes
    assert model.backbone.count_params() == backbone
    head = sum(np.prod(v.shape) for conv in model.class_head.predictors for v in conv.weights)
    for outputs, (whole, trainable) in weights.items():
        more = head // first * (outputs - first)  # predictors have as many weights for every output
        assert model.count_params() + more == whole
        assert sum(np.prod(v.shape) for v in model.trainable_variables) + more == trainable


def test_maps_are_as_large_as_the_boxes_expect(model):
    images, _ = scenes.batch(OBJECTS)
    for side in (64, 96, 100, 45):
        pixels = tf.zeros([1, side, side + 32, 3])
        size = [tuple(x.shape[1:3]) for x in model.features({**images, "pixels": pixels})]
        assert size == model.anchors.grids((side, side + 32))


def right_answers(model, images, objects, certainty=12.0):
    """Outputs that say what the targets are."""
    grid = model.anchors(images["pixels"].shape[1:3])
    match = assign.one_to_one(grid, objects, model.positive_iou)
    logits = tf.one_hot(match.classes + 1, model.num_classes + 1, on_value=certainty, off_value=-certainty)
    return {"logits": logits, "deltas": coders.encode(grid, match.boxes, coders.WEIGHTS)}


@pytest.mark.parametrize("scores", ssd.SCORES)
def test_right_answers_cost_nothing_and_wrong_ones_more(scores):
    model = SSD(**{**SSD.tiny(), "scores": scores})
    images, objects = scenes.batch(OBJECTS)
    right = right_answers(model, images, objects)
    cost = scenes.costs(model, right, images, objects)
    assert cost(logits=tf.roll(right["logits"], 1, axis=-1))["class"] > 5
    found = model.detections(right, images)
    assert int(found["counts"][0]) == len(OBJECTS)
    got = {int(k): box for k, box in zip(found["classes"][0], found["boxes"][0].numpy(), strict=True) if k >= 0}
    for *box, kind in OBJECTS:
        np.testing.assert_allclose(got[kind], box, atol=1e-3)


@pytest.mark.parametrize("scores", ssd.SCORES)
def test_losses_against_the_paper_in_numpy(scores):
    """Equations 1 to 3: three hardest backgrounds for every positive of an image, sums over the batch's positives."""
    model = SSD(**{**SSD.tiny(), "scores": scores})
    images, objects = scenes.batch(OBJECTS, [(5, 40, 50, 90, 1), (0, 0, 96, 30, 0, True)], [], [], ids=[0, 1, 2, -1])
    rng = np.random.default_rng(4)
    grid = model.anchors((scenes.SIDE, scenes.SIDE))
    match = assign.one_to_one(grid, objects, 0.5, images["windows"])
    indices, classes = match.indices.numpy(), match.classes.numpy()
    logits, deltas = rng.normal(0, 2, [4, len(grid), 3]), rng.normal(0, 1, [4, len(grid), 4])
    wanted = coders.encode(grid, match.boxes, coders.WEIGHTS).numpy()
    assert (indices == assign.IGNORE).any()
    entropy = box = 0.0
    for i in range(3):
        negatives = []
        for a in range(len(grid)):
            truth = np.eye(3)[classes[i, a] + 1]
            if scores == "softmax":
                loss = np.log(np.exp(logits[i, a]).sum()) - logits[i, a] @ truth
            else:
                loss = sum(np.log1p(np.exp(z)) - z * t for z, t in zip(logits[i, a], truth, strict=True))
            if indices[i, a] >= 0:
                entropy += loss
                box += sum(d * d / 2 if d < 1 else d - 0.5 for d in np.abs(deltas[i, a] - wanted[i, a]))
            elif indices[i, a] == assign.BACKGROUND:
                negatives.append(loss)
        count = 3 * max((indices[i] >= 0).sum(), 1)
        entropy += sum(sorted(negatives, reverse=True)[:count])
    positives = (indices[:3] >= 0).sum()
    outputs = {"logits": tf.constant(logits, tf.float32), "deltas": tf.constant(deltas, tf.float32)}
    terms = model.loss_terms(outputs, objects, images)
    assert float(terms["class"]) == pytest.approx(entropy / positives, rel=1e-4)
    assert float(terms["box"]) == pytest.approx(box / positives, rel=1e-4)


def test_outputs_of_classes_are_named_for_fine_tuning(model):
    """Anchor by anchor, the background first."""
    assert model.class_outputs == ("background", "square", "disc")
    assert len(model.class_heads) == 3
    for i, conv in enumerate(model.class_head.predictors):
        assert model.class_heads[i] == f"class_head/predictors/{i}"
        assert conv.kernel.shape[-1] == model.anchors.per_cell[i] * 3


def test_a_light_form_detects():
    """Separable heads and extra layers, TensorFlow's boxes and sigmoids."""
    light = {**ssd.SSDLITE_V2, "backbone": {"name": "resnet18", "width": 16}, "norm": "batch"}
    extras = tuple((16, 3, 2, "same") for _ in range(4))
    model = SSD(["square", "disc"], **{**light, "extras": extras, "resize": ("keep",), "multiple": 32})
    images, objects = scenes.batch(OBJECTS)
    assert model.anchors.per_cell == [3, 6, 6, 6, 6, 6]
    outputs = model.network(images, training=True)
    assert outputs["logits"].shape == (1, len(model.anchors((scenes.SIDE, scenes.SIDE))), 3)
    loss = sum(map(float, model.loss_terms(outputs, objects, images).values()))
    assert 0 < loss < np.inf


def test_bad_arguments_are_one_line():
    for change, words in (
        ({"scores": "linear"}, "scores must be one of"),
        ({"scales": (0.1, 0.2)}, "scales must have 4 entries for 3 maps, got 2"),
        ({"ratios": ((2,),)}, "ratios must have 3 entries"),
        ({"steps": (8, 16)}, "steps must have 3 entries"),
        ({"backbone": "vgg"}, "backbone must be one of"),
        ({"backbone": "mobilenet_v3_large", "backbone_weights": "imagenet"}, "MobileNetV3 loads no weights"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            SSD(**{**SSD.tiny(), **change})
        assert "\n" not in str(error.value)
