"""CornerNet-Saccade's parts against the reference values: attention, targets, losses, places, crops; fire modules."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet.backbones.hourglass import Fire
from kerasdet.decoding import peaks, saccades
from kerasdet.detectors import CornerNetSaccade, cornernet_saccade
from kerasdet.losses import heatmaps
from kerasdet.targets import heatmaps as targets
from kerasdet.weights import points as released
from kerasdet.weights import torch
from tests.golden import goldens
from tests.golden.test_heatmaps import close, match

SACCADE = goldens.load("heat_saccade")


def cases(prefix):
    return goldens.cases("heat_saccade", prefix)


@pytest.fixture(scope="module")
def model():
    """Of which only the functions are asked; tests set the arguments that a golden has."""
    return CornerNetSaccade(**CornerNetSaccade.tiny())


@pytest.mark.parametrize("case", cases("targets") + cases("attention_ranges"))
def test_attention_maps_of_objects(case):
    golden = SACCADE[case]
    boxes, size = tf.constant(golden["boxes_input"][None]), golden.get("input_size", (255, 255))
    for i, (times, sides) in enumerate(cornernet_saccade.ATTENTION):
        expected = golden[f"att_{i}"]
        found = targets.marked(boxes, boxes[..., 0] >= 0, size, expected.shape[:2], 4 * times, sides)
        np.testing.assert_array_equal(found[0], expected)


@pytest.mark.parametrize("case", cases("targets"))
def test_corners_and_what_is_ignored(case):
    """Objects of which less than half is left are crowds in kerasdet; here they are ignored as small ones are."""
    golden = SACCADE[case]
    grid, size = tuple(golden["output_size"]), golden["input_size"]
    boxes, classes = tf.constant(golden["boxes_input"][None]), tf.constant(golden["labels_input"][None])
    large = targets.longer_sides(boxes, size) >= int(golden["min_scale"])
    used = large & (golden["overlap"] > 0)
    np.testing.assert_array_equal(used[0], golden["used"] > 0)
    inside = targets.clipped(boxes, size) * targets.cells_per_pixel(grid, size)
    overlap = goldens.decimal(golden["gaussian_iou"])
    both, others = (targets.corners(inside, real, overlap, corrected=True) for real in (used, ~used))
    mask = golden["mask"] > 0
    for side, points, ignored in zip(("tl", "br"), both, others, strict=True):
        kinds = golden[f"{side}_heat"].shape[-1]
        close(targets.gaussians(points, classes, grid, kinds)[0], golden[f"{side}_heat"], 0, 1e-6)
        hidden = targets.gaussians(ignored, classes, grid, kinds)[0] > 0
        np.testing.assert_array_equal(hidden, golden[f"{side}_valid"] == 0)
        real = points.real[0].numpy()
        np.testing.assert_array_equal(points.radii[0].numpy()[real], golden["radius"][real])
        np.testing.assert_array_equal(points.cells[0].numpy()[real] @ [1, grid[1]], golden[f"{side}_ind"][mask])
        close(points.offsets[0].numpy()[real], golden[f"{side}_off"][mask])


def test_whole_loss(model):
    """All terms and their gradients; targets are the recorded ones."""
    golden = SACCADE["loss"]
    stacks = int(golden["stacks"])
    names = {"heat": "heat", "tag": "tag", "off": "offset"}
    said = {
        f"{ours}_{names[part]}": [tf.constant(golden[f"s{i}_{side}_{part}"]) for i in range(stacks)]
        for ours, side in (("top_left", "tl"), ("bottom_right", "br")) for part in names
    }  # fmt: skip
    said["attention"] = [[tf.constant(golden[f"s{i}_att_{j}"]) for j in range(3)] for i in range(stacks)]
    columns, real = golden["target_tl"].shape[2], tf.constant(golden["obj_mask"] > 0)
    none = tf.zeros(golden["target_tl"].shape[:3], tf.bool)

    def points(side):
        place = golden[f"{side}_obj_ind"]
        return targets.Points(real, tf.stack([place % columns, place // columns], -1), golden[f"{side}_obj_off"], None)

    both = points("tl"), points("br")
    with tf.GradientTape() as tape:
        tape.watch(said)
        total = tf.add_n(list(model.tag_terms(said, both).values()))
        for ours, side, point in (("top_left", "tl", both[0]), ("bottom_right", "br", both[1])):
            ignored = tf.constant(golden[f"valid_{side}"] == 0)
            total += heatmaps.focal_of_stacks(said[f"{ours}_heat"], golden[f"target_{side}"], none, ignored)
            offsets = said[f"{ours}_offset"], point.cells, point.offsets, real[..., None]
            total += heatmaps.mean_of_stacks(*offsets, beta=1.0, by_object=True)
        for j, maps in enumerate(zip(*said["attention"], strict=True)):
            wanted = golden[f"att_target_{j}"]
            total += heatmaps.focal_of_stacks(maps, wanted, tf.zeros(wanted.shape[:3], tf.bool)) / stacks
    close(total, golden["loss64"], 1e-5, 0)
    found = tape.gradient(total, said)
    for ours, side in (("top_left", "tl"), ("bottom_right", "br")):
        for part, name in names.items():
            for i, gradient in enumerate(found[f"{ours}_{name}"]):
                close(tf.convert_to_tensor(gradient), golden[f"s{i}_{side}_{part}_grad64"])
    for i, maps in enumerate(found["attention"]):
        for j, gradient in enumerate(maps):
            close(gradient, golden[f"s{i}_att_{j}_grad64"])


@pytest.mark.parametrize("case", cases("decode"))
def test_pairs(case, model):
    golden = SACCADE[case]
    said = {}
    for ours, side in (("top_left", "tl"), ("bottom_right", "br")):
        for name, theirs in (("heat", "heat"), ("tag", "tag"), ("offset", "off")):
            said[f"{ours}_{name}"] = [tf.constant(golden[f"{side}_{theirs}"])]
    vars(model).update(corners=int(golden["k"]), border=not golden["no_border"])
    corners = [model.found_corners(said, side) for side in ("top_left", "bottom_right")]
    found = peaks.pairs(*corners, int(golden["num_dets"]), goldens.decimal(golden["ae_threshold"]))
    count, expected = int(golden["n_valid"]), golden["det"]
    assert int(tf.reduce_sum(tf.cast(found["scores"] > 0, tf.int32))) == count == len(expected)
    rows = match(np.c_[found["boxes"][0, :count], found["classes"][0, :count]], expected[:, [0, 1, 2, 3, 7]])
    for name, column in (("scores", 4), ("first", 5), ("second", 6)):
        close(found[name][0].numpy()[rows], expected[:, column], 0, 1e-5)


def test_peaks_of_attention():
    golden = SACCADE["attention_peaks"]
    found = tf.maximum(peaks.highest(tf.constant(golden["maps"]), int(golden["kernel"])), 0.0)
    np.testing.assert_array_equal(found, golden["kept"])


def test_places(model):
    """Where the attention maps of two views point; the further rounds of the release are not built."""
    golden = SACCADE["locations"]
    scales, scores = golden["view_scales"], []
    for i in range(3):
        maps = golden[f"map_{i}"]
        scores.append(maps.reshape(len(scales), -1))
    sides = {int(np.sqrt(one.shape[1])) for one in scores}
    side = 4 * max(sides) - 1
    # A center from which the window starts where the golden's does.
    half = np.int32(side / scales + 1e-3) // 2
    looks = np.c_[golden["offsets"] + half[:, None], scales].astype(np.float32)[None]
    vars(model).update(side=side, attend=goldens.decimal(golden["threshold"]), zooms=tuple(golden["att_scales"]))
    sizes = tf.constant(golden["image_size"][None], tf.float32)
    found = model.places(tf.constant(looks), tf.constant(np.concatenate(scores, 1)[None]), sizes)[0].numpy()
    close(found[found[:, 3] > 0], golden["locations"], 1e-5, 1e-3)


def test_places_around_detections():
    golden = SACCADE["reference_locations"]
    found = {"boxes": tf.constant(golden["dets"][None, :, :4]), "scores": tf.constant(golden["dets"][None, :, 4])}
    places = saccades.around(found)[0].numpy()
    close(places[places[:, 3] > 0], golden["ref_locations"], 1e-5, 1e-3)


def test_near_places_are_dropped():
    golden = SACCADE["location_nms"]
    given, expected = golden["locations_in"], golden["locations_out"]
    assert int(golden["nms_distance"]) == saccades.NEAR
    found = saccades.apart(tf.constant(given[None]), len(given))[0].numpy()
    np.testing.assert_array_equal(found[: len(expected)], expected)
    assert (found[len(expected) :, 3] == 0).all()


@pytest.mark.parametrize("case", cases("crop"))
def test_crops(case):
    golden = SACCADE[case]
    side = int(golden["out_size"][0])
    view = tf.constant(np.float32([[*golden["center"], golden["scale"]]]))
    origin, length = saccades.windows(view, side)
    np.testing.assert_array_equal(origin[0], golden["offset"])
    assert int(length[0]) == golden["crop_size"][0]
    height, width, _ = golden["image"].shape
    found = saccades.zoomed(golden["image"][None], tf.constant([[0, 0, width, height]]), [0], view, side)
    close(found[0], golden["crop"], 1e-5, 1e-6)
    # The second picture of a larger batch, at another place of its padding.
    padded = np.pad(golden["image"], ((3, 4), (2, 1), (0, 0)), constant_values=9.0)
    batch, corners = np.stack([padded[::-1], padded]), tf.constant([[0, 0, 9, 9], [2, 3, 2 + width, 3 + height]])
    close(saccades.zoomed(batch, corners, [1], view, side)[0], golden["crop"], 1e-5, 1e-6)


def test_back_to_the_picture():
    golden = SACCADE["remap"]
    # A view's cell is 255 / 64 pixels of the view.
    boxes = golden["dets_cells"][..., :4] * np.float32(255 / 64)
    half = np.int32(255 / golden["view_scales"] + 1e-3) // 2
    views = np.float32(np.c_[golden["offsets"] + half[:, None], golden["view_scales"]])
    close(saccades.in_picture(boxes, views, 255), golden["dets_image"][..., :4], 1e-5, 1e-2)


def weights_of(golden):
    """A module's recorded weights, in our layouts, by their names after "w."."""
    return {name.replace("__", ".").replace("w_", "w.", 1): torch.layout(value)
            for name, value in golden.items() if name.startswith("w_")}  # fmt: skip


@pytest.mark.parametrize("case", cases("fire"))
def test_fire_modules(case):
    golden = SACCADE[case]
    x = tf.constant(golden["x"])
    block = Fire(x.shape[-1], golden["out"].shape[-1], int(golden["stride"]), norm="batch", dtype="float32")
    block(x)
    assert block.adds == bool(golden["skip"])
    released.copy(torch.of_convs(released.residual(block, "w")), weights_of(golden))
    with tf.GradientTape() as tape:
        tape.watch(x)
        out = block(x)
        value = tf.reduce_sum(out * golden["upstream"])
    close(out, golden["out64"], 1e-5, 1e-5)
    close(tape.gradient(value, x), golden["grad_x64"])
