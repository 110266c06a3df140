"""Tiles: they cover the picture, they overlap, and their objects are those of the picture."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import data, tiles
from kerasdet.data import pipeline, segments
from kerasdet.data import tiles as windowed
from kerasdet.decoding import suppress
from kerasdet.detectors.detector import Detector
from kerasdet.evaluation.evaluator import Evaluator

CLASSES = ("red", "green", "blue")


@pytest.mark.parametrize("height, width, size, overlap", [
    (100, 100, 100, 20), (101, 250, 100, 20), (640, 480, 200, 50), (30, 500, 64, 0), (999, 64, 64, 63), (5, 7, 64, 8),
])  # fmt: skip
def test_windows_cover_and_overlap(height, width, size, overlap):
    found = tiles.windows(height, width, size, overlap)
    covered = np.zeros([height, width], int)
    for x1, y1, x2, y2 in found:
        assert (x2 - x1, y2 - y1) == (min(size, width), min(size, height)) and x1 >= 0 and y1 >= 0
        covered[y1:y2, x1:x2] += 1
    assert covered.shape == (height, width) and covered.min() == 1
    for low, high, side in ((0, 2, width), (1, 3, height)):
        starts, ends = np.unique(found[:, low]), np.unique(found[:, high])
        assert ends[-1] == side and np.all(ends[:-1] - starts[1:] >= overlap)
        # One window less would not do.
        assert len(starts) == 1 or (len(starts) - 1) * (size - overlap) + overlap < side
    assert len({tuple(window) for window in found}) == len(found)


@pytest.mark.parametrize("size, overlap", [(0, 0), (64, 64), (64, -1)])
def test_invalid_sizes_are_refused(size, overlap):
    with pytest.raises(ValueError, match="0 <= overlap < size"):
        tiles.windows(100, 100, size, overlap)


def record(number, boxes, size=(90, 150), **fields):
    """Squares of pure colors on dark noise."""
    pixels = np.random.default_rng(number).integers(0, 60, (*size, 3)).astype(np.uint8)
    for kind, (x1, y1, x2, y2) in enumerate(boxes):
        pixels[y1:y2, x1:x2] = np.eye(3)[kind % 3] * 255
    count = len(boxes)
    defaults = {
        "id": 50 + number,
        "image": pixels,
        "height": size[0],
        "width": size[1],
        "boxes": np.float32(boxes).reshape(-1, 4),
        "classes": np.arange(count, dtype=np.int32) % 3,
        "crowds": np.zeros(count, bool),
        "areas": np.float32([(b[2] - b[0]) * (b[3] - b[1]) for b in boxes]),
    }
    return data.Record(**{**defaults, **fields})


def dataset(records, **options):
    return data.Dataset("made up", CLASSES, records, **options)


def test_windows_of_a_data_set():
    """Cut by half and less an object stays, by more it is ignored, outside it is gone; masks and points are cut too."""
    boxes = [(10, 10, 30, 30), (50, 20, 70, 40), (55, 50, 75, 70), (100, 70, 120, 88)]
    masks = [np.zeros([90, 150], np.uint8) for _ in boxes]
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1 : (x1 + x2) // 2] = 1
    polygon = [[55.0, 50.0, 65.0, 50.0, 65.0, 70.0, 55.0, 70.0]]
    codes = [segments.encode(mask) for mask in masks[:2]] + [polygon, segments.encode(masks[3])]
    points = np.float32([[[x1 + 2, y1 + 2, 2], [x2 - 2, y2 - 2, 1], [0, 0, 0]] for x1, y1, x2, y2 in boxes])
    one = record(0, boxes, segments=codes, keypoints=points)
    made = windowed.dataset(dataset([one], keypoints=("a", "b", "c")), 60, 10)
    assert [tuple(place) for _, place in windowed.places(dataset([one]), 60, 10)] == [r.image.box for r in made.records]
    assert [r.id for r in made.records] == list(range(len(made.records))) and len(made.records) == 6
    for r in made.records:
        x1, y1, x2, y2 = r.image.box
        np.testing.assert_array_equal(r.pixels(), one.image[y1:y2, x1:x2])
        assert (r.height, r.width) == r.pixels().shape[:2]
        expected = []
        for i, box in enumerate(boxes):
            left, top, right, bottom = max(box[0], x1), max(box[1], y1), min(box[2], x2), min(box[3], y2)
            if right > left and bottom > top:
                share = (right - left) * (bottom - top) / ((box[2] - box[0]) * (box[3] - box[1]))
                expected.append((i, [left - x1, top - y1, right - x1, bottom - y1], share < 0.5))
        assert len(r.boxes) == len(expected)
        for j, (i, box, crowd) in enumerate(expected):
            np.testing.assert_array_equal(r.boxes[j], box)
            assert r.classes[j] == i % 3 and r.crowds[j] == crowd
            mask = segments.decode(r.segments[j], r.height, r.width)
            np.testing.assert_array_equal(mask, masks[i][y1:y2, x1:x2])
            assert r.areas[j] == mask.sum()
            for (x, y, seen), (old_x, old_y, old_seen) in zip(r.keypoints[j], points[i], strict=True):
                inside = old_seen > 0 and x1 <= old_x <= x2 and y1 <= old_y <= y2
                assert (x, y, seen) == ((old_x - x1, old_y - y1, old_seen) if inside else (0, 0, 0))


def test_windows_in_batches(tmp_path):
    """From files as from arrays, with masks over what is left of their boxes."""
    boxes = [(10, 10, 30, 30), (50, 20, 70, 40)]
    masks = [segments.encode(np.ones([90, 150], np.uint8))] * 2
    one, file = record(0, boxes, segments=masks), record(0, boxes, segments=masks)
    file.image = str(tmp_path / "one.png")
    tf.io.write_file(file.image, tf.io.encode_png(one.image))
    sets = [windowed.dataset(dataset([r]), 64, 16) for r in (one, file)]
    model = Blobs(CLASSES, resize=("keep",))
    streams = [pipeline.load(one, model.preprocess, 2, masks=True) for one in sets]
    number = 0
    for (images, objects), (again, _) in zip(*streams, strict=True):
        np.testing.assert_array_equal(images["pixels"], again["pixels"])
        for i in range(2):
            r = sets[0].records[number]
            number += 1
            np.testing.assert_array_equal(images["pixels"][i, : r.height, : r.width], r.pixels())
            np.testing.assert_array_equal(objects["boxes"][i, : len(r.boxes)], r.boxes)
            assert objects["masks"][i, : len(r.boxes)].numpy().all()


class Blobs(Detector):
    """Finds for each color the box around its bright pixels, with a score by its size."""

    terms = ("none",)

    def network(self, images, training=False):
        return {"bright": images["pixels"] > 200}

    def loss_terms(self, outputs, objects, images, training=True):
        return {"none": tf.reduce_sum(tf.cast(images["ids"] >= 0, tf.float32))}

    def detections(self, outputs, images):
        corners = []
        for axis in (1, 2):  # across the rows for x, across the columns for y
            held = tf.reduce_any(outputs["bright"], axis)
            at = tf.range(tf.shape(held)[1], dtype=tf.float32)[:, None]
            corners.append([tf.reduce_min(tf.where(held, at, 1e6), 1), tf.reduce_max(tf.where(held, at + 1, 0), 1)])
        (x1, x2), (y1, y2) = corners
        boxes = tf.stack([x1, y1, x2, y2], -1)
        scores = tf.maximum(x2 - x1, 0) * tf.maximum(y2 - y1, 0) / 1e4
        classes = tf.tile(tf.range(3)[None], [tf.shape(scores)[0], 1])
        return suppress.per_class(boxes, scores, classes, 3, self.suppression, 1e-6, 10)


PICTURES = [
    [(10, 10, 30, 30), (50, 20, 70, 42), (100, 60, 124, 80)],
    [(120, 5, 145, 28), (3, 60, 23, 85), (70, 40, 92, 61)],
    [],
    [(0, 0, 20, 21)],
]


def test_detect_in_tiles_equals_a_slow_merge():
    """All detections of all windows, sorted; one that overlaps a better one of its class by more than half is out."""
    model = Blobs(CLASSES, resize=("keep",))
    for number, boxes in enumerate(PICTURES):
        pixels = record(number, boxes).image
        every = []
        for x1, y1, x2, y2 in tiles.windows(90, 150, 64, 26):
            part = model.detect(np.ascontiguousarray(pixels[y1:y2, x1:x2]), above=0.0)
            for box, score, kind in zip(part["boxes"], part["scores"], part["classes"], strict=True):
                every.append((-score, kind, box + [x1, y1, x1, y1]))
        kept = []
        for score, kind, box in sorted(every, key=lambda one: one[0]):
            if all(kind != other or iou(box, better) <= 0.5 for _, other, better in kept):
                kept.append((score, kind, box))
        found = model.detect(pixels, above=0.0, tiles=(64, 26))
        assert len(found["scores"]) == len(kept) >= len(boxes)
        np.testing.assert_allclose(found["scores"], [-score for score, _, _ in kept], atol=1e-6)
        assert sorted(found["classes"]) == sorted(kind for _, kind, _ in kept)
        # Objects are smaller than the overlap, so some window holds each whole, and its score is the best.
        for kind, box in enumerate(boxes):
            best = found["boxes"][found["classes"] == kind][0]
            np.testing.assert_array_equal(best, box)
            assert found["names"][list(found["classes"]).index(kind)] == CLASSES[kind]


def iou(a, b):
    shared = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


def test_detect_in_tiles_keeps_what_is_good_enough():
    model = Blobs(CLASSES, resize=("keep",))
    found = model.detect(record(0, PICTURES[0]).image, above=0.03, tiles=(64, 26))
    assert len(found["scores"]) == 3 and found["scores"].min() >= 0.03


def test_evaluation_through_tiles():
    """Scored on whole pictures: a detector that finds all in the windows has AP 1, and its results are `detect`'s."""
    made = dataset([record(i, boxes) for i, boxes in enumerate(PICTURES)])
    model = Blobs(CLASSES, resize=("keep",))
    evaluator = Evaluator(model, made, batch_size=4, tiles=(64, 26))
    metrics = evaluator()
    assert metrics["AP"] == pytest.approx(1.0) and metrics["loss"] == pytest.approx(4.0, abs=1.0)
    for r in made.records:
        found = model.detect(r.image, above=0.0, tiles=(64, 26))
        results = [one for one in evaluator.results if one["image_id"] == r.id]
        assert len(results) == len(found["scores"])
        for one, box, score, kind in zip(results, found["boxes"], found["scores"], found["classes"], strict=True):
            np.testing.assert_allclose(one["bbox"], [*box[:2], *(box[2:] - box[:2])], atol=1e-4)
            assert one["score"] == pytest.approx(score) and one["category_id"] == kind + 1


