"""Views: tiles cover the picture and overlap; tiled, mirrored and rescaled views find the picture's own objects."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import data, views
from kerasdet.data import pipeline, segments
from kerasdet.data import tiles as windowed
from kerasdet.decoding import suppress
from kerasdet.detectors.detector import Detector
from kerasdet.evaluation.evaluator import Evaluator
from kerasdet.export.load import Exported

CLASSES = ("red", "green", "blue")


@pytest.mark.parametrize("height, width, size, overlap", [
    (100, 100, 100, 20), (101, 250, 100, 20), (640, 480, 200, 50), (30, 500, 64, 0), (999, 64, 64, 63), (5, 7, 64, 8),
])  # fmt: skip
def test_windows_cover_and_overlap(height, width, size, overlap):
    found = views.windows(height, width, size, overlap)
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
        views.windows(100, 100, size, overlap)


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
        for x1, y1, x2, y2 in views.windows(90, 150, 64, 26):
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


def found(count, rng, points=0):
    """Detections in a view of 50 x 40 pixels."""
    corners = rng.uniform(0, 20, [count, 2])
    boxes = np.float32(np.concatenate([corners, corners + rng.uniform(1, 20, [count, 2])], 1))
    return {
        "boxes": boxes,
        "scores": np.float32(rng.uniform(size=count)),
        "classes": np.int32(rng.integers(0, 3, count)),
        "keypoints": np.float32(rng.uniform(0, 40, [count, points, 3])),
        "masks": np.float32(rng.uniform(size=[count, 28, 28])),
    }


def test_a_flip_of_a_flip_is_the_identity():
    rng = np.random.default_rng(0)
    view = views.View((0, 0, 50, 40), flip=True, pairs=(1, 0, 2, 4, 3))
    pixels, one = rng.integers(0, 255, [40, 50, 3]), found(6, rng, points=5)
    np.testing.assert_array_equal(view.cut(view.cut(pixels)), pixels)
    assert (view.cut(pixels) != pixels).any()
    np.testing.assert_allclose(view.seen(view.seen(one["boxes"])), one["boxes"], atol=1e-5)
    once, twice = view.in_picture(one), view.in_picture(view.in_picture(one))
    for key, values in one.items():
        np.testing.assert_allclose(twice[key], values, atol=1e-5, err_msg=key)
        assert (key in ("scores", "classes")) == np.array_equal(once[key], values)


def test_a_mirrored_window_by_hand():
    """Of a window 50 wide at (100, 30): 10 from the view's left edge is 10 from the window's right edge, at 140."""
    view = views.View((100, 30, 150, 70), flip=True, pairs=(0, 2, 1))
    points = np.float32([[[10, 5, 0.1], [20, 6, 0.2], [0, 7, 0.3]]])
    mask = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    one = {"boxes": np.float32([[10, 5, 25, 8]]), "keypoints": points, "masks": mask}
    seen = view.in_picture(one)
    np.testing.assert_array_equal(seen["boxes"], [[125, 35, 140, 38]])
    np.testing.assert_array_equal(seen["keypoints"], np.float32([[[140, 35, 0.1], [150, 37, 0.3], [130, 36, 0.2]]]))
    np.testing.assert_array_equal(seen["masks"], [mask[0, :, ::-1]])
    np.testing.assert_array_equal(view.seen(seen["boxes"]), one["boxes"])
    picture = np.random.default_rng(0).integers(0, 255, [90, 200, 3])
    np.testing.assert_array_equal(view.cut(picture)[5:8, 10:25], picture[35:38, 125:140][:, ::-1])


class Blind(Blobs):
    """As `Blobs`, but it sees only what lies left of the middle and has sides of 30 network pixels or more.

    Each box has keypoints in the middle of its left and of its right side, and a mask over its left quarter.
    """

    num_keypoints = 2

    def detections(self, outputs, images):
        found = super().detections(outputs, images)
        x1, y1, x2, y2 = tf.split(found["boxes"], 4, axis=-1)
        middle = (images["windows"][:, None, :1] + images["windows"][:, None, 2:3]) / 2
        kept = ((x2 <= middle) & (x2 - x1 >= 30) & (y2 - y1 >= 30))[..., 0]
        order = tf.argsort(tf.cast(~kept, tf.int32), stable=True)
        found = {
            key: values if key == "counts" else tf.gather(values, order, batch_dims=1) for key, values in found.items()
        }
        x1, y1, x2, y2 = tf.split(found["boxes"], 4, axis=-1)
        scores = found["scores"][..., None]
        points = tf.stack([tf.concat([x, (y1 + y2) / 2, scores], -1) for x in (x1, x2)], 2)
        quarter = tf.concat([tf.ones([1, 1, 28, 7]), tf.zeros([1, 1, 28, 21])], -1) + 0 * scores[..., None]
        counts = tf.reduce_sum(tf.cast(kept, tf.int32), 1)
        return {**found, "counts": counts, "keypoints": points, "masks": quarter}


# Left and large, right and large, left and small, right and small; of the colors 0, 1, 2 in turn.
SIGHTS = [[(10, 10, 50, 50), (100, 20, 140, 60), (10, 60, 30, 80)], [(100, 60, 120, 84)]]
FLIP = ("flip", (1, 0))


@pytest.mark.parametrize("seen, expected", [
    ((), [[0], []]), ((FLIP,), [[0, 1], []]), ((("scale", 2),), [[0, 2], []]), ((("scale", 2), FLIP), [[0, 1, 2], [0]]),
    ((FLIP, ("scale", 1.0)), [[0, 1], []]),
])  # fmt: skip
def test_each_view_shows_what_the_others_do_not(seen, expected):
    """Boxes come back exactly; points keep their sides, and a mask is over the side that was left in its view."""
    model = Blind(CLASSES, resize=("keep",))
    for number, (boxes, kinds) in enumerate(zip(SIGHTS, expected, strict=True)):
        found = model.detect(record(number, boxes).image, above=0.0, views=seen)
        assert sorted(found["classes"]) == kinds and np.all(np.diff(found["scores"]) <= 0)
        for kind, box, points, mask in zip(
            found["classes"], found["boxes"], found["keypoints"], found["masks"], strict=True
        ):
            x1, y1, x2, y2 = boxes[kind]
            np.testing.assert_array_equal(box, boxes[kind])
            np.testing.assert_array_equal(points[:, :2], [[x1, (y1 + y2) / 2], [x2, (y1 + y2) / 2]])
            columns = np.flatnonzero(mask.any(0))
            quarter = (x2 - x1) / 4
            ends = (x2 - quarter, x2) if x1 > 75 else (x1, x1 + quarter)
            np.testing.assert_allclose([columns[0], columns[-1] + 1], ends, atol=1.6)


@pytest.mark.parametrize("resize", [("keep",), ("shorter", 180, 400), ("stretch", 90, 150), ("letterbox", 180, 180)])
@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_the_network_sees_the_scale(resize, scale):
    """By any rule; boxes come back as from the plain view."""
    model, pixels = Blobs(CLASSES, resize=resize, multiple=1), record(0, PICTURES[0]).image
    plain, scaled = (model.preprocess(pixels, scale=one) for one in (1.0, scale))
    for key in ("windows", "frames"):
        np.testing.assert_allclose(scaled[key], scale * plain[key], rtol=1e-5, err_msg=key)
    assert scaled["pixels"].shape == (*(int(scale * side) for side in plain["pixels"].shape[:2]), 3)
    images = {**{key: values[None] for key, values in scaled.items()}, "ids": tf.zeros([1], tf.int64)}
    own = model(images)["boxes"][0, :3].numpy()
    seen = model._in_pixels(pixels[None], scale=scale)["boxes"][0, :3].numpy()
    np.testing.assert_allclose(
        seen * np.tile(scaled["frames"][:2], 2) + np.tile(scaled["frames"][2:], 2), own, atol=1e-3
    )


def test_views_in_tiles_by_a_slow_merge():
    """Every window, plain and mirrored, at both sizes, in the order of their scores."""
    model = Blobs(CLASSES, resize=("keep",))
    pixels = record(0, PICTURES[0]).image
    every = []
    for x1, y1, x2, y2 in views.windows(90, 150, 64, 26):
        for flip, scale in ((False, 1), (False, 2), (True, 1), (True, 2)):
            window = pixels[y1:y2, x1:x2][:, :: -1 if flip else 1]
            seen = tf.image.resize(window, [scale * (y2 - y1), scale * (x2 - x1)]).numpy()
            part = model.detect(seen, above=0.0)
            for box, score, kind in zip(part["boxes"] / scale, part["scores"], part["classes"], strict=True):
                box = [x2 - x1 - box[2], box[1], x2 - x1 - box[0], box[3]] if flip else box
                every.append((-score, kind, np.float32(box) + [x1, y1, x1, y1]))
    kept = []
    for score, kind, box in sorted(every, key=lambda one: one[0]):
        if all(kind != other or iou(box, better) <= 0.5 for _, other, better in kept):
            kept.append((score, kind, box))
    found = model.detect(pixels, above=0.0, tiles=(64, 26), views=("flip", ("scale", 2)))
    np.testing.assert_allclose(found["scores"], [-score for score, _, _ in kept], atol=1e-6)
    np.testing.assert_array_equal(found["classes"], [kind for _, kind, _ in kept])
    np.testing.assert_allclose(found["boxes"], [box for _, _, box in kept], atol=1e-4)


@pytest.mark.parametrize("tiles", [None, (64, 26)])
def test_evaluation_through_views(tiles):
    """The results are those of `detect`; the loss is that of the plain views."""
    made = dataset(
        [record(i, boxes, keypoints=np.ones([len(boxes), 2, 3], np.float32)) for i, boxes in enumerate(SIGHTS)]
    )
    made.keypoints = ("left", "right")
    model, seen = Blind(CLASSES, resize=("keep",)), (("scale", 2), FLIP)
    evaluator = Evaluator(model, made, batch_size=2, tiles=tiles, sigmas=0.05, views=seen)
    metrics = evaluator()
    assert metrics["loss"] == pytest.approx(2.0)
    if tiles is None:
        assert metrics["AP"] == pytest.approx(1.0)
    for r in made.records:
        found = model.detect(r.image, above=0.0, tiles=tiles, views=seen)
        results = [one for one in evaluator.results if one["image_id"] == r.id]
        assert len(results) == len(found["scores"]) > 0
        for one, box, points, score in zip(results, found["boxes"], found["keypoints"], found["scores"], strict=True):
            np.testing.assert_allclose(one["bbox"], [*box[:2], *(box[2:] - box[:2])], atol=1e-4)
            places = np.reshape(one["keypoints"], [2, 3])[:, :2] + 0.5  # COCO's points are of pixels' middles
            np.testing.assert_allclose(places, points[:, :2], atol=1e-3)
            assert one["score"] == pytest.approx(score)


class Repeats(Blobs):
    """Finds its proposals."""

    needs_proposals = True

    def detections(self, outputs, images):
        boxes = images["proposals"]
        scores = (1 + boxes[..., 0]) / 1000
        return suppress.per_class(boxes, scores, tf.zeros_like(scores, tf.int32), 3, 0.5, 1e-6, 10)


def test_proposals_follow_the_views():
    """Mapped to each view and back, they meet themselves."""
    model, pixels = Repeats(CLASSES, resize=("keep",)), record(0, []).image
    boxes = np.float32([[100, 20, 140, 60], [10, 10, 50, 50]])
    found = model.detect(pixels, above=0.0, proposals=boxes, views=("flip", ("scale", 2)))
    np.testing.assert_allclose(found["boxes"][np.argsort(-found["boxes"][:, 0])], boxes, atol=1e-4)


@pytest.mark.parametrize("seen, points, line", [
    (("turn",), 0, r"views are of \(\"scale\", factor\), .* got 'turn'"), ((("scale",),), 0, "got .'scale',"),
    ((("scale", -1),), 0, "got .'scale', -1"), (("scale", 1.5), 0, "got 'scale'"), ((3,), 0, "got 3"),
    (("flip",), 2, "a flip changes left and right of 2 keypoints: give .'flip', pairs.* got"),
    ((("flip", (0, 1, 2)),), 2, "give .'flip', pairs"), ((("flip", (1, 2, 0)),), 3, "give .'flip', pairs"),
])  # fmt: skip
def test_views_that_make_no_sense(seen, points, line):
    with pytest.raises(ValueError, match=line) as error:
        views.kinds(seen, points)
    assert "\n" not in str(error.value)


def test_an_exported_file_takes_flips_but_no_scales():
    def ask(pixels):
        bright = (pixels[0, :, :, 0] > 200).any(0)
        x1, x2 = (np.flatnonzero(bright)[[0, -1]] + [0, 1]) / pixels.shape[2]
        boxes = np.float32([[[0, x1, 1, x2]]])
        return {
            "detection_boxes": boxes, "detection_scores": np.float32([[0.5]]),
            "detection_classes": np.float32([[0]]), "num_detections": np.float32([1]),
        }  # fmt: skip

    facts = {
        "classes": CLASSES, "suppression": 0.5, "needs_proposals": False, "needs_masks": False, "num_keypoints": 0,
    }  # fmt: skip
    opened, made = Exported(facts, ask), dataset([record(0, [(10, 10, 30, 30)])])
    pixels = made.records[0].image
    np.testing.assert_allclose(opened.detect(pixels, views=("flip",))["boxes"], [[10, 0, 30, 90]], atol=1e-4)
    with pytest.raises(ValueError, match="an exported file resizes by itself: give no scales"):
        opened.detect(pixels, views=(("scale", 2),))
    with pytest.raises(ValueError, match="an exported file resizes by itself: give no scales") as error:
        Evaluator(opened, made, views=(("scale", 2),))
    assert "\n" not in str(error.value)
