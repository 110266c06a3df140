"""R-CNN and SPP-net: published counts; SVMs, mining, ridge and scores by their definitions; stages; edges."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet import boxes, coders, data, linear, training
from kerasdet.detectors import RCNN, SPPNet
from kerasdet.detectors.rcnn import warped
from kerasdet.detectors.sppnet import cells, nearest, pyramid
from kerasdet.layers.start import weights_expected
from kerasdet.load import load
from tests.contract import scenes


def count(variables):
    return sum(int(np.prod(v.shape)) for v in variables)


def test_published_counts_of_rcnn():
    with weights_expected():
        model = RCNN(20)
    assert count(model.trainable_variables) == 56_954_261
    assert count([*model.backbone.weights, *model.box_head.weights]) == 56_868_224
    assert model.svm.count_params() == 81_940 and model.ridge.count_params() == 737_360


@pytest.mark.parametrize(
    "bins, whole",
    [((6, 3, 2, 1), 73_026_709), ((4, 2, 1), 42_618_005), ((3, 2, 1), 35_277_973), ((4, 3, 2, 1), 52_055_189)],
)
def test_published_counts_of_sppnet(bins, whole):
    with weights_expected():
        model = SPPNet(20, bins=bins, scales=(120,))
    assert count(model.trainable_variables) == whole and model.svm.count_params() == 81_940
    assert model.ridge.kernel.shape == (256 * sum(side**2 for side in bins), 80)


def examples(positives=30, negatives=200, width=16, seed=0):
    draw = np.random.default_rng(seed)
    return draw.normal(size=[positives, width]) * 3 + 2, draw.normal(size=[negatives, width]) * 3


def test_no_svm_is_better():
    """Of a convex function: none of many small steps from the minimum lowers it; and a start does not change it."""
    positives, negatives = examples()
    kernel, bias, dual = linear.svm(positives, negatives, tolerance=1e-12)

    def objective(kernel, bias):
        losses = 2e-3 * np.maximum(1 - positives @ kernel - bias, 0).sum()
        losses += 1e-3 * np.maximum(1 + negatives @ kernel + bias, 0).sum()
        return 0.5 * kernel @ kernel + 0.5 * (bias / 10) ** 2 + losses

    least, draw = objective(kernel, bias), np.random.default_rng(1)
    for size in (1e-1, 1e-3, 1e-5):
        for _ in range(50):
            step = draw.normal(size=17) * size * np.abs(kernel).max()
            assert objective(kernel + step[:16], bias + step[16]) >= least
    again, shift, _ = linear.svm(positives, negatives, tolerance=1e-12, dual=dual[::-1].copy())
    np.testing.assert_allclose(again, kernel, atol=1e-6 * np.abs(kernel).max())
    assert shift == pytest.approx(bias, abs=1e-6)


def test_mining_finds_the_svm_of_all_negatives():
    """What it leaves out lies beyond the margin and so does not count; it holds a part only."""
    positives, negatives = examples(negatives=3000)
    kernel, bias, _ = linear.svm(positives, negatives, c=0.02, tolerance=1e-10)
    mine = linear.Mining(positives, every=20, c=0.02, tolerance=1e-10)
    for _ in range(3):
        for number, part in enumerate(np.split(negatives, 30)):
            mine.see(number, part, np.zeros(len(part)))
        mine.finish()
    np.testing.assert_allclose(mine.kernel, kernel, atol=1e-3 * np.abs(kernel).max())
    assert mine.bias == pytest.approx(bias, abs=1e-3)
    assert len(positives) < len(mine.negatives) < len(negatives) and mine.trainings > 3
    assert len(mine.keys) == len(set(mine.keys)) == len(mine.negatives) == len(mine.dual) - len(positives)


def test_mining_takes_regions_far_from_objects_alone():
    mine = linear.Mining(np.ones([1, 2]))
    mine.see(0, np.float64([[1, 0], [2, 0], [3, 0], [4, 0]]), np.array([0.1, 0.3, np.nan, 0.29]))
    assert mine.negatives[:, 0].tolist() == [1, 4] and mine.trainings == 1


def test_a_class_without_objects_has_no_high_margin():
    kernel, bias, _ = linear.svm(np.zeros([0, 3]), examples(width=3)[1])
    assert np.isfinite(kernel).all() and (examples(width=3)[1] @ kernel + bias < -0.5).all()


def test_ridge_is_the_minimum_either_way():
    """With fewer examples than features the smaller system is solved; without any the box stays."""
    draw = np.random.default_rng(0)
    for rows in (7, 40):
        x, y = draw.normal(size=[rows, 12]), draw.normal(size=[rows, 4]) @ np.diag([1, 0.2, 2, 0.5])
        kernel, bias = linear.ridge(x, y, 10.0)
        mean, white, _ = linear.whitening(y)
        weights = np.concatenate([kernel, [bias - mean]]) @ white
        given = np.concatenate([x, np.ones([rows, 1])], axis=1)
        gradient = given.T @ (given @ weights - (y - mean) @ white) + 10.0 * weights
        np.testing.assert_allclose(gradient, 0, atol=1e-8)
    kernel, bias = linear.ridge(np.zeros([0, 12]), np.zeros([0, 4]), 10.0)
    assert kernel.shape == (12, 4) and not kernel.any() and not bias.any()


def test_scores_keep_the_order_and_say_how_often_it_is_an_object():
    draw = np.random.default_rng(0)
    margins = draw.normal(size=20_000) * 2
    positive = draw.uniform(size=20_000) < 1 / (1 + np.exp(-(3 * margins - 2)))
    slope, offset = linear.probabilities(margins, positive)
    assert slope == pytest.approx(3, rel=0.1) and offset == pytest.approx(-2, rel=0.1)
    for odd in (np.zeros(20_000, bool), np.ones(20_000, bool), margins < 0):
        assert linear.probabilities(margins, odd) == (1.0, 0.0)
    slope, offset = linear.probabilities(np.float64([-2, -1, 1, 2]), np.array([False, False, True, True]))
    assert 0 < slope < 100 and np.isfinite(offset)


def test_regions_outside_the_picture_are_the_mean_color():
    pixels = tf.random.normal([2, 20, 30, 3]) + 9
    found = tf.constant([[40, 5, 50, 15], [-50, -50, -20, -20], [0, 0, 0, 0], [5, 5, 5.2, 5.2], [10, 10, 40, 15]])
    windows = tf.constant([[0, 0, 30, 20]] * 4 + [[0, 0, 15, 12]], tf.float32)
    crops = warped(pixels, tf.constant([0, 1, 1, 1, 0]), tf.cast(found, tf.float32), windows, 12, 2).numpy()
    assert np.isfinite(crops).all() and not crops[:2].any() and crops[3].any()
    assert (crops[4] != 0).any() and not crops[4, :, 6:].any()  # right of the window, whatever the pixels are there


def test_a_crop_is_what_the_picture_shows():
    """Without context the box itself, sampled between the centers of pixels, like a resized picture."""
    pixels = tf.random.normal([1, 40, 50, 3])
    window = tf.constant([[0, 0, 50, 40]], tf.float32)
    crop = warped(pixels, tf.constant([0]), tf.constant([[10.0, 5.0, 34.0, 25.0]]), window, 16)
    np.testing.assert_allclose(crop[0], tf.image.resize(pixels[0, 5:25, 10:34], [16, 16]), atol=1e-5)


def test_the_pyramid_by_loops():
    """Of two maps, where finer levels fill coarser ones and where they do not."""
    draw = np.random.default_rng(0)
    maps = [np.maximum(draw.normal(size=[2, *size, 3]), 0).astype(np.float32) for size in ((9, 14), (5, 8))]
    rois, which = np.float32([[0, 2, 1, 12, 8], [1, 0, 0, 0, 0], [1, 1, 1, 6, 3], [-1, 0, 0, 4, 4]]), [0, 1, 1, 0]
    for bins in ((3, 2, 1), (6, 4, 1), (5,)):
        found = pyramid([tf.constant(one) for one in maps], tf.constant(rois), tf.constant(which), bins).numpy()
        for vector, (image, x1, y1, x2, y2), number in zip(found, rois.astype(int), which, strict=True):
            wanted = []
            part = maps[number][image, y1 : y2 + 1, x1 : x2 + 1] * (image >= 0)
            for n in bins:
                edges = [[(i * s // n, -(-(i + 1) * s // n)) for i in range(n)] for s in part.shape[:2]]
                wanted += [part[a:b, c:d].max((0, 1)) for a, b in edges[0] for c, d in edges[1]]
            np.testing.assert_array_equal(vector, np.concatenate(wanted))


def test_a_region_has_a_cell_at_least_and_lies_on_the_map():
    found = tf.constant([[0, 0, 1, 1], [99, 79, 100, 80], [50, 40, 50.5, 40.2], [-20, -20, 300, 300]], tf.float32)
    side = tf.fill([4], 80.0)
    sizes = tf.constant([[5, 7]] * 4)
    x1, y1, x2, y2 = cells(found, side, side, sizes, 1.0, 6.5, 16).numpy().T
    assert (x1 <= x2).all() and (y1 <= y2).all() and min(x1.min(), y1.min()) >= 0
    assert x2.max() == 6 and y2.max() == 4


def test_small_regions_take_the_larger_scale():
    found = tf.constant([[0, 0, 20, 20], [0, 0, 200, 150], [0, 0, 90, 110], [3, 3, 3, 3]], tf.float32)
    scales = tf.constant([[120.0, 240.0, 480.0]] * 4)
    for rule in ("paper", "release"):
        assert nearest(found, tf.fill([4], 240.0), scales, rule).numpy().tolist()[:3] == [2, 1, 2]


@pytest.mark.parametrize("kind", [RCNN, SPPNet])
def test_regions_are_judged_block_by_block_as_in_training(kind):
    """In graphs, eagerly, and all at once, whose memory is another; padding is no detection."""
    keras.utils.set_random_seed(1)
    model = kind(**{**kind.tiny(), "block": 7})
    model.svm.kernel.assign(tf.random.normal(model.svm.kernel.shape))
    images, _ = scenes.batch([(12, 20, 60, 70, 0)], proposals=True, size=(64, 64))
    given = images["proposals"][:, 20:43]
    outputs = model.network(images)
    one = model.head(outputs, given)
    two = tf.function(lambda boxes: model.head(outputs, boxes), autograph=False)(given)
    three = kind(**{**kind.tiny(), "block": 100})
    three.set_weights(model.get_weights())
    for name, value in three.head(three.network(images), given).items():
        np.testing.assert_allclose(one[name], value, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(two[name], value, rtol=1e-4, atol=1e-4)
    assert int(model({**images, "proposals": tf.zeros([1, 5, 4])})["counts"][0]) == 0


def test_wrong_arguments():
    for kind, given, line in (
        (RCNN, {"context": 16, "side": 32}, "context must leave room for the region in side=32, got 16"),
        (SPPNet, {"side": 64}, "SPPNet takes no side: it pools regions of its map"),
        (SPPNet, {"scale_rule": "best"}, r"scale_rule must be one of \('paper', 'release'\), got 'best'"),
        (SPPNet, {"bins": (7, 1)}, r"bins must be whole numbers from 1 to 6, .* got \(7, 1\)"),
        (SPPNet, {"scales": ()}, r"scales must be lengths of the shorter side above 0, pixels, got \(\)"),
    ):
        with pytest.raises(ValueError, match=line):
            kind(**{**kind.tiny(), **given})


@pytest.fixture(scope="module")
def photos():
    """Pictures with a square or a disc each, in two colors, and proposals around them and elsewhere."""
    records = []
    for number in range(6):
        draw, kind = np.random.default_rng(number), number % 2
        x, y = draw.integers(8, 28, 2)
        own = np.float32([x, y, x + 24, y + 22])
        pixels = draw.integers(60, 90, [64, 64, 3]).astype(np.uint8)
        pixels[y : y + 22, x : x + 24] = (230, 40, 60) if kind else (40, 90, 230)
        near = own + draw.uniform(-3, 3, [12, 4])
        records.append(data.Record(
            id=number, image=pixels, height=64, width=64, boxes=own[None], classes=np.int32([kind]),
            crowds=np.array([False]), areas=np.float32([528]),
            proposals=np.float32(np.concatenate([near.clip(0, 64), scenes.grid(64, 64)])),
        ))  # fmt: skip
    return data.Dataset("squares and discs", ("square", "disc"), records)


STAGES = ({"terms": ("class",)}, {"solver": "svm", "c": 1.0, "every": 50}, {"solver": "ridge", "strength": 1.0})
SETTINGS = {
    "steps": 60, "batch_size": 3, "learning_rate": 3e-3, "warmup": 5, "evaluate_every": 60, "transforms": (),
    "ema": None, "weight_decay": 0.0,
}  # fmt: skip


@pytest.mark.parametrize("kind", [RCNN, SPPNet])
def test_stages_end_in_weights(kind, photos, tmp_path, capsys):
    """Fine-tuning, SVMs and boxes one after another: what is fitted is saved, exported and better than before."""
    keras.utils.set_random_seed(1)
    given = {**kind.tiny(), "resize": ("keep",), "positive": 0.5, "above": 0.01}
    training.fit(kind(**given), photos, None, tmp_path / "run", stages=STAGES, **SETTINGS)
    said = capsys.readouterr().out
    assert "svm of disc: 3 objects" in said and "ridge: " in said
    tuned, judged, whole = (load(tmp_path / "run" / f"stage{number}") for number in (1, 2, 3))
    assert (
        not tuned.scores.fitted.numpy().any()
        and judged.scores.fitted.numpy().all()
        and (judged.scores.slope.numpy() > 0).all()
    )
    assert not judged.ridge.kernel.numpy().any() and whole.ridge.kernel.numpy().any()
    np.testing.assert_array_equal(judged.svm.kernel, whole.svm.kernel)

    def off(model):
        """How far the best detection of each picture's class is from the object, a mean over pixels."""
        distances = []
        for record in photos.records:
            found = model.detect(record.image, 0.0, None, record.proposals)
            own = found["boxes"][found["classes"] == record.classes[0]]
            assert len(own) and found["classes"][0] == record.classes[0], "the other class is surer"
            distances.append(np.abs(own[0] - record.boxes[0]).mean())
        return np.mean(distances)

    assert off(whole) < off(judged) and off(whole) < 2.5

    # The SVMs split the training set: objects above, regions far from any object below.
    images = {**whole.preprocess(np.stack([one.image for one in photos.records])), "ids": tf.range(6, dtype=tf.int64)}
    images["proposals"] = tf.constant(np.stack([np.concatenate([one.boxes, one.proposals]) for one in photos.records]))
    margins = whole.head(whole.network(images), images["proposals"])["margins"].numpy()
    for own, record in zip(margins, photos.records, strict=True):
        overlaps = boxes.iou(images["proposals"][0], record.boxes).numpy()[:, 0] if record.id == 0 else None
        assert own[0, record.classes[0]] > 0 > own[0, 1 - record.classes[0]]
        if overlaps is not None:
            assert own[overlaps < 0.1, record.classes[0]].mean() < -0.5

    whole.export(tmp_path / "saved")
    served, record = load(tmp_path / "saved"), photos.records[2]
    expected, found = (one.detect(record.image, 0.0, None, record.proposals) for one in (whole, served))
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-5)
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=1e-3)


