"""Augmentations: shapes drawn in the picture stay where boxes, masks and keypoints say."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet.data import transforms

HEIGHT, WIDTH = 60, 80
SIDE = 8  # of the mask grids; object i has cells of i + 1 pixels
CORNERS = ((4, 6), (50, 10), (20, 30))  # x, y
OBJECTS = (40, 80, 160)  # values of the red channel where the mask is, of the blue one where the box is
POINTS = ((20, 60, 100), (140, 180, 220), (240, 250, 255))  # values of the green channel at the keypoints
PAIRS = (1, 0, 2)


def scene():
    """Three objects that do not touch, each with a random mask, three keypoints and values of its own."""
    rng = np.random.default_rng(0)
    pixels = np.zeros([HEIGHT, WIDTH, 3], np.uint8)
    boxes, masks, keypoints = [], [], []
    for i, (x, y) in enumerate(CORNERS):
        cell = i + 1
        side = SIDE * cell
        mask = rng.integers(0, 2, (SIDE, SIDE)).astype(np.uint8)
        pixels[y : y + side, x : x + side, 2] = OBJECTS[i]
        pixels[y : y + side, x : x + side, 0] = np.kron(mask, np.ones([cell, cell])) * OBJECTS[i]
        places = rng.choice(side * side, 3, replace=False)
        points = [(x + place % side, y + place // side) for place in places]
        for (column, row), value in zip(points, POINTS[i], strict=True):
            pixels[row, column, 1] = value
        boxes.append([x, y, x + side, y + side])
        masks.append(mask)
        keypoints.append([(column + 0.5, row + 0.5, 2) for column, row in points])
    sample = {
        "pixels": pixels,
        "ids": np.int64(3),
        "boxes": np.float32(boxes),
        "classes": np.int32([0, 1, 2]),
        "crowds": np.zeros(3, bool),
        "masks": np.stack(masks),
        "mask_frames": np.float32(boxes),
        "keypoints": np.float32(keypoints),
        "keypoint_pairs": np.int32(PAIRS),
    }
    return {key: tf.constant(value) for key, value in sample.items()}


def pasted(mask, frame, height, width):
    """A mask grid laid over its frame, on the centers of the picture's pixels."""
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    columns = np.floor((x - frame[0]) / (frame[2] - frame[0]) * len(mask)).astype(int)
    rows = np.floor((y - frame[1]) / (frame[3] - frame[1]) * len(mask)).astype(int)
    inside = ((rows >= 0) & (rows < len(mask)))[:, None] & ((columns >= 0) & (columns < len(mask)))[None]
    return inside & (mask[np.ix_(rows.clip(0, len(mask) - 1), columns.clip(0, len(mask) - 1))] > 0)


def verify(sample, pairs=(0, 1, 2)):
    """Finds every object in the pixels and compares; `pairs` says which point each keypoint is now."""
    sample = {key: value.numpy() for key, value in sample.items()}
    red, green, blue = np.moveaxis(sample["pixels"], -1, 0)
    drawn = [i for i, value in enumerate(OBJECTS) if (blue == value).any()]
    assert sample["classes"].tolist() == drawn
    for n, i in enumerate(drawn):
        rows, columns = np.nonzero(blue == OBJECTS[i])
        bounds = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_array_equal(sample["boxes"][n], bounds)
        mask = pasted(sample["masks"][n], sample["mask_frames"][n], *red.shape)
        np.testing.assert_array_equal(mask, red == OBJECTS[i])
        for p, value in enumerate(POINTS[i]):
            x, y, seen = sample["keypoints"][n, pairs.index(p)]
            assert (seen > 0) == (green == value).any()
            if seen:
                assert green[int(y), int(x)] == value and (x % 1, y % 1) == (0.5, 0.5)
    return sample


def seeds(count):
    return [tf.constant([7, i]) for i in range(count)]


def equal(one, other):
    return all(np.array_equal(one[key], other[key]) for key in one)


def test_the_scene_itself():
    verify(scene())


