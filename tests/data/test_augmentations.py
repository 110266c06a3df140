"""The papers' augmentations against slow NumPy: pixel values, and objects located from the pixels."""

import colorsys
import functools
import inspect
import itertools

import numpy as np
import pytest
import tensorflow as tf

from kerasdet.data import transforms
from tests.data.test_transforms import HEIGHT, PAIRS, WIDTH, equal, scene, seeds, verify


def run(name, *settings, sample=None, draw=None):
    """A transform as a graph of the seed, to try many seeds."""
    sample = scene() if sample is None else sample
    return graph(sample, [(name, *settings)], draw)


def graph(sample, chain, draw=None):
    return tf.function(lambda seed: transforms.apply(sample, chain, seed, draw), autograph=False)


def plain(pixels, boxes=()):
    boxes = np.reshape(boxes, [-1, 4]).astype(np.float32)
    return {
        "pixels": tf.constant(pixels),
        "boxes": tf.constant(boxes),
        "classes": tf.range(len(boxes)),
        "crowds": tf.zeros([len(boxes)], tf.bool),
    }


def noise(height, width, seed=0, low=0, high=256):
    return np.random.default_rng(seed).integers(low, high, (height, width, 3)).astype(np.uint8)


def bilinear(pixels, height, width):
    """Half-pixel centers, edges repeated."""
    for axis, size in ((0, height), (1, width)):
        old = pixels.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)
        low = np.floor(at).astype(int)
        shape = [size if i == axis else 1 for i in range(3)]
        share = (at - low).reshape(shape)
        pixels = pixels.take(low, axis) * (1 - share) + pixels.take(np.minimum(low + 1, old - 1), axis) * share
    return pixels


def test_rotate():
    whole = scene()["pixels"].numpy()
    rotate, counts = run("rotate"), np.zeros(4, int)
    for seed in seeds(80):
        sample = verify(rotate(seed))
        same = [sample["pixels"].shape == turned.shape and (sample["pixels"] == turned).all()
                for turned in (np.rot90(whole, k) for k in range(4))]  # fmt: skip
        counts += same
    assert counts.sum() == 80 and counts.min() > 8


def test_window():
    sample = verify(transforms.apply(scene(), [("window", -3, 5, 61, 45)], seeds(1)[0]))
    expected = np.full([40, 64, 3], 114)
    expected[:, 3:] = scene()["pixels"].numpy()[5:45, :61]
    np.testing.assert_array_equal(sample["pixels"], expected)
    assert sample["pixels"].dtype == np.uint8


def test_expand():
    """The picture as it is, somewhere on a canvas of the mean, larger by 1 to 3 in both directions."""
    whole = scene()["pixels"].numpy()
    expand, ratios, plain_count = run("expand", 3.0, 0.5, (1, 2, 3)), [], 0
    for seed in seeds(60):
        sample = verify(expand(seed))
        pixels = sample["pixels"]
        if pixels.shape == whole.shape:
            plain_count += 1
            continue
        left, top = sample["mask_frames"][0][:2] - scene()["mask_frames"][0, :2]
        expected = np.zeros_like(pixels) + np.uint8([1, 2, 3])
        expected[int(top) : int(top) + HEIGHT, int(left) : int(left) + WIDTH] = whole
        np.testing.assert_array_equal(pixels, expected)
        ratios.append(pixels.shape[0] / HEIGHT)
        assert abs(pixels.shape[1] / WIDTH - ratios[-1]) < 0.02
    assert 18 < plain_count < 42 and 1 <= min(ratios) < 1.3 and 2.7 < max(ratios) <= 3


