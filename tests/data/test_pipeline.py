"""Batches: order, resuming, padding, coordinates, masks."""

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools import mask as rle

from kerasdet import contract, data, images
from kerasdet.data import pipeline

CLASSES = ("a", "b", "c")
NAMES = ("left eye", "right eye", "nose")


def record(number, size=(40, 60), count=2, **fields):
    """A picture of noise with a white rectangle for each object."""
    rng = np.random.default_rng(number)
    height, width = size
    pixels = rng.integers(0, 60, (height, width, 3)).astype(np.uint8)
    boxes = np.zeros([count, 4], np.float32)
    for i in range(count):
        x, y = 2 + 25 * i + rng.integers(0, 6), rng.integers(2, 10)
        boxes[i] = [x, y, x + rng.integers(8, 16), y + rng.integers(8, 24)]
        pixels[int(boxes[i, 1]) : int(boxes[i, 3]), int(boxes[i, 0]) : int(boxes[i, 2])] = 255
    defaults = {
        "id": 100 + 7 * number,
        "image": pixels,
        "height": height,
        "width": width,
        "boxes": boxes,
        "classes": np.arange(count, dtype=np.int32) % 3,
        "crowds": np.arange(count) % 2 == 1,
        "areas": np.full(count, 50, np.float32),
    }
    return data.Record(**{**defaults, **fields})


def dataset(records, **options):
    return data.Dataset("made up", CLASSES, list(records), **options)


def keep(pixels):
    return images.preprocess(pixels, ("keep",))


def load(records, batch_size=2, preprocess=keep, **options):
    return pipeline.load(dataset(records), preprocess, batch_size, **options)


def arrays(batches):
    """Batches as NumPy, each checked against the contract."""
    found = []
    for batch in batches:
        contract.check(*batch)
        found.append(tuple({key: value.numpy() for key, value in part.items()} for part in batch))
    return found


def assert_same(batches, others):
    assert len(batches) == len(others) > 0
    for batch, other in zip(batches, others, strict=True):
        for part, twin in zip(batch, other, strict=True):
            assert part.keys() == twin.keys()
            for key in part:
                np.testing.assert_array_equal(part[key], twin[key], err_msg=key)


def ids(batches):
    return [int(i) for batch, _ in batches for i in batch["ids"]]


def test_one_pass_in_order():
    """Seven pictures of two sizes in batches of three: the last is filled up."""
    records = [record(i, size=(40, 60) if i % 2 else (50, 55), count=i % 3) for i in range(7)]
    batches = arrays(load(records, 3))
    assert ids(batches) == [r.id for r in records] + [-1, -1]
    for number, (image, objects) in enumerate(batches):
        assert image["pixels"].shape[0] == objects["boxes"].shape[0] == 3
        for i in range(3):
            if 3 * number + i >= len(records):
                continue
            r = records[3 * number + i]
            np.testing.assert_array_equal(image["pixels"][i, : r.height, : r.width], r.image)
            assert not image["pixels"][i, r.height :].any() and not image["pixels"][i, :, r.width :].any()
            np.testing.assert_array_equal(image["windows"][i], [0, 0, r.width, r.height])
            np.testing.assert_array_equal(image["frames"][i], [1, 1, 0, 0])
            count = len(r.boxes)
            for key, padding in (("boxes", 0), ("classes", -1), ("crowds", False)):
                np.testing.assert_array_equal(objects[key][i, :count], getattr(r, key))
                assert (objects[key][i, count:] == padding).all()


def test_filler_of_the_last_batch():
    image, objects = arrays(load([record(0)], 4))[0]
    assert image["ids"].tolist() == [100, -1, -1, -1]
    assert not image["pixels"][1:].any() and not image["windows"][1:].any()
    np.testing.assert_array_equal(image["frames"][1:, :2], 1)  # what divides by the scale stays finite
    assert (objects["classes"][1:] == -1).all() and not objects["boxes"][1:].any() and not objects["crowds"][1:].any()


@pytest.mark.parametrize("count", [1, 2, 7])
def test_every_picture_once_a_pass(count):
    records = [record(i) for i in range(count)]
    stream = load(records, 3, training=True, seed=5)
    places = ids(arrays(stream.take(4 * count)))[: 12 * count]
    passes = [tuple(places[i : i + count]) for i in range(0, len(places), count)]
    assert len(passes) == 12
    assert all(sorted(one) == [r.id for r in records] for one in passes)
    if count == 7:
        assert len(set(passes)) > 8  # other passes, other orders


