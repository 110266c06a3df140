"""CenterNet and CornerNet: sizes of their networks, outputs made from the objects, crowds, and views."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import images as image
from kerasdet.detectors import (
    CenterNet,
    CenterNetTriplets,
    CornerNet,
    CornerNetSaccade,
    ExtremeNet,
    centernet,
    centernet_triplets,
    cornernet,
)
from kerasdet.losses import heatmaps
from kerasdet.targets import heatmaps as targets
from tests.contract import scenes

RESNET_18, RESNET_101 = {"backbone": "resnet18"}, {"backbone": "resnet101"}
PLAIN_DLA = {**centernet.DLA, "backbone": {"name": "dla34", "deformable": False}}
# All weights of the released networks for 80 classes. A DLA-34 has two projections that nothing uses.
SIZES = [
    pytest.param(CenterNet, {**RESNET_18, **centernet.RESNET}, 15_831_508, id="r18"),
    pytest.param(CenterNet, {**RESNET_18, **centernet.RESNET_DCN}, 14_448_741, id="r18_dcn"),
    pytest.param(CenterNet, {"backbone": "resnet34"}, 25_947_092, id="r34", marks=pytest.mark.slow),
    pytest.param(CenterNet, {"backbone": "resnet50"}, 34_498_004, id="r50", marks=pytest.mark.slow),
    pytest.param(CenterNet, RESNET_101, 53_542_356, id="r101", marks=pytest.mark.slow),
    pytest.param(CenterNet, {**RESNET_101, **centernet.RESNET_DCN}, 49_780_325, id="r101_dcn", marks=pytest.mark.slow),
    pytest.param(CenterNet, centernet.DLA, 19_695_476, id="dla34", marks=pytest.mark.slow),
    pytest.param(CenterNet, PLAIN_DLA, 19_055_748, id="dla34_plain", marks=pytest.mark.slow),
    pytest.param(CenterNet, centernet.HOURGLASS, 191_401_512, id="hourglass104", marks=pytest.mark.slow),
    pytest.param(CornerNet, {}, 201_160_908, id="cornernet", marks=pytest.mark.slow),
    pytest.param(CornerNet, cornernet.SQUEEZE, 31_849_420, id="squeeze", marks=pytest.mark.slow),
    pytest.param(CornerNetSaccade, {}, 117_046_651, id="saccade", marks=pytest.mark.slow),
    pytest.param(ExtremeNet, {}, 198_649_008, id="extremenet", marks=pytest.mark.slow),
    pytest.param(CenterNetTriplets, {}, 210_194_800, id="triplets_104", marks=pytest.mark.slow),
    pytest.param(
        CenterNetTriplets, centernet_triplets.HOURGLASS_52, 104_909_944, id="triplets_52", marks=pytest.mark.slow
    ),
]


@pytest.mark.parametrize("kind, arguments, count", SIZES)
def test_parameters(kind, arguments, count):
    """In a graph that never runs, so that no weight is made."""
    with tf.Graph().as_default():
        assert kind(80, **arguments).count_params() == count


# None has a corner on the border of two cells.
OBJECTS = [(13, 21, 61, 71, 0), (51, 9, 91, 42, 1)]


def sure(heat):
    """Logits of a map of probabilities, clipped where a float32 would be infinite."""
    heat = tf.clip_by_value(heat, 1e-6, 1 - 1e-6)
    return tf.math.log(heat) - tf.math.log(1 - heat)


def placed(shape, cells, values):
    """A map [1, H, W, D] with values [M, D] in cells [M, 2]."""
    grid = np.zeros(shape, np.float32)
    for (column, row), value in zip(cells, values, strict=True):
        grid[0, row, column] = value
    return tf.constant(grid)


def test_centers_from_the_objects():
    """Outputs made from the objects give them back; the heat map costs a little, as no score is exactly 0 or 1."""
    model = CenterNet(**CenterNet.tiny())
    images, objects = scenes.batch(OBJECTS, size=(96, 96))
    grid = (24, 24)
    inside = targets.clipped(objects["boxes"] / 4, grid)
    points = targets.centers(inside, objects["classes"] >= 0, 0.7)
    cells = points.cells[0].numpy()
    peak = targets.gaussians(points._replace(radii=0 * points.radii), objects["classes"], grid, 2)
    outputs = {
        "heat": [sure(peak)],
        "size": [placed([1, *grid, 2], cells, (inside[0, :, 2:] - inside[0, :, :2]).numpy())],
        "offset": [placed([1, *grid, 2], cells, points.offsets[0].numpy())],
    }
    terms = model.loss_terms(outputs, objects, images)
    assert float(terms["size"]) < 1e-4 and float(terms["offset"]) < 1e-4 and float(terms["heat"]) < 1e-3
    found = model.detections(outputs, images)
    order = np.argsort(found["classes"][0, :2])
    np.testing.assert_allclose(found["boxes"][0].numpy()[order], objects["boxes"][0], atol=1e-3)
    assert (found["scores"][0, :2].numpy() > 0.99).all() and (found["scores"][0, 2:].numpy() < 0.01).all()


def test_corners_from_the_objects():
    model = CornerNet(**{**CornerNet.tiny(), "pairs": 20, "distance": 0.5})
    images, objects = scenes.batch(OBJECTS, size=(95, 95))
    grid = (24, 24)
    inside = tf.clip_by_value(objects["boxes"], 0.0, 94.0) * 24 / 95
    outputs = {}
    both = targets.corners(inside, objects["classes"] >= 0, 0.3, corrected=True)
    for side, points in zip(cornernet.CORNERS, both, strict=True):
        cells = points.cells[0].numpy()
        peak = targets.gaussians(points._replace(radii=0 * points.radii), objects["classes"], grid, 2)
        outputs[f"{side}_heat"] = [sure(peak)]
        outputs[f"{side}_tag"] = [placed([1, *grid, 1], cells, [[0.0], [3.0]])]
        outputs[f"{side}_offset"] = [placed([1, *grid, 2], cells, points.offsets[0].numpy())]
    terms = model.loss_terms(outputs, objects, images)
    assert max(float(terms[name]) for name in ("pull", "push", "offset")) < 1e-4
    found = model.detections(outputs, images)
    order = np.argsort(found["classes"][0, :2])
    np.testing.assert_allclose(found["boxes"][0].numpy()[order], objects["boxes"][0], atol=1e-2)
    # A corner alone, beside one that the map knows nothing of, is worth half of it.
    assert (found["scores"][0, :2].numpy() > 0.99).all() and (found["scores"][0, 2:].numpy() < 0.51).all()
    # Corners whose tags differ do not pair.
    outputs["top_left_tag"] = [value + 1.0 for value in outputs["top_left_tag"]]
    assert float(tf.reduce_max(model.detections(outputs, images)["scores"])) < 0.51


def test_only_cells_under_the_crowd_are_hidden():
    _, objects = scenes.batch([(0, 0, 48, 96, 0, True)], size=(96, 96))
    hidden = targets.hidden(objects, (24, 24), (96, 96)).numpy()[0]
    assert hidden[:, :12].all() and not hidden[:, 12:].any()


def test_logits_beyond_the_clamp_have_no_gradient():
    logits = tf.constant([-12.0, -1.0, 12.0])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = tf.reduce_sum(heatmaps.focal(logits, tf.zeros(3)))
    gradient = tape.gradient(loss, logits).numpy()
    assert gradient[0] == gradient[2] == 0 and gradient[1] > 0


def test_a_flip_is_seen_in_one_graph():
    """In a picture that is its own mirror image, seen with a flip, every peak has a twin of the same score."""
    model = CenterNet(**CenterNet.tiny())
    half = np.random.default_rng(0).integers(0, 255, [64, 31, 3], np.uint8)
    picture = np.concatenate([half, half[:, ::-1]], axis=1)
    scores = model.detect(picture, 0.0, views=["flip"])["scores"]
    assert len(scores) >= 10
    np.testing.assert_allclose(scores[0:10:2], scores[1:10:2], rtol=1e-5)
    with pytest.raises(ValueError, match="views are of"):
        model.detect(picture, views=["turn"])


@pytest.mark.parametrize(
    "rule, size, padded, start",
    [
        (("centernet_keep", 32), (64, 70), (96, 96), (13, 16)),
        (("cornernet_keep", 128), (127, 130), (127, 255), (62, 0)),
        (("cornernet_keep", 32), (31, 20), (31, 31), (5, 0)),
    ],
)
def test_kept_sizes(rule, size, padded, start):
    """CornerNet's copy of an even window loses the last row of a picture that needs no padding."""
    picture = tf.ones([*size, 3])
    pixels, frames, windows = image.resize(picture, rule)
    assert pixels.shape[:2] == padded
    np.testing.assert_array_equal(frames, [1, 1, *start])
    np.testing.assert_array_equal(windows, [*start, start[0] + size[1], start[1] + size[0]])
    rows = 30 if size[0] == 31 else 126 if size[0] == 127 else size[0]
    assert int(tf.reduce_sum(pixels[..., 0])) == rows * size[1]
    with pytest.raises(ValueError, match="has no size to change"):
        image.at_size(rule, 64)


def test_arguments_at_the_door():
    with pytest.raises(ValueError, match="DLA returns level 2"):
        CenterNet(2, backbone="dla34")
    with pytest.raises(ValueError, match="widths and blocks must be one for each level"):
        CornerNet(2, backbone={"name": "hourglass104", "widths": (8, 8), "blocks": (1,)})
