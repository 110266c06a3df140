"""Kinds of suppression beside the greedy one: what stays, what rides along, what is refused; in exports too."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import boxes as box
from kerasdet.decoding import suppress
from kerasdet.detectors import DETECTORS
from kerasdet.export import saved_model
from kerasdet.load import load
from tests.contract import scenes
from tests.decoding.test_suppress import draw

COUNT, CLASSES = 40, 3


def candidates(seed=0):
    rng = np.random.default_rng(seed)
    boxes = np.stack([draw(rng, COUNT, 24) for _ in range(2)])
    scores = rng.permutation(2 * COUNT).reshape(2, COUNT).astype(np.float32) / (2 * COUNT)
    return boxes, scores, rng.integers(0, CLASSES, (2, COUNT)).astype(np.int32)


def soft(boxes, scores, classes, rescore, above, limit):
    """Takes the best, rescores the others of its class, and goes on."""
    scores, kept = scores.astype(np.float64), []
    alive = scores > above
    overlaps = box.iou(boxes, boxes).numpy().astype(np.float64)
    while alive.any() and len(kept) < limit:
        best = int(np.argmax(np.where(alive, scores, -1)))
        kept.append((best, scores[best]))
        alive[best] = False
        same = alive & (classes == classes[best])
        scores[same] = rescore(scores[same], overlaps[best, same])
        alive &= scores >= above
    return kept


RESCORE = {
    "soft": lambda score, overlap: score * np.exp(-(overlap**2) / 0.5),
    "soft_linear": lambda score, overlap: np.where(overlap > 0.4, score * (1 - overlap), score),
}


@pytest.mark.parametrize("kind", RESCORE)
def test_soft(kind):
    boxes, scores, classes = candidates()
    tags = np.arange(2 * COUNT, dtype=np.float32).reshape(2, COUNT)
    found = suppress.per_class(boxes, scores, classes, CLASSES, 0.4, 0.05, 30, kind, tags=tags)
    for i in range(2):
        kept = soft(boxes[i], scores[i], classes[i], RESCORE[kind], 0.05, 30)
        rows, count = [row for row, _ in kept], len(kept)
        assert found["counts"][i] == count > 10
        np.testing.assert_array_equal(found["tags"][i, :count], tags[i, rows])
        np.testing.assert_array_equal(found["boxes"][i, :count], boxes[i, rows])
        np.testing.assert_array_equal(found["classes"][i, :count], classes[i, rows])
        np.testing.assert_allclose(found["scores"][i, :count], [score for _, score in kept], rtol=1e-5)
        assert not np.any(found["tags"][i, count:]) and not np.any(found["boxes"][i, count:])


def test_none_keeps_the_best_whatever_they_overlap():
    boxes, scores, classes = candidates()
    found = suppress.per_class(boxes, scores, classes, CLASSES, 0.4, 0.5, 30, "none")
    for i in range(2):
        order = np.argsort(-scores[i])[: min(30, (scores[i] > 0.5).sum())]
        assert found["counts"][i] == len(order)
        np.testing.assert_array_equal(found["boxes"][i, : len(order)], boxes[i, order])
        np.testing.assert_array_equal(found["scores"][i, : len(order)], scores[i, order])
        assert not np.any(found["scores"][i, len(order) :])


def test_the_width_of_the_gaussian_is_an_option():
    boxes, scores, classes = candidates()
    wide, narrow = (
        suppress.per_class(boxes, scores, classes, CLASSES, 0.4, 0.05, 30, {"name": "soft", "sigma": sigma})["scores"]
        for sigma in (1e6, 0.1)
    )
    np.testing.assert_allclose(wide, np.sort(scores, axis=1)[:, ::-1][:, :30], rtol=1e-5)
    assert float(tf.reduce_sum(narrow)) < 0.8 * float(tf.reduce_sum(wide))


def test_iou_guided_ranks_by_iou_and_keeps_the_best_score():
    boxes = np.float32([[[0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60], [0, 0, 9, 10]]])
    scores, ious = np.float32([[0.9, 0.3, 0.5, 0.95]]), np.float32([[0.4, 0.8, 0.6, 0.9]])
    classes = np.int32([[0, 0, 0, 1]])
    found = suppress.per_class(boxes, scores, classes, 2, 0.5, 0.05, 4, "iou_guided", ious=ious)
    np.testing.assert_array_equal(found["boxes"][0, :3], boxes[0, [3, 1, 2]])
    np.testing.assert_allclose(found["scores"][0], [0.95, 0.9, 0.5, 0])
    np.testing.assert_allclose(found["ious"][0], [0.9, 0.8, 0.6, 0])
    np.testing.assert_array_equal(found["classes"][0], [1, 0, 0, -1])


@pytest.mark.parametrize("kind, picks", [("voting", "hard"), ("soft_voting", "soft")])
def test_votes_by_a_loop(kind, picks):
    """All boxes of the class that overlap vote, by how much and by their certainty."""
    boxes, scores, classes = candidates(1)
    variances = np.random.default_rng(2).uniform(0.5, 3, (2, COUNT, 4)).astype(np.float32)
    found = suppress.per_class(boxes, scores, classes, CLASSES, 0.4, 0.05, 30, kind, variances=variances)
    plain = suppress.per_class(boxes, scores, classes, CLASSES, 0.4, 0.05, 30, picks)
    np.testing.assert_array_equal(found["scores"], plain["scores"])
    for i in range(2):
        for kept, moved, kind_of in zip(plain["boxes"][i], found["boxes"][i], plain["classes"][i], strict=True):
            if kind_of < 0:
                assert not np.any(moved)
                continue
            overlaps = box.iou(kept[None], boxes[i])[0].numpy().astype(np.float64)
            votes = (overlaps > 0) & (classes[i] == kind_of.numpy()) & (scores[i] > 0.05)
            weights = (np.exp(-((1 - overlaps) ** 2) / 0.02) * votes)[:, None] / variances[i]
            np.testing.assert_allclose(moved, (weights * boxes[i]).sum(0) / weights.sum(0), rtol=1e-4)


def test_within_classes_takes_the_same_from_boxes_of_every_class():
    rng = np.random.default_rng(3)
    boxes = np.stack([np.stack([draw(rng, 20, 30) for _ in range(CLASSES)], axis=1) for _ in range(2)])
    scores = rng.permutation(2 * 20 * CLASSES).reshape(2, 20, CLASSES).astype(np.float32) / (2 * 20 * CLASSES)
    tags = rng.normal(size=(2, 20, CLASSES, 2)).astype(np.float32)
    plain = suppress.within_classes(boxes, scores, 0.45, 0.1, 25)
    found = suppress.within_classes(boxes, scores, 0.45, 0.1, 25, tags=tags)
    for name, values in plain.items():
        np.testing.assert_array_equal(found[name], values)
    flat = [
        suppress.per_class(
            boxes[:, :, k], scores[:, :, k], np.full((2, 20), k, np.int32), CLASSES, 0.45, 0.1, 20, "soft"
        )
        for k in range(CLASSES)
    ]
    together = suppress.within_classes(boxes, scores, 0.45, 0.1, 25, "soft")
    best = np.sort(np.concatenate([one["scores"] for one in flat], axis=1), axis=1)[:, ::-1][:, :25]
    np.testing.assert_allclose(together["scores"], best, rtol=1e-5)


@pytest.mark.parametrize(
    "nms, message",
    [
        ("best", "nms must be one of"),
        ({"name": "soft", "width": 1}, r"takes the options \['floor', 'sigma'\], got \['width'\]"),
        ("iou_guided", "needs ious for every box"),
        (None, "nms must be one of"),
    ],
)
def test_what_a_detector_refuses(nms, message):
    kind = DETECTORS["RetinaNet"]
    with pytest.raises(ValueError, match=message):
        kind(**{**kind.tiny(), "nms": nms})


@pytest.mark.parametrize("name, nms, changed", [("RetinaNet", "voting", "boxes"), ("FasterRCNN", "soft", "scores")])
def test_exports_suppress_alike(name, nms, changed, tmp_path):
    kind = DETECTORS[name]
    arguments = {**kind.tiny(), "above": 0.0001, "limit": 12}
    model = kind(**{**arguments, "nms": nms})
    images, _ = scenes.batch([(20, 30, 70, 75, 1)])
    pixels = images["pixels"][0].numpy().astype(np.uint8)
    wanted = model.detect(pixels, above=0.0)
    greedy = kind(**arguments)
    greedy.set_weights(model.get_weights())
    assert not np.allclose(greedy.detect(pixels, above=0.0)[changed], wanted[changed])
    saved_model.write(model, tmp_path / "served")
    model.export(tmp_path / "model.tflite", format="litert", size=pixels.shape[:2])
    for file in ("served", "model.tflite"):
        found = load(tmp_path / file).detect(pixels, above=0.0)
        np.testing.assert_allclose(found["scores"], wanted["scores"], atol=1e-4)
        np.testing.assert_allclose(found["boxes"], wanted["boxes"], atol=0.05)