def test_scale_jitter():
    """Pixels are a bilinear resize of a window, found by the ramps that they show; what is missing is filled."""
    y, x = np.mgrid[:60, :80]
    pixels = np.stack([3 * x, 4 * y, np.full_like(x, 77)], -1).astype(np.uint8)
    boxes = np.float64([[0, 0, 80, 60], [20, 15, 60, 45]])
    jitter, scales = run("scale_jitter", 40, 0.25, 2.0, 200.0, sample=plain(pixels, boxes)), []
    for seed in seeds(60):
        sample = {key: value.numpy() for key, value in jitter(seed).items()}
        assert sample["pixels"].shape == (40, 40, 3)
        inside = np.isclose(sample["pixels"][..., 2], 77, atol=1e-3)
        height, width = inside.any(1).sum(), inside.any(0).sum()
        assert inside[:height, :width].all() and np.all(sample["pixels"][~inside] == 200)
        # A ramp of 3 a pixel tells the scale, its middle the place.
        ramp = sample["pixels"][0, :width, 0]
        scale = 3 / np.median(np.diff(ramp))
        scales.append(scale * 80 / 40)
        sides = np.minimum(np.round([40 / scale, 40 / scale]), [60, 80]).astype(int)
        left = round((np.median(ramp) / 3 + 0.5) - sides[1] / 2)
        top = round((np.median(sample["pixels"][:height, 0, 1]) / 4 + 0.5) - sides[0] / 2)
        window = pixels[top : top + sides[0], left : left + sides[1]].astype(float)
        np.testing.assert_allclose(sample["pixels"][:height, :width], bilinear(window, height, width), atol=0.05)
        factor = np.array([width / sides[1], height / sides[0]])
        moved = np.clip((boxes.reshape(-1, 2, 2) - [left, top]) * factor, 0, [width, height]).reshape(-1, 4)
        kept = (moved[:, 2:] > moved[:, :2]).all(1)
        np.testing.assert_allclose(sample["boxes"], moved[kept], atol=1e-3)
    assert 0.2 < min(scales) < 0.45 and 1.7 < max(scales) < 2.1


def test_scale_jitter_moves_all_kinds_of_objects_alike():
    jitter = run("scale_jitter", 64, 0.5, 2.0)
    for seed in seeds(10):
        before, after = scene(), jitter(seed)
        for i, number in enumerate(after["classes"].numpy()):
            old, new = before["mask_frames"][number], after["mask_frames"][i]
            factor = (new[2:] - new[:2]) / (old[2:] - old[:2])
            expected = (before["keypoints"][number, :, :2] - old[:2]) * factor + new[:2]
            np.testing.assert_allclose(after["keypoints"][i, :, :2], expected, atol=1e-3)
            np.testing.assert_allclose(after["boxes"][i], np.clip(new, 0, 64), atol=1e-3)


