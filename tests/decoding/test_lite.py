"""Suppression by TFLite's builtin operators, run by LiteRT, against slow loops."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import ops
from kerasdet.decoding import suppress
from tests.decoding.test_suppress import draw, oracle

interpreters = pytest.importorskip("ai_edge_litert.interpreter", reason="needs ai-edge-litert")

ABOVE, LIMIT, CLASSES = 0.05, 25, 3


def lite(function, *specs):
    """A function as a TFLite model of builtin operators, called with arrays of any length."""
    with ops.portable(lite=True):
        graph = tf.function(function).get_concrete_function(*(tf.TensorSpec(*spec) for spec in specs))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([graph])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    interpreter = interpreters.Interpreter(model_content=converter.convert())
    places = [detail["index"] for detail in interpreter.get_input_details()]

    def run(*arrays):
        for place, array in zip(places, arrays, strict=True):
            interpreter.resize_tensor_input(place, array.shape)
        interpreter.allocate_tensors()
        for place, array in zip(places, arrays, strict=True):
            interpreter.set_tensor(place, array)
        interpreter.invoke()
        outputs = [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
        return tf.nest.pack_sequence_as(graph.structured_outputs, outputs)

    return run


BOXES, SCORES, KINDS = ([2, None, 4], tf.float32), ([2, None], tf.float32), ([2, None], tf.int32)


def batch(rng, count, classes=CLASSES):
    """Whole pixels and tenths: overlaps of just the threshold, equal scores and boxes without area are common."""
    boxes = np.stack([draw(rng, count, 12) for _ in range(2)])
    boxes[:, ::9, 2] = boxes[:, ::9, 0]  # no area
    return boxes, np.float32(rng.integers(0, 11, (2, count)) / 10), np.int32(rng.integers(0, classes, (2, count)))


@pytest.mark.parametrize("iou", [0.3, 0.5])
def test_nms(iou):
    run = lite(lambda boxes, scores: ops.nms(boxes, scores, None, iou, ABOVE, LIMIT), BOXES, SCORES)
    rng = np.random.default_rng(0)
    for count in (1, 2, 7, 60, 200):
        boxes, scores, _ = batch(rng, count)
        boxes[0, 0, 2] = np.inf
        indices, picked, valid = run(boxes, scores)
        for b in range(2):
            some = np.where(np.isfinite(boxes[b]).all(axis=1), scores[b], 0)
            keep = oracle(boxes[b], some, np.zeros(count, int), iou, ABOVE, LIMIT)
            assert valid[b].sum() == len(keep) and (~valid[b, len(keep) :]).all()
            np.testing.assert_array_equal(indices[b, : len(keep)], keep)
            np.testing.assert_array_equal(picked[b, : len(keep)], scores[b][keep])


@pytest.mark.parametrize(("iou", "kinds"), [(0.3, CLASSES), (0.5, CLASSES), (0.5, 80)])
def test_per_class(iou, kinds):
    def suppressed(boxes, scores, classes):
        return suppress.per_class(boxes, scores, classes, kinds, iou, ABOVE, LIMIT)

    run = lite(suppressed, BOXES, SCORES, KINDS)
    rng = np.random.default_rng(1)
    for count in (1, 2, 7, 60, 200):
        boxes, scores, classes = batch(rng, count, kinds)
        scores[1] *= count != 7  # an empty picture
        found = run(boxes, scores, classes)
        for b in range(2):
            keep = oracle(boxes[b], scores[b], classes[b], iou, ABOVE, LIMIT)
            rest = LIMIT - len(keep)
            assert found["counts"][b] == len(keep)
            np.testing.assert_array_equal(found["boxes"][b], np.pad(boxes[b][keep], ((0, rest), (0, 0))))
            np.testing.assert_array_equal(found["scores"][b], np.pad(scores[b][keep], (0, rest)))
            np.testing.assert_array_equal(found["classes"][b], np.pad(classes[b][keep], (0, rest), constant_values=-1))


def test_a_batch_of_unknown_size():
    """As in a file that takes pictures of any size: one image."""
    specs = [([None, *shape[1:]], kind) for shape, kind in (BOXES, SCORES, KINDS)]
    run = lite(lambda b, s, c: suppress.per_class(b, s, c, CLASSES, 0.5, ABOVE, LIMIT), *specs)
    boxes, scores, classes = (values[:1] for values in batch(np.random.default_rng(3), 60))
    keep = oracle(boxes[0], scores[0], classes[0], 0.5, ABOVE, LIMIT)
    np.testing.assert_array_equal(run(boxes, scores, classes)["boxes"][0, : len(keep)], boxes[0][keep])


def test_within_classes():
    """Where every class has boxes of its own; scores differ, since of equal ones any may come first."""

    def suppressed(boxes, scores):
        return suppress.within_classes(boxes, scores, 0.45, ABOVE, LIMIT)

    run = lite(suppressed, ([2, None, CLASSES, 4], tf.float32), ([2, None, CLASSES], tf.float32))
    rng = np.random.default_rng(2)
    for count in (1, 5, 80):
        boxes = np.stack([np.stack([draw(rng, count, 12) for _ in range(CLASSES)], axis=1) for _ in range(2)])
        boxes[:, ::4, :, 3] = boxes[:, ::4, :, 1]  # no area
        scores = np.float32(rng.permutation(2 * count * CLASSES).reshape(2, count, CLASSES)) / (2 * count * CLASSES)
        found = run(boxes, scores)
        kinds = np.tile(np.arange(CLASSES), count)
        for b in range(2):
            keep = oracle(boxes[b].reshape(-1, 4), scores[b].ravel(), kinds, 0.45, ABOVE, LIMIT)
            assert found["counts"][b] == len(keep)
            np.testing.assert_array_equal(found["boxes"][b, : len(keep)], boxes[b].reshape(-1, 4)[keep])
            np.testing.assert_array_equal(found["classes"][b, : len(keep)], kinds[keep])
            assert (found["classes"][b, len(keep) :] == -1).all()
