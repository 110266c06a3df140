"""EfficientDet: published counts; right answers; the BiFPN's wiring and fusions; stochastic depth; one-line faults."""

import collections

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet import coders
from kerasdet.detectors import EfficientDet, efficientdet
from kerasdet.layers import bifpn
from tests.contract import scenes

OBJECTS = [(12, 20, 60, 70, 0), (50, 8, 90, 40, 1)]

# Weights that train, all weights, multiply-adds in billions and anchors of 90 classes (table 2; the release).
PUBLISHED = {
    "d0": (3_880_067, 3_927_203, 2.54, 49_104),
    "d1": (6_625_898, 6_697_354, 6.10, 76_725),
    "d2": (8_097_039, 8_178_815, 11.0, 110_484),
    "d3": (12_032_296, 12_146_600, 24.9, 150_381),
    "d4": (20_723_675, 20_890_987, 55.2, 196_416),
    "d5": (33_653_315, 33_880_707, 135, 306_900),
    "d6": (51_871_782, 52_183_766, 226, 306_900),
    "d7": (51_871_782, 52_183_766, 325, 441_936),
    "d7x": (77_147_166, 77_564_894, 410, 442_260),
}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    return EfficientDet(**EfficientDet.tiny())


def drawn(form):
    """A form's model as a graph that is never run, so that no number of it is drawn; and the graph."""
    graph = tf.Graph()
    with keras.StatelessScope(initialize_variables=False), graph.as_default():
        model = EfficientDet(90, **efficientdet.FORMS[form])
    return model, graph


def multiply_adds(graph):
    """Of a graph's convolutions, and half a one for each other product or sum of a number, as the release counts."""
    convolutions, others = 0, collections.Counter()
    for operation in graph.get_operations():
        if operation.outputs and operation.outputs[0].shape.is_fully_defined():
            size = operation.outputs[0].shape.num_elements()
            if operation.type in ("Conv2D", "DepthwiseConv2dNative"):
                cells = operation.inputs[1].shape[: 3 if operation.type == "Conv2D" else 2]
                convolutions += size * cells.num_elements()
            else:
                others[operation.type] += size
    # TensorFlow's swish has a second product, by 1.
    return convolutions + (others["Mul"] + others["AddV2"] + others["AddN"] - others["Sigmoid"]) / 2


@pytest.mark.parametrize(
    "form", ["d0", *(pytest.param(name, marks=pytest.mark.slow) for name in PUBLISHED if name != "d0")]
)
def test_published_counts(form):
    trainable, whole, products, count = PUBLISHED[form]
    model, graph = drawn(form)
    assert sum(np.prod(v.shape) for v in model.trainable_variables) == trainable
    assert sum(np.prod(v.shape) for v in model.weights) == whole
    assert multiply_adds(graph) == pytest.approx(products * 1e9, rel=0.01)
    assert sum(model.anchors.counts(efficientdet.FORMS[form]["resize"][1:])) == count


def test_lite_forms_have_neither_swish_nor_gates():
    model, graph = drawn("lite0")
    kinds = collections.Counter(one.type for one in graph.get_operations())
    assert kinds["Sigmoid"] == 1 and kinds["Mean"] == 0  # that of the scores
    assert model.nms == "hard" and model.resize == ("corner", 320, 320)


def right_answers(model, images, objects, certainty=12.0):
    """Outputs that say what the targets are."""
    grid, match = model.match(objects, images)
    logits = tf.one_hot(match.classes, model.num_classes, on_value=certainty, off_value=-certainty)
    return {"logits": logits, "deltas": coders.encode(grid, match.boxes)}


@pytest.mark.parametrize("nms", ["soft", "hard"])
def test_right_answers_cost_nothing_and_wrong_ones_more(nms):
    model = EfficientDet(**{**EfficientDet.tiny(), "nms": nms})
    images, objects = scenes.batch(OBJECTS)
    right = right_answers(model, images, objects)
    cost = scenes.costs(model, right, images, objects)
    assert cost(logits=tf.roll(right["logits"], 1, axis=-1))["class"] > 5
    found = model.detections(right, images)
    for *box, kind in OBJECTS:
        best = np.flatnonzero(found["classes"][0].numpy() == kind)[0]
        np.testing.assert_allclose(found["boxes"][0, best], box, atol=1e-3)
        assert found["scores"][0, best] > 0.99


def test_a_cell_is_wired_as_in_the_paper():
    """Figure 2d for levels 3 to 7, whose maps are 0 to 4: P6', P5', P4' downward, P3 to P7 upward."""
    assert bifpn.wiring(5) == [
        (3, (3, 4)), (2, (2, 5)), (1, (1, 6)), (0, (0, 7)),
        (1, (1, 7, 8)), (2, (2, 6, 9)), (3, (3, 5, 10)), (4, (4, 11)),
    ]  # fmt: skip
    for count in (3, 4, 6):
        nodes = bifpn.wiring(count)
        assert all(len(inputs) > 1 for _, inputs in nodes) and len(nodes) == 2 * (count - 1)


@pytest.mark.parametrize("fusion", bifpn.FUSIONS)
def test_fusions(fusion):
    """Section 3.3: sums with weights that are at least 0 and sum up to 1, or without."""
    node = bifpn.Node(0, (0, 1, 2), [4] * 3, 4, fusion, "silu", norm="batch", dtype="float32")
    maps = [tf.constant(np.random.default_rng(i).normal(size=(1, 2, 2, 4)), tf.float32) for i in range(3)]
    w = np.float32([0.7, -0.4, 1.9])
    weights = [1, 1, 1]
    if fusion != "sum":
        node.scale.assign(w)
        weights = np.exp(w) / np.exp(w).sum() if fusion == "softmax" else np.maximum(w, 0) / (2.6 + 1e-4)
    expected = sum(one.numpy() * weight for one, weight in zip(maps, weights, strict=True))
    np.testing.assert_allclose(node.fused(maps), expected, rtol=1e-5, atol=1e-6)


def test_maps_are_as_large_as_the_anchors_expect(model):
    images, _ = scenes.batch(OBJECTS)
    for side in (64, 100, 45):
        pixels = {**images, "pixels": tf.zeros([1, side, side + 31, 3])}
        outputs = model.network(pixels)
        assert outputs["logits"].shape[1] == sum(model.anchors.counts((side, side + 31)))


def test_crowds_hide_the_background_and_padding_does_not(model):
    """As in the release, which pads its squares and learns that nothing lies there."""
    images, objects = scenes.batch([OBJECTS[0], (40, 40, 96, 96, 1, True)])
    _, match = model.match(objects, {**images, "windows": images["windows"] / 2})
    grid = model.anchors((scenes.SIDE, scenes.SIDE)).numpy()
    centers = (grid[:, :2] + grid[:, 2:]) / 2
    small = grid[:, 2] - grid[:, 0] < 40
    ignored = ~match.counted[0].numpy()
    assert ignored[small & (centers > 60).all(axis=1)].all()
    assert not ignored[small & (centers[:, 0] > 60) & (centers[:, 1] < 20)].any()


def test_bad_arguments_are_one_line():
    for change, words in (
        ({"fusion": "mean"}, r"fusion must be one of \('fast', 'softmax', 'sum'\), got 'mean'"),
        ({"levels": (4, 5)}, "a BiFPN of the levels"),
        ({"backbone": "efficientnet"}, "backbone must be one of"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            EfficientDet(**{**EfficientDet.tiny(), **change})
        assert "\n" not in str(error.value)