class Marked(Blobs):
    """As `Blobs`, with a point in the middle of each box and a mask that covers its left half."""

    def detections(self, outputs, images):
        found = super().detections(outputs, images)
        x1, y1, x2, y2 = tf.split(found["boxes"], 4, axis=-1)
        points = tf.concat([(x1 + x2) / 2, (y1 + y2) / 2, found["scores"][..., None]], -1)
        half = tf.concat([tf.ones([1, 1, 28, 14]), tf.zeros([1, 1, 28, 14])], -1)
        return {**found, "keypoints": points[:, :, None], "masks": half + 0 * found["scores"][..., None, None]}


@pytest.mark.parametrize("seen", [None, (64, 26)])
@pytest.mark.parametrize("resize", [("keep",), ("shorter", 180, 400)])
def test_masks_and_keypoints_come_back_to_the_picture(seen, resize):
    """Through resizing and tiles: the points are the middles of the boxes, the masks their left halves."""
    model = Marked(CLASSES, resize=resize)
    for number, boxes in enumerate(PICTURES):
        pixels = record(number, boxes).image
        found = model.detect(pixels, above=0.0, tiles=seen)
        own, points, masks = found["boxes"], found["keypoints"], found["masks"]
        assert len(own) >= len(boxes) and points.shape == (len(own), 1, 3)
        np.testing.assert_allclose(points[:, 0, :2], (own[:, :2] + own[:, 2:]) / 2, atol=1e-3)
        np.testing.assert_array_equal(points[:, 0, 2], found["scores"])
        assert masks.shape == (len(own), *pixels.shape[:2]) and masks.dtype == bool
        for (x1, y1, x2, y2), mask in zip(own, masks, strict=True):
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            ends = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            np.testing.assert_allclose(ends, [x1, y1, (x1 + x2) / 2, y2], atol=1.6)


def test_bare_pixels_give_masks_and_keypoints():
    model = Marked(CLASSES, resize=("stretch", 200, 200))
    pixels = np.stack([record(number, boxes).image for number, boxes in enumerate(PICTURES)])
    found = {key: values.numpy() for key, values in model(pixels).items()}
    assert found["masks"].shape[2:] == (28, 28)
    for i, count in enumerate(found["counts"]):
        own = found["boxes"][i, :count]
        np.testing.assert_allclose(found["keypoints"][i, :count, 0, :2], (own[:, :2] + own[:, 2:]) / 2, atol=1e-3)
        assert own[:, 2].max(initial=0) <= 151 and count >= len(PICTURES[i])


def test_nothing_found_is_empty():
    found = Marked(CLASSES, resize=("keep",)).detect(np.zeros([50, 70, 3], np.uint8), tiles=(32, 4))
    assert found["masks"].shape == (0, 50, 70) and found["keypoints"].shape == (0, 1, 3) and found["names"] == []