def test_flip():
    sample = verify(transforms.flip(scene(), seeds(1)[0], 1.0), PAIRS)
    np.testing.assert_array_equal(sample["pixels"], scene()["pixels"].numpy()[:, ::-1])
    assert sample["ids"] == 3


def test_flip_vertical():
    sample = verify(transforms.flip_vertical(scene(), seeds(1)[0], 1.0), PAIRS)
    np.testing.assert_array_equal(sample["pixels"], scene()["pixels"].numpy()[::-1])


@pytest.mark.parametrize("name", ["flip", "flip_vertical"])
def test_flip_probability(name):
    sample = scene()
    run = tf.function(lambda seed, probability: transforms.TRANSFORMS[name](sample, seed, probability)["pixels"])
    flipped = {
        probability: [not np.array_equal(run(seed, probability), sample["pixels"]) for seed in seeds(200)]
        for probability in (0.0, 0.5, 0.9, 1.0)
    }
    assert sum(flipped[0.0]) == 0 and sum(flipped[1.0]) == 200
    assert 75 < sum(flipped[0.5]) < 125 and 160 < sum(flipped[0.9]) < 198


def test_two_flips_undo_each_other():
    for name in ("flip", "flip_vertical"):
        twice = transforms.apply(scene(), [(name, 1.0), (name, 1.0)], seeds(1)[0])
        assert equal(twice, scene())


def test_points_that_are_not_labeled_stay_at_zero():
    sample = scene()
    sample["keypoints"] = tf.zeros([3, 3, 3])
    np.testing.assert_array_equal(transforms.flip(sample, seeds(1)[0], 1.0)["keypoints"], np.zeros([3, 3, 3]))


@pytest.mark.parametrize("start, size", [
    ((0, 0), (HEIGHT, WIDTH)), ((5, 3), (40, 50)), ((-10, -20), (100, 120)), ((20, 25), (60, 80)), ((-5, 30), (30, 20)),
    ((8, 9), (1, 1)),
])  # fmt: skip
def test_crop(start, size):
    sample = verify(transforms.crop(scene(), tf.constant(start), tf.constant(size), fill=7.0))
    expected = np.full([*size, 3], 7.0)
    whole = scene()["pixels"].numpy()
    for row in range(size[0]):
        for column in range(size[1]):
            y, x = row + start[0], column + start[1]
            if 0 <= y < HEIGHT and 0 <= x < WIDTH:
                expected[row, column] = whole[y, x]
    np.testing.assert_array_equal(sample["pixels"], expected)


def test_crop_keeps_ignores_or_drops_by_what_is_left():
    """Objects of 10 x 10 pixels of which 10, 3, 2.5 and no columns stay; and a crowd."""
    boxes = [[0, 0, 10, 10], [-7, 0, 3, 10], [-7.5, 0, 2.5, 10], [-10, 0, 0, 10], [5, 5, 15, 15]]
    sample = {
        "pixels": tf.zeros([60, 60, 3], tf.uint8),
        "boxes": tf.constant(boxes) + 20.0,
        "classes": tf.range(5),
        "crowds": tf.constant([False, False, False, False, True]),
    }
    cut = transforms.crop(sample, tf.constant([20, 20]), tf.constant([30, 30]))
    np.testing.assert_array_equal(cut["classes"], [0, 1, 2, 4])
    np.testing.assert_array_equal(cut["crowds"], [False, False, True, True])
    expected = [[0, 0, 10, 10], [0, 0, 3, 10], [0, 0, 2.5, 10], [5, 5, 15, 15]]
    np.testing.assert_allclose(cut["boxes"], expected, atol=1e-5)


def test_crop_hides_points_outside():
    sample = {
        "pixels": tf.zeros([60, 60, 3], tf.uint8),
        "boxes": tf.constant([[0.0, 0, 40, 40]]),
        "classes": tf.constant([0]),
        "crowds": tf.constant([False]),
        "keypoints": tf.constant([[[5.0, 5, 2], [15, 15, 1], [35, 15, 2], [15, 39, 2], [0, 0, 0]]]),
    }
    points = transforms.crop(sample, tf.constant([10, 10]), tf.constant([20, 20]))["keypoints"].numpy()[0]
    np.testing.assert_array_equal(points[:, 2], [0, 1, 0, 0, 0])
    np.testing.assert_array_equal(points[1, :2], [5, 5])