def test_boxes_are_learned_of_near_proposals_alone(photos):
    """By hand: the features that the solver is given, and the targets that it makes of proposals."""
    model, asked = RCNN(**{**RCNN.tiny(), "resize": ("keep",)}), []

    class Stored(list):
        records = photos.records

    def cached(name, dataset, function, keep=None):
        asked.append(name)
        draw = np.random.default_rng(0)
        width = model.ridge.kernel.shape[0]
        return Stored(
            (one, {"pool5": np.float32(draw.normal(size=[len(one.proposals), width]))}) for one in dataset.records
        )

    model.solve("ridge", photos, cached, strength=5.0, overlap=0.7, norm=3.0)
    features, targets, kinds, draw = [], [], [], np.random.default_rng(0)
    for record in photos.records:
        overlaps = boxes.iou(record.proposals, record.boxes).numpy()[:, 0]
        near = record.proposals[overlaps > 0.7]
        draw = np.random.default_rng(0) if not features else draw
        features.append(np.float32(draw.normal(size=[len(near), model.ridge.kernel.shape[0]])))
        targets.append(coders.encode(near, np.tile(record.boxes, (len(near), 1))).numpy())
        kinds += [record.classes[0]] * len(near)
    features, targets, kinds = np.concatenate(features), np.concatenate(targets), np.array(kinds)
    scale = 3.0 / np.linalg.norm(features, axis=1).mean()
    for kind in (0, 1):
        kernel, bias = linear.ridge(scale * features[kinds == kind], targets[kinds == kind], 5.0)
        found, level = model.ridge.kernel.numpy()[:, kind::2], model.ridge.bias.numpy()[kind::2]
        np.testing.assert_allclose(found, scale * kernel, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(level, bias, rtol=1e-3, atol=1e-6)
    assert asked == ["pool5"]


def test_regions_under_a_crowd_say_nothing(photos):
    record = photos.records[0]
    crowd = dataclasses.replace(
        record, boxes=np.concatenate([record.boxes, np.float32([[0, 44, 64, 64]])]), classes=np.int32([0, 1]),
        crowds=np.array([False, True]), areas=np.float32([528, 1280]),
    )  # fmt: skip
    overlaps = RCNN(**RCNN.tiny())._overlaps(crowd)
    hidden = np.isnan(overlaps).all(1)
    np.testing.assert_array_equal(hidden, np.isnan(overlaps).any(1))
    shared = np.clip(crowd.proposals[:, 3] - np.maximum(crowd.proposals[:, 1], 44), 0, None)
    np.testing.assert_array_equal(hidden, shared / (crowd.proposals[:, 3] - crowd.proposals[:, 1]) > 0.5)
    assert hidden.any() and not overlaps[~hidden, 1].any() and overlaps[~hidden, 0].max() > 0.8


def test_no_proposal_near_an_object(photos):
    far = [dataclasses.replace(one, proposals=np.float32([[0, 0, 5, 5]])) for one in photos.records]
    with pytest.raises(ValueError, match="squares and discs: no proposal overlaps an object by more than 0.6"):
        RCNN(**RCNN.tiny()).solve("ridge", dataclasses.replace(photos, records=far), None)


@pytest.mark.parametrize("wrong", [{"solver": "ridge", "lambda": 3}, {"solver": "svm", "steps": 5}])
def test_unknown_options_of_solvers_are_refused_first(photos, wrong, tmp_path):
    with pytest.raises(ValueError, match="stage 2: RCNN's solver '(svm|ridge)': .*unexpected keyword argument"):
        training.fit(RCNN(**RCNN.tiny()), photos, None, tmp_path / "run", stages=({}, wrong), **SETTINGS)
    assert not (tmp_path / "run").exists()