TRANSFORMS = [("flip", 0.5), ("zoom", 0.6, 1.6), ("color", 0.2, 0.5, 0.5, 0.1)]


def test_starting_later_equals_skipping():
    records = [record(i, count=i % 4) for i in range(5)]
    options = {"training": True, "transforms": TRANSFORMS, "seed": 3, "preprocess": letterbox(64, 64)}
    whole = arrays(load(records, 2, **options).take(7))
    assert_same(whole, arrays(load(records, 2, **options).take(7)))
    for start in (1, 4):
        assert_same(whole[start:], arrays(load(records, 2, start=start, **options).take(7 - start)))


def test_augmentation_differs_from_pass_to_pass_and_seed_to_seed():
    options = {"training": True, "transforms": TRANSFORMS, "preprocess": letterbox(64, 64)}
    batches = arrays(load([record(0)], 1, **options).take(4))
    sums = {float(image["pixels"].sum()) for image, _ in batches}
    assert len(sums) == 4
    other = arrays(load([record(0)], 1, seed=1, **options).take(4))
    assert sums.isdisjoint(float(image["pixels"].sum()) for image, _ in other)


def test_seeds_change_the_order():
    records = [record(i) for i in range(7)]
    orders = [tuple(ids(arrays(load(records, 7, training=True, seed=seed).take(1)))) for seed in range(4)]
    assert len(set(orders)) == 4


def test_evaluation_starts_late_too():
    records = [record(i) for i in range(5)]
    assert_same(arrays(load(records, 2))[1:], arrays(load(records, 2, start=1)))


def test_images_without_objects():
    records = [record(i, count=0) for i in range(3)]
    batches = arrays(load(records, 2, preprocess=letterbox(32, 32), transforms=TRANSFORMS))
    assert [objects["boxes"].shape for _, objects in batches] == [(2, 0, 4)] * 2
    mixed = arrays(load([record(0, count=0), record(1, count=3, size=(40, 90))], 2))[0][1]
    assert mixed["classes"].tolist() == [[-1, -1, -1], [0, 1, 2]]


def test_empty_data_set():
    with pytest.raises(ValueError, match="made up holds no images"):
        load([])


def test_missing_masks():
    with pytest.raises(ValueError, match="made up has images without segmentations.*masks=False"):
        load([record(0)], masks=True)


def letterbox(height, width):
    return functools.partial(images.preprocess, rule=("letterbox", height, width))


# The size that a picture of 40 x 60 (height x width) gets, and the corner where it then lies.
RULES = {
    ("shorter", 80, 200): ((80, 120), (0, 0)),
    ("shorter", 80, 90): ((60, 90), (0, 0)),
    ("letterbox", 96, 96): ((64, 96), (16, 0)),
    ("stretch", 100, 90): ((100, 90), (0, 0)),
    ("keep",): ((40, 60), (0, 0)),
}


@pytest.mark.parametrize("rule", RULES)
def test_boxes_are_in_network_pixels(rule):
    """They lie where the white rectangles are, and where arithmetic puts them."""
    records = [record(i, count=2) for i in range(3)]
    preprocess = functools.partial(images.preprocess, rule=rule, multiple=32)
    (height, width), (top, left) = RULES[rule]
    for (image, objects), r in zip(arrays(load(records, 1, preprocess=preprocess)), records, strict=True):
        assert all(side % 32 == 0 for side in image["pixels"].shape[1:3])
        np.testing.assert_allclose(image["windows"][0], [left, top, left + width, top + height])
        scale = np.tile([width / 60, height / 40], 2)
        np.testing.assert_allclose(objects["boxes"][0], r.boxes * scale + np.tile([left, top], 2), atol=1e-3)
        for x1, y1, x2, y2 in objects["boxes"][0]:
            margin = 6
            rows = slice(max(int(y1) - margin, 0), int(y2) + margin)
            columns = slice(max(int(x1) - margin, 0), int(x2) + margin)
            y, x = np.nonzero(image["pixels"][0, rows, columns].min(axis=-1) > 140)
            x, y = x + columns.start, y + rows.start
            np.testing.assert_allclose([x.min(), y.min(), x.max() + 1, y.max() + 1], [x1, y1, x2, y2], atol=1.01)