@pytest.mark.parametrize("scale", [0.5, 0.8, 1, 1.25, 2])
def test_zoom_of_one_scale(scale):
    for seed in seeds(5):
        sample = verify(transforms.zoom(scene(), seed, scale, scale))
        assert sample["pixels"].shape == (round(HEIGHT / scale), round(WIDTH / scale), 3)
        corner = [pixel.tolist() for pixel in (sample["pixels"][0, 0], sample["pixels"][-1, -1])]
        assert scale >= 1 or [114] * 3 in corner  # the fill


def test_zoom_is_log_uniform_and_lies_anywhere():
    ramp = np.stack(np.meshgrid(np.arange(200), np.arange(200)), axis=-1)
    sample = {
        "pixels": tf.constant(np.pad(ramp, ((0, 0), (0, 0), (0, 1))), tf.uint8),
        "boxes": tf.zeros([0, 4]),
        "classes": tf.zeros([0], tf.int32),
        "crowds": tf.zeros([0], tf.bool),
    }
    run = tf.function(lambda seed: transforms.zoom(sample, seed, 1.0, 4.0)["pixels"])
    scales, starts = [], []
    for seed in seeds(200):
        window = run(seed).numpy()
        scales.append(200 / len(window))
        starts.append(window[0, 0, :2] / max(200 - len(window), 1))  # the ramp says where it was cut
    assert 1 <= min(scales) < 1.1 and 3.6 < max(scales) <= 4.1
    np.testing.assert_allclose(np.mean(np.log(scales)), np.log(2), atol=0.1)
    np.testing.assert_allclose(np.mean(starts, axis=0), [0.5, 0.5], atol=0.1)
    assert np.min(starts) < 0.1 and np.max(starts) > 0.9


def picture(seed=0):
    pixels = np.random.default_rng(seed).integers(90, 165, (16, 20, 3)).astype(np.uint8)
    return {"pixels": tf.constant(pixels), "boxes": tf.constant([[1.0, 2, 3, 4]])}


OFF = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}


def recolored(seed, pixels=None, **settings):
    sample = picture() if pixels is None else {"pixels": tf.constant(pixels)}
    return transforms.color(sample, seed, **{**OFF, **settings})["pixels"].numpy()


def test_color_switched_off_changes_nothing():
    np.testing.assert_allclose(recolored(seeds(1)[0]), picture()["pixels"], atol=1e-3)


def test_color_leaves_objects_alone():
    sample = transforms.color(picture(), seeds(1)[0])
    assert not np.allclose(sample["pixels"], picture()["pixels"], atol=1)
    np.testing.assert_array_equal(sample["boxes"], picture()["boxes"])
    assert sample["pixels"].dtype == tf.float32


def test_brightness_is_a_shift():
    shifts = []
    for seed in seeds(30):
        difference = recolored(seed, brightness=0.2) - picture()["pixels"].numpy()
        np.testing.assert_allclose(difference, np.full_like(difference, difference.mean()), atol=1e-2)
        shifts.append(difference.mean() / 255)
    assert -0.2 <= min(shifts) < -0.1 and 0.1 < max(shifts) <= 0.2


def test_contrast_is_a_factor_about_the_mean():
    factors = []
    for seed in seeds(30):
        pixels = picture()["pixels"].numpy().astype(np.float32)
        deviations = pixels - pixels.mean(axis=(0, 1))
        changed = recolored(seed, contrast=0.3)
        changed = changed - changed.mean(axis=(0, 1))
        factors.append((changed * deviations).sum() / (deviations**2).sum())
        np.testing.assert_allclose(changed, deviations * factors[-1], atol=1e-1)
    assert 0.7 <= min(factors) < 0.85 and 1.15 < max(factors) <= 1.3


