"""ExtremeNet against the reference values: extreme points, targets, losses, aggregation, groups, ghosts, detections."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet.decoding import extremes as decode
from kerasdet.decoding import suppress
from kerasdet.detectors import ExtremeNet, extremenet
from kerasdet.losses import heatmaps
from kerasdet.targets import extremes
from kerasdet.targets import heatmaps as targets
from tests.golden import goldens
from tests.golden.test_heatmaps import close, match

EXTREME = goldens.load("heat_extremenet")
SHORT = {"top": "t", "left": "l", "bottom": "b", "right": "r", "center": "ct"}


def cases(prefix):
    return goldens.cases("heat_extremenet", prefix)


@pytest.mark.parametrize("case", cases("poly"))
def test_extreme_points_of_polygons(case):
    golden = EXTREME[case]
    np.testing.assert_array_equal(extremes.of_list(tf.constant(golden["polygon"])), golden["extreme_points"])


@pytest.mark.parametrize("case", cases("mask"))
def test_extreme_points_of_crowds(case):
    """The release takes a crowd's pixels as a list by rows; objects' masks are taken side by side, see `of_masks`."""
    golden = EXTREME[case]
    rows, columns = np.nonzero(golden["mask"])
    found = extremes.of_list(tf.constant(np.float32(np.c_[columns, rows])))
    np.testing.assert_array_equal(found, golden["extreme_points"])


@pytest.mark.parametrize("case", cases("targets"))
def test_targets(case):
    golden = EXTREME[case]
    grid, size = tuple(golden["output_size"]), golden["input_size"]
    boxes, classes = golden["boxes_input"][None], tf.constant(golden["labels_input"][None])
    ratio = targets.cells_per_pixel(grid, size).numpy()
    sides = (boxes[..., 2:] - boxes[..., :2]) * ratio[:2]
    points = golden["points_input"][None]
    places = [*tf.unstack(points * ratio[:2], axis=2), extremenet.middle(points) * ratio[:2]]
    mask = golden["mask_rows"] > 0
    for side, place in zip(SHORT.values(), places, strict=True):
        found = targets.points(place, sides, classes >= 0, goldens.decimal(golden["gaussian_iou"]))
        np.testing.assert_array_equal(found.radii[0], golden["radius"])
        heat = targets.gaussians(found, classes, grid, golden[f"{side}_heat"].shape[-1])
        close(heat[0], golden[f"{side}_heat"], 0, 1e-6)
        np.testing.assert_array_equal(found.cells[0].numpy() @ [1, grid[1]], golden[f"{side}_ind"][mask])
        if f"{side}_off" in golden:
            close(found.offsets[0], golden[f"{side}_off"][mask])


@pytest.mark.parametrize("case", cases("aggregate"))
def test_edge_aggregation(case):
    golden = EXTREME[case]
    for axis, name in (("x", "h"), ("y", "v")):
        found = decode.aggregated(tf.constant(golden["heat"]), axis, goldens.decimal(golden["aggr_weight"]))
        close(found, golden[f"{name}_aggregated64"], 1e-5, 1e-6)


def grouped(golden, row=slice(None)):
    """Groups of the recorded maps, in cells."""
    k, names = int(golden["k"]), {"top": "t", "left": "l", "bottom": "b", "right": "r"}
    outputs = {f"{ours}_heat": [tf.constant(golden[f"logit_{side}"])[row]] for ours, side in names.items()}
    outputs |= {f"{ours}_offset": [tf.constant(golden[f"off_{side}"])[row]] for ours, side in names.items()}
    outputs["center_heat"] = [tf.constant(golden["logit_c"])[row]]
    model = ExtremeNet(**{
        **ExtremeNet.tiny(), "extremes": k, "groups": int(golden["num_dets"]),
        "extreme_above": goldens.decimal(golden["scores_thresh"]),
        "center_above": goldens.decimal(golden["center_thresh"]), "aggregation": goldens.decimal(golden["aggr_weight"]),
    })  # fmt: skip
    return model.found_groups(outputs, golden["logit_c"].shape[1:3])


def rows_of(points, scores, classes):
    """Rows of box, score, points and class, as the goldens have them; scores count a hundredfold."""
    return np.c_[decode.boxes(points[None])[0], 100 * scores, tf.reshape(points, [-1, 8]), classes]


TIMES = np.float32([1, 1, 1, 1, 100, *[1] * 9])


@pytest.mark.parametrize("case", cases("decode"))
def test_groups(case):
    golden = EXTREME[case]
    found = grouped(golden)
    count, expected = int(golden["n_valid"]), golden["det"]
    scores = found["scores"][0].numpy()
    assert (scores > 0).sum() == count == len(expected) and (np.diff(scores) <= 0).all()
    got = rows_of(found["points"][0], scores, found["classes"][0])
    match(got[:count], expected * TIMES, 1e-3)


def detections(points, scores, kinds, limit=100, nms="soft"):
    """Soft-NMS and ghosts, as `detections` goes, of groups in pixels."""
    boxes = decode.boxes(points[None]) + suppress.BOTH_ENDS
    given = boxes, scores[None], kinds[None]
    found = suppress.per_class(*given, int(max(kinds)) + 1, 0.5, 0.001, limit, nms, points=points[None])
    return {**found, "boxes": found["boxes"] - suppress.BOTH_ENDS}


@pytest.mark.parametrize("case", cases("chain"))
def test_from_maps_to_detections(case):
    """A picture and its mirror image: groups in pixels of the picture, Soft-NMS, ghosts."""
    golden = EXTREME[case]
    parts = []
    for row in (0, 1):
        found = {name: value[0] for name, value in grouped(golden, slice(row, row + 1)).items()}
        points, columns = found["points"].numpy(), golden["logit_c"].shape[2]
        if row:
            points = points[:, [0, 3, 2, 1]] * [-1.0, 1.0] + np.float32([columns, 0.0])
        points = points / golden["ratios"][::-1] - golden["borders"][[2, 0]]
        points = np.clip(points, 0, golden["sizes"][::-1])
        points *= golden["image_size"][::-1] / golden["sizes"][::-1]
        real = found["scores"].numpy() > 0
        parts.append([points[real], found["scores"].numpy()[real], found["classes"].numpy()[real]])
    points, scores, kinds = (np.concatenate(part) for part in zip(*parts, strict=True))
    match(rows_of(np.float32(points), scores, kinds), golden["dets_px"] * TIMES, 1e-2)
    found = detections(*(tf.constant(one) for one in (np.float32(points), scores, kinds)))
    if golden["ghost"]:
        found["scores"] = decode.without_ghosts(found)
    count = int(found["counts"][0])
    got = rows_of(found["points"][0], found["scores"][0], found["classes"][0])[:count]
    match(got, golden["final_clean"] * TIMES, 2e-2)


def test_points_go_with_their_boxes():
    golden = EXTREME["soft_points"]
    given = golden["rows_in"]
    points = given[:, 5:13].reshape(-1, 4, 2)
    # The rows' boxes are their own, not those of the points.
    boxes = tf.constant(given[None, :, :4]) + suppress.BOTH_ENDS
    kinds = tf.zeros([1, len(given)], tf.int32)
    found = suppress.per_class(
        boxes, tf.constant(given[None, :, 4]), kinds, 1, 0.5, 0.001, len(given), "soft", points=points[None]
    )
    count = int(found["counts"][0])
    boxes = found["boxes"][0] - suppress.BOTH_ENDS
    got = np.c_[boxes, 100 * found["scores"][0], tf.reshape(found["points"][0], [-1, 8])][:count]
    match(got, golden["rows_clean"] * TIMES[:13], 2e-2)


def test_ghosts():
    golden = EXTREME["ghost"]
    boxes, scores = tf.constant(golden["boxes"][None]), tf.constant(golden["scores"][None])
    found = decode.without_ghosts({"boxes": boxes, "scores": scores, "classes": tf.zeros(scores.shape, tf.int32)})
    close(found[0], golden["scores_after"], 0, 1e-6)


def test_whole_loss():
    """All terms and their gradients; targets are the recorded ones."""
    golden = EXTREME["loss"]
    stacks = sum(f"s{i}_t_heat" in golden for i in range(9))
    said = {
        f"{ours}_{name}": [tf.constant(golden[f"s{i}_{side}_{part}"]) for i in range(stacks)]
        for ours, side in SHORT.items()
        for name, part in (("heat", "heat"), ("offset", "off"))
        if f"s0_{side}_{part}" in golden
    }
    columns, real = said["top_heat"][0].shape[2], golden["obj_mask"] > 0
    none = tf.zeros(said["top_heat"][0].shape[:3], tf.bool)
    heat, offset = 0.0, 0.0
    with tf.GradientTape() as tape:
        tape.watch(said)
        for ours, side in SHORT.items():
            heat += heatmaps.focal_of_stacks(said[f"{ours}_heat"], golden[f"target_{side}"], none)
            if f"{ours}_offset" in said:
                place = golden[f"{side}_obj_ind"]
                given = tf.stack([place % columns, place // columns], -1), golden[f"{side}_obj_off"], real[..., None]
                offset += heatmaps.mean_of_stacks(said[f"{ours}_offset"], *given, beta=1.0, by_object=True)
        total = heat + offset
    for value, name in ((heat, "focal64"), (offset, "off64"), (total, "loss64")):
        close(value, golden[name], 1e-5, 0)
    for name, gradients in tape.gradient(total, said).items():
        point, _, part = name.rpartition("_")
        for i, gradient in enumerate(gradients):
            expected = golden[f"s{i}_{SHORT[point]}_{'off' if part == 'offset' else part}_grad64"]
            close(tf.convert_to_tensor(gradient), expected)