def test_keypoints_are_in_network_pixels_and_change_sides():
    points = np.float32([[[10, 5, 2], [50, 35, 1], [0, 0, 0]]])
    one = record(0, count=1, keypoints=points)
    made = dataset([one], keypoints=NAMES)
    ((_, objects),) = arrays(pipeline.load(made, letterbox(96, 96), 1))
    np.testing.assert_allclose(objects["keypoints"][0, 0, :2], [[16, 24, 2], [80, 72, 1]], atol=1e-3)
    assert objects["keypoints"][0, 0, 2, 2] == 0
    ((_, flipped),) = arrays(pipeline.load(made, letterbox(96, 96), 1, transforms=[("flip", 1.0)]))
    np.testing.assert_allclose(flipped["keypoints"][0, 0, :2], [[96 - 80, 72, 1], [96 - 16, 24, 2]], atol=1e-3)


def segments(mask):
    """The same mask as compressed and as plain run lengths."""
    compressed = rle.encode(np.asfortranarray(mask))
    runs = [len(list(group)) for _, group in itertools.groupby(mask.ravel(order="F"))]
    plain = {"size": list(mask.shape), "counts": runs if not mask[0, 0] else [0, *runs]}
    return {"size": compressed["size"], "counts": compressed["counts"].decode()}, plain


@pytest.mark.parametrize("kind", [0, 1])
def test_masks_are_sampled_over_the_box(kind):
    """A box as large as the grid shows the mask itself, one twice as large every second pixel."""
    side = pipeline.MASK_SIDE
    rng = np.random.default_rng(0)
    small, large = rng.integers(0, 2, (2, 260, 300)).astype(np.uint8)
    boxes = np.float32([[5, 9, 5 + side, 9 + side], [20, 30, 20 + 2 * side, 30 + 2 * side]])
    codes = [segments(mask)[kind] for mask in (small, large)]
    ((_, objects),) = arrays(load([record(0, size=(260, 300), boxes=boxes, segments=codes)], 1, masks=True))
    np.testing.assert_array_equal(objects["masks"][0, 0], small[9 : 9 + side, 5 : 5 + side])
    np.testing.assert_array_equal(objects["masks"][0, 1], large[31 : 31 + 2 * side : 2, 21 : 21 + 2 * side : 2])
    np.testing.assert_array_equal(objects["mask_frames"][0], boxes)


def test_masks_of_polygons():
    """The lower left half of a box, in two parts."""
    box = np.float32([[10, 10, 50, 34]])
    halves = [[[10, 10, 50, 34, 10, 34], [48, 10, 50, 10, 50, 12]]]
    one = record(0, count=1, boxes=box, segments=halves)
    ((_, objects),) = arrays(load([one], 1, masks=True))
    mask = objects["masks"][0, 0].astype(bool)
    rows, columns = np.indices(mask.shape)
    inner, outer = rows > columns + 8, (rows < columns - 8) & (columns < 100)
    assert mask[inner].all() and not mask[outer].any() and mask[2, 110]


def test_masks_and_frames_of_the_shapes_follow_the_resize():
    made = data.read("shapes", "val")
    made.records = made.records[:6]
    batches = arrays(pipeline.load(made, letterbox(300, 400), 2, masks=True, transforms=[("flip", 1.0)]))
    number = 0
    for image, objects in batches:
        np.testing.assert_allclose(objects["mask_frames"], objects["boxes"], atol=1e-3)
        for i in range(2):
            r = made.records[number]
            number += 1
            for n, segment in enumerate(r.segments):
                whole = rle.decode(segment)[:, ::-1]
                scale, left = 300 / 256, 50
                x1, y1, x2, y2 = (objects["boxes"][i, n] - [left, 0, left, 0]) / scale
                steps = (np.arange(pipeline.MASK_SIDE) + 0.5) / pipeline.MASK_SIDE
                rows, columns = np.int32(y1 + steps * (y2 - y1)), np.int32(x1 + steps * (x2 - x1))
                expected = whole[np.ix_(rows.clip(0, 255), columns.clip(0, 255))]
                assert np.mean(expected == objects["masks"][i, n]) > 0.97
        assert image["pixels"].shape == (2, 300, 400, 3)


def test_files_and_arrays_agree(tmp_path):
    """Paths, arrays, and both in one data set."""
    records, files = [record(i) for i in range(3)], [record(i) for i in range(3)]
    for r in files:
        path = str(tmp_path / f"{r.id}.png")
        Image.fromarray(r.image).save(path)
        r.image = path
    expected = arrays(load(records))
    assert_same(arrays(load(files)), expected)
    assert_same(arrays(load([records[0], *files[1:]])), expected)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(tf.errors.NotFoundError, match="gone.png"):
        arrays(load([record(0, image=str(tmp_path / "gone.png"))]))