def test_saturation_scales_the_distance_from_gray():
    """Of HSV's S = (max - min) / max; gray stays gray."""
    pixels = np.full([1, 2, 3], 100, np.uint8)
    pixels[0, 1] = [120, 100, 80]
    factors = []
    for seed in seeds(30):
        gray, colored = recolored(seed, pixels, saturation=0.4)[0]
        np.testing.assert_allclose(gray, [100] * 3, atol=1e-2)
        np.testing.assert_allclose(colored.max(), 120, atol=1e-2)
        factors.append((120 - colored.min()) / 40)
    assert 0.6 <= min(factors) < 0.8 and 1.2 < max(factors) <= 1.4


def test_hue_turns_the_circle():
    """Pure red moves towards yellow or magenta by up to 0.1 of the circle: 0.6 of the way to the next pure color."""
    pixels = np.uint8([[[200, 0, 0]]])
    greens, blues = [], []
    for seed in seeds(30):
        red, green, blue = recolored(seed, pixels, hue=0.1)[0, 0]
        np.testing.assert_allclose(red, 200, atol=1)
        assert min(green, blue) < 0.5
        greens.append(green / 200)
        blues.append(blue / 200)
    assert 0.3 < max(greens) <= 0.61 and 0.3 < max(blues) <= 0.61


def test_color_stays_in_range():
    pixels = np.random.default_rng(1).integers(0, 256, (30, 30, 3)).astype(np.uint8)
    for seed in seeds(10):
        changed = recolored(seed, pixels, brightness=0.9, contrast=0.9, saturation=0.9, hue=0.4)
        assert changed.min() >= 0 and changed.max() <= 255


CHAIN = [("flip", 0.5), ("zoom", 0.5, 2.0), ("color", 0.2, 0.5, 0.5, 0.05), ("flip_vertical", 0.5)]


def test_the_same_seed_gives_the_same_sample():
    run = tf.function(lambda seed: transforms.apply(scene(), CHAIN, seed))
    results = [run(seed) for seed in seeds(6)]
    for seed, result in zip(seeds(6), results, strict=True):
        assert equal(run(seed), result)
    shapes = {(*result["pixels"].shape, float(tf.reduce_sum(result["pixels"]))) for result in results}
    assert len(shapes) == 6
    assert not equal(transforms.apply(scene(), CHAIN, tf.constant([8, 0])), results[0])


def test_each_transform_draws_for_itself():
    """Two even chances in a row: one flip in half of the cases, not none or all."""
    sample = scene()
    run = tf.function(lambda seed: transforms.apply(sample, [("flip", 0.5), ("flip", 0.5)], seed)["pixels"])
    flipped = sum(not np.array_equal(run(seed), sample["pixels"]) for seed in seeds(100))
    assert 30 < flipped < 70


def test_geometry_in_a_row():
    for seed in seeds(8):
        flipped = transforms.apply(scene(), [("flip", 1.0), ("zoom", 0.5, 1.5), ("flip_vertical", 1.0)], seed)
        verify(flipped)  # two reflections: every point is itself again


def test_no_objects():
    sample = scene()
    empty = {key: value[:0] if key in ("boxes", "classes", "crowds", "masks", "mask_frames", "keypoints") else value
             for key, value in sample.items()}  # fmt: skip
    changed = transforms.apply(empty, CHAIN, seeds(1)[0])
    assert changed["boxes"].shape == (0, 4) and changed["masks"].shape == (0, SIDE, SIDE)
    assert changed["keypoints"].shape == (0, 3, 3)


def test_unknown_name():
    with pytest.raises(ValueError, match="transforms must be some of .*'flip'.*, got 'mosaik'"):
        transforms.apply(scene(), [("mosaik",)], seeds(1)[0])


def test_settings_that_do_not_fit():
    with pytest.raises(ValueError, match=r"'zoom' takes the settings \['low', 'high', 'fill'\], got \[0.5\]"):
        transforms.apply(scene(), [("zoom", 0.5)], seeds(1)[0])
    with pytest.raises(ValueError, match="mosaic mixes pictures of a data set"):
        transforms.apply(scene(), [("mosaic", 64)], seeds(1)[0])