def test_sample_crop():
    """Each window is part of the picture and reaches an overlap; objects stay when their center does."""
    pixels = np.arange(48 * 80 * 3).reshape(48, 80, 3).astype(np.int32)
    boxes = np.float32([[5, 5, 25, 20], [30, 10, 70, 40], [60, 30, 79, 47]])
    # Pixels that name their own place; the type does not matter to a crop.
    crop, overlaps, whole = run("sample_crop", sample=plain(pixels.astype(np.float32), boxes)), [], 0
    for seed in seeds(150):
        sample = {key: value.numpy() for key, value in crop(seed).items()}
        height, width = sample["pixels"].shape[:2]
        top, left = divmod(int(sample["pixels"][0, 0, 0]) // 3, 80)
        np.testing.assert_array_equal(sample["pixels"], pixels[top : top + height, left : left + width])
        window = np.array([left, top, left + width, top + height])
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        kept = ((centers > window[:2]) & (centers < window[2:])).all(1)
        np.testing.assert_array_equal(sample["classes"], np.flatnonzero(kept))
        clipped = np.clip(boxes - np.tile(window[:2], 2), 0, [width, height, width, height])
        np.testing.assert_array_equal(sample["boxes"], clipped[kept])
        assert not sample["crowds"].any()
        if (height, width) == (48, 80):
            whole += 1
            continue
        share, aspect = np.sqrt(height * width / (48 * 80)), (width / 80) / (height / 48)
        assert 0.27 < share <= 1 and 0.45 < aspect < 2.2
        overlaps.append(max(iou(window, box) for box in boxes))
    assert whole > 10 and np.mean(np.array(overlaps) > 0.5) > 0.15 and np.mean(np.array(overlaps) < 0.3) > 0.04


def iou(a, b):
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    shared = sides.prod()
    return shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


def test_sample_crop_reaches_the_required_overlap():
    boxes = np.float32([[10, 10, 70, 40]])
    sample = plain(noise(48, 80), boxes)
    for least in (0.5, 0.7):
        crop = run("sample_crop", (least,), (0.3, 1.0), (0.5, 2.0), 200, sample=sample)
        sizes = [crop(seed) for seed in seeds(60)]
        shares = [
            float(tf.reduce_prod(one["boxes"][0, 2:] - one["boxes"][0, :2])) for one in sizes if len(one["boxes"])
        ]
        free = np.mean([one["pixels"].shape[0] < 48 for one in sizes])
        assert 0.4 < free < 0.95  # a third stays whole
        # Of a window with this IoU no less of the object is left.
        assert np.mean(np.array(shares) >= least * 60 * 30) > 0.6


def test_sample_crop_keeps_pictures_without_objects_whole():
    crop = run("sample_crop", sample=plain(noise(48, 80)))
    assert all(crop(seed)["pixels"].shape == (48, 80, 3) for seed in seeds(10))


def test_a_chain_moves_masks_and_keypoints():
    """Masks and keypoints follow SSD's chain."""
    chain = [("expand", 2.0, 0.5, (0, 0, 0)), ("flip_vertical", 1.0), ("rotate",)]
    crop = graph(scene(), chain)
    for seed in seeds(8):
        verify(crop(seed), PAIRS)


def to_hsv(pixels):
    return np.array([colorsys.rgb_to_hsv(*pixel) for pixel in pixels.reshape(-1, 3) / 255.0]).reshape(pixels.shape)


def to_rgb(pixels):
    return 255 * np.array([colorsys.hsv_to_rgb(*pixel) for pixel in pixels.reshape(-1, 3)]).reshape(pixels.shape)


def test_hsv():
    """The gains, read off one pixel, explain all pixels."""
    pixels = noise(6, 7, low=40, high=200)
    change, old = run("hsv", 0.1, 0.5, 0.4, sample=plain(pixels)), to_hsv(pixels)
    gains = []
    for seed in seeds(30):
        changed = change(seed)["pixels"].numpy()
        assert changed.dtype == np.uint8
        new = to_hsv(changed.astype(float))
        shift = np.median((new[..., 0] - old[..., 0] + 0.5) % 1 - 0.5)
        factors = [np.median(new[..., i] / old[..., i]) for i in (1, 2)]
        gains.append([shift, *factors])
        expected = np.concatenate([(old[..., :1] + shift) % 1, np.minimum(old[..., 1:] * factors, 1)], -1)
        np.testing.assert_allclose(changed, to_rgb(expected), atol=4)
    low, high = np.min(gains, 0), np.max(gains, 0)
    np.testing.assert_array_less([-0.105, 0.48, 0.58], low)
    np.testing.assert_array_less(low, [-0.05, 0.7, 0.75])
    np.testing.assert_array_less(high, [0.105, 1.52, 1.42])
    np.testing.assert_array_less([0.05, 1.3, 1.2], high)


def test_distort():
    """Darknet's: the hue turns, saturation and value are multiplied or, as often, divided by up to so much."""
    pixels = noise(6, 7, low=60, high=150)
    change, old = run("distort", 0.1, 1.5, 1.4, sample=plain(pixels)), to_hsv(pixels)
    gains = []
    for seed in seeds(40):
        changed = change(seed)["pixels"].numpy()
        new = to_hsv(changed.astype(float))
        shift = np.median((new[..., 0] - old[..., 0] + 0.5) % 1 - 0.5)
        factors = [np.median(new[..., i] / old[..., i]) for i in (1, 2)]
        gains.append([shift, *factors])
        expected = np.concatenate([(old[..., :1] + shift) % 1, np.minimum(old[..., 1:] * factors, 1)], -1)
        np.testing.assert_allclose(changed, to_rgb(expected), atol=5)
    low, high = np.min(gains, 0), np.max(gains, 0)
    np.testing.assert_array_less([-0.105, 1 / 1.55, 1 / 1.43], low)
    np.testing.assert_array_less(low, [-0.05, 0.8, 0.85])
    np.testing.assert_array_less(high, [0.105, 1.55, 1.43])
    np.testing.assert_array_less([0.05, 1.25, 1.2], high)
    assert 10 < np.sum(np.array(gains)[:, 2] > 1) < 30


def light(sample):
    """The box of the bright pixels of a sample, continuous pixels."""
    rows, columns = (np.flatnonzero((sample["pixels"].numpy()[..., 0] > 190).any(axis)) for axis in (1, 0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def test_jitter():
    """Another aspect ratio on a square of gray; the box goes along, and all places and ratios come."""
    pixels = np.full([40, 60, 3], 20, np.uint8)
    pixels[10:30, 15:45] = 250
    change, ratios, places = run("jitter", 0.3, sample=plain(pixels, [[15, 10, 45, 30]])), [], []
    for seed in seeds(60):
        found = change(seed)
        height, width, _ = found["pixels"].shape
        assert height == width
        box = found["boxes"][0].numpy()
        np.testing.assert_allclose(light(found), box, atol=1.5)
        sides = box[2:] - box[:2]
        ratios.append(sides[0] / sides[1])
        places.append((box[1] - sides[1] / 2) / (height - 2 * sides[1]) if sides[0] > sides[1] else 0.5)
        assert np.isclose(max(sides) * 2, height, atol=1.5)  # the picture, twice as large as its box, fills the square
        corner = found["pixels"].numpy()[0 if box[1] > 15 else -1, 0, 0]
        assert sides[0] < 1.1 * sides[1] or abs(corner - 127.5) < 1
    assert 1.5 * 0.7 / 1.3 < min(ratios) < 1.1 and 2.0 < max(ratios) < 1.5 * 1.3 / 0.7
    assert min(places) < 0.2 and max(places) > 0.8


def test_jitter_sides():
    """Every side moves in or out by up to a fifth; what is cut off of a box is lost, and no box is ignored."""
    pixels = np.full([50, 100, 3], 20, np.uint8)
    pixels[10:40, 20:80] = 250
    change, moves = run("jitter_sides", 0.2, sample=plain(pixels, [[20, 10, 80, 40], [0, 0, 3, 50]])), []
    for seed in seeds(40):
        found = change(seed)
        height, width, _ = found["pixels"].shape
        box = found["boxes"][0].numpy()
        np.testing.assert_allclose(light(found), box, atol=1e-3)
        left, top = 20 - box[0], 10 - box[1]
        moves.append([left / 100, top / 50, (100 - left - width) / 100, (50 - top - height) / 50])
        assert not found["crowds"].numpy().any() and len(found["boxes"]) == (2 if left < 3 else 1)
    assert (np.abs(moves) <= 0.2).all() and (np.min(moves, 0) < -0.1).all() and (np.max(moves, 0) > 0.1).all()


@functools.cache
def distortion(settings):
    """One graph for pixels of any size and type float."""
    change = transforms.TRANSFORMS["photometric"]
    signature = [tf.TensorSpec([2], tf.int32), tf.TensorSpec([None, None, 3], tf.float32)]
    return tf.function(lambda seed, pixels: change({"pixels": pixels}, seed, **dict(settings))["pixels"], signature)


def photometric(seed, pixels, **settings):
    off = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "probability": 1.0}
    return distortion(tuple(sorted({**off, **settings}.items())))(seed, np.float32(pixels)).numpy()


def test_photometric_switched_off_changes_nothing():
    pixels = noise(5, 6)
    for settings in ({}, {"brightness": 32.0, "contrast": 0.5, "hue": 18.0, "probability": 0.0}):
        np.testing.assert_allclose(photometric(seeds(1)[0], pixels, **settings), pixels, atol=1e-3)
    sample = transforms.apply(plain(pixels), [("photometric",)], seeds(1)[0])
    assert sample["pixels"].dtype == np.uint8 and not np.array_equal(sample["pixels"], pixels)


def test_photometric_brightness_and_contrast():
    """A shift, and a factor from black; both orders occur."""
    pixels = np.full([2, 2, 3], 100, np.float32)
    pixels[1] = 50
    shifts = [photometric(seed, pixels, brightness=32.0)[0, 0, 0] - 100 for seed in seeds(25)]
    factors = [photometric(seed, pixels, contrast=0.5)[0, 0, 0] / 100 for seed in seeds(25)]
    assert -32 <= min(shifts) < -16 and 16 < max(shifts) <= 32
    assert 0.5 <= min(factors) < 0.75 and 1.25 < max(factors) <= 1.5
    orders = set()
    for seed, shift, factor in zip(seeds(25), shifts, factors, strict=True):
        both = photometric(seed, pixels, brightness=32.0, contrast=0.5)[:, 0, 0]
        first = np.allclose(both, (np.float32([100, 50]) + shift) * factor, atol=0.01)
        second = np.allclose(both, np.float32([100, 50]) * factor + shift, atol=0.01)
        # The release changes brightness first in either order.
        assert first and not (second and abs(shift * (factor - 1)) > 0.1)
        orders.add(first)
    assert orders == {True}


def test_photometric_contrast_comes_before_or_after_saturation():
    """Of colors that contrast drives out of range, clipped sooner or later."""
    pixels = np.float32([[[250, 200, 150]]])
    ways = set()
    for seed in seeds(40):
        contrast = photometric(seed, np.float32([[[100, 100, 100]]]), contrast=0.5)[0, 0, 0] / 100
        gray, saturation = photometric(seed, np.float32([[[200, 150, 100]]]), saturation=0.5)[0, 0][[0, 2]]
        factor = (200 - saturation) / 100
        assert np.isclose(gray, 200, atol=0.01)

        def saturated(rgb, factor=factor):
            top = rgb.max()
            share = min((top - rgb.min()) / top * factor, 1) / max((top - rgb.min()) / top, 1e-9)
            return top - (top - rgb) * share

        early = saturated(np.clip(pixels[0, 0] * contrast, 0, 255))
        late = np.clip(saturated(pixels[0, 0]) * contrast, 0, 255)
        found = photometric(seed, pixels, contrast=0.5, saturation=0.5)[0, 0]
        matches = [np.allclose(found, one, atol=0.05) for one in (early, late)]
        assert any(matches)
        if not all(matches):
            ways.add(matches[0])
    assert ways == {True, False}


@pytest.mark.parametrize("degrees", [18.0, None])
def test_photometric_hue_turns_by_up_to_so_many_degrees(degrees):
    """By default 36, as SSD's release: 18 of OpenCV's steps of two degrees."""
    default = inspect.signature(transforms.TRANSFORMS["photometric"]).parameters["hue"].default
    pixels, most = np.float32([[[200, 0, 0]]]), degrees or 36
    changed = [photometric(seed, pixels, hue=degrees or default)[0, 0] for seed in seeds(25)]
    angles = [(one[1] - one[2]) / 200 * 60 for one in changed]
    assert -most - 0.1 < min(angles) < -most / 2 and most / 2 < max(angles) < most + 0.1


def test_photometric_shuffles_channels():
    pixels = np.float32([[[10, 20, 30]]])
    orders = {tuple(photometric(seed, pixels, shuffle=1.0)[0, 0]) for seed in seeds(40)}
    assert orders == set(itertools.permutations((10, 20, 30)))
    assert {tuple(photometric(seed, pixels)[0, 0]) for seed in seeds(10)} == {(10, 20, 30)}


def flat(value, height, width, boxes):
    """A picture of one color; its objects have that value as their class."""
    sample = plain(np.full([height, width, 3], value, np.uint8), boxes)
    return {**sample, "classes": tf.fill([len(boxes)], value)}


def test_mosaic():
    """Four flat pictures of the size of the mosaic: quarters of one color each, objects clipped to their quarter."""
    boxes = [[0, 0, 40, 40], [10, 10, 30, 30]]
    values = tf.constant([20, 40, 60, 80, 100])

    def draw(seed):
        value = values[tf.random.stateless_uniform([], seed, 0, 5, tf.int32)]
        return {**flat(0, 40, 40, boxes), "pixels": tf.fill([40, 40, 3], tf.cast(value, tf.uint8)),
                "classes": tf.fill([2], value)}  # fmt: skip

    mosaic, points, seen = run("mosaic", 40, sample=flat(10, 40, 40, boxes), draw=draw), [], set()
    for seed in seeds(30):
        sample = {key: value.numpy() for key, value in mosaic(seed).items()}
        pixels = sample["pixels"][..., 0]
        assert pixels.shape == (40, 40) and pixels[0, 0] == 10
        cut_y = next((y for y in range(40) if (pixels[y, 0] != 10)), None)
        cut_x = next((x for x in range(40) if (pixels[0, x] != 10)), None)
        points.append([cut_y, cut_x])
        quarters = [(slice(0, cut_y), slice(0, cut_x)), (slice(0, cut_y), slice(cut_x, 40)),
                    (slice(cut_y, 40), slice(0, cut_x)), (slice(cut_y, 40), slice(cut_x, 40))]  # fmt: skip
        expected = []
        for rows, columns in quarters:
            value = pixels[rows, columns][0, 0]
            assert (pixels[rows, columns] == value).all()
            seen.add(value)
            # The object as large as its picture fills the quarter, or is ignored where less than 30 % is left.
            crowd = (rows.stop - rows.start) * (columns.stop - columns.start) < 0.3 * 1600
            expected.append((value, columns.start, rows.start, columns.stop, rows.stop, crowd))
        found = np.column_stack([sample["classes"], sample["boxes"], sample["crowds"]])
        assert {tuple(map(float, one)) for one in expected} <= set(map(tuple, found.astype(float)))
    points = np.array(points)
    assert points.min() >= 8 and points.max() <= 32 and np.ptp(points, axis=0).min() > 14
    assert seen == {10, 20, 40, 60, 80, 100}


def test_mosaic_scales_to_its_size():
    """A picture of twice the size is halved; the fill lies beside one that is too small for its quarter."""
    large, small = flat(50, 80, 80, [[20, 20, 60, 60]]), flat(90, 10, 40, [[0, 0, 40, 10]])
    mosaic = run("mosaic", 40, 1.0, 0.5, 7.0, sample=large, draw=lambda seed: small)
    for seed in seeds(10):
        sample = {key: value.numpy() for key, value in mosaic(seed).items()}
        assert set(np.unique(sample["pixels"][:20, :20])) == {50}
        lower = sample["pixels"][20:, 20:, 0]
        assert (lower == 90).all(1).sum() == 10 and (lower == 7).all(1).sum() == 10
        rows = np.flatnonzero((lower == 90).all(1)) + 20
        np.testing.assert_array_equal(sample["boxes"][-1], [20, rows[0], 40, rows[-1] + 1])
        assert set(sample["classes"]) <= {50, 90} and (sample["classes"] == 90).sum() == 3


def test_mixup():
    """The weight, read off one pixel, explains the picture; objects of both stay."""
    one, two = scene(), transforms.apply(scene(), [("window", 5, 0, 75, 70)], seeds(1)[0])
    mixup, weights = run("mixup", sample=one, draw=lambda seed: two), []
    canvas = np.zeros([2, 70, 80, 3])
    canvas[0, :HEIGHT, :WIDTH], canvas[1, :, :70] = one["pixels"], two["pixels"]
    for seed in seeds(60):
        sample = {key: value.numpy() for key, value in mixup(seed).items()}
        weight = (sample["pixels"][65, 3, 0]) / 114  # only the fill of the second reaches there
        weights.append(1 - weight)
        np.testing.assert_allclose(sample["pixels"], (1 - weight) * canvas[0] + weight * canvas[1], atol=0.01)
        for key in ("boxes", "classes", "crowds", "masks", "mask_frames", "keypoints"):
            np.testing.assert_array_equal(sample[key], np.concatenate([one[key], two[key]]))
    assert sample["ids"] == 3
    # Of Beta(1.5, 1.5): mean 1/2, variance 1/16.
    assert abs(np.mean(weights) - 0.5) < 0.1 and 0.03 < np.var(weights) < 0.1


def test_mixing_follows_its_probability():
    for name, settings in (("mosaic", (60, 0.3)), ("mixup", (1.5, 0.3))):
        mixed = run(name, *settings, draw=lambda seed: scene())
        count = sum(len(mixed(seed)["classes"]) > 3 for seed in seeds(60))
        assert 8 < count < 30


def test_mixed_in_pictures_go_through_the_earlier_transforms():
    """Dark pictures are flipped before they are mixed, each by its own draw."""
    ramp = np.zeros([8, 8, 3], np.uint8)
    ramp[:, :4] = 200
    chain = [("flip", 0.5), ("mixup",)]
    mixed = graph(plain(ramp), chain, lambda seed: plain(ramp))
    corners = [mixed(seed)["pixels"].numpy()[0, [0, 7], 0] for seed in seeds(30)]
    kinds = {tuple(value.round() == 200) for value in corners}
    assert kinds == {(True, False), (False, True), (False, False)}


CHAINS = [
    [("photometric",), ("expand",), ("sample_crop",), ("flip", 0.5)],
    [("mosaic", 64), ("mixup", 1.5, 0.5), ("hsv",), ("rotate",)],
    [("scale_jitter", 64)],
]


@pytest.mark.parametrize("chain", CHAINS)
def test_the_same_seed_gives_the_same_sample(chain):
    twice = [graph(scene(), chain, lambda seed: scene()) for _ in range(2)]
    results = [[change(seed) for change in twice] for seed in seeds(4)]
    assert all(equal(*pair) for pair in results)
    assert len({one["pixels"].numpy().tobytes() for one, _ in results}) == 4
