"""From pictures to detections as CenterNet's and CornerNet's tests go: preprocessing, flips, joints, merging."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import images as image
from kerasdet import views
from kerasdet.decoding import suppress
from kerasdet.detectors import CenterNet
from kerasdet.losses import heatmaps
from tests.golden import goldens
from tests.golden.test_heatmaps import in_cells, match

CENTERS, CORNERS = goldens.load("heat_centernet"), goldens.load("heat_cornernet")
# COCO's keypoints: each one's mirror image.
PAIRS = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)


def rule(golden):
    """The resize rule of a case."""
    if golden["keep_res"]:
        return ("centernet_keep", int(golden["pad"]) + 1)
    return ("centernet_fixed", *(int(side) for side in golden["input_size"]))


# Of other sizes of a fixed network the release cuts a part off; here the network's size changes.
PREPARED = [case for case in goldens.cases("heat_centernet", "pre_") if "fix_scale" not in case]


@pytest.mark.parametrize("case", PREPARED)
def test_preprocessing(case):
    """The release's warp rounds places to a 32nd of a pixel; whole shifts are exact."""
    golden = CENTERS[case]
    scale = goldens.decimal(golden["test_scale"])
    pixels, frames, windows = image.resize(tf.constant(golden["image"]), rule(golden), scale)
    assert pixels.shape == golden["input_u8"].shape
    difference = np.abs(pixels.numpy() - golden["input_u8"])
    exact = golden["keep_res"] and scale == 1
    assert difference.max() <= (0 if exact else 6) and difference.mean() <= 1
    zoom = golden["input_size"][1] / golden["scale"][0]
    shift = golden["input_size"][::-1] / 2 - zoom * golden["center"]
    np.testing.assert_allclose(frames, [zoom * scale, zoom * scale, *shift], rtol=1e-5, atol=1e-4)
    height, width = golden["image"].shape[:2]
    corners = image.to_frames(tf.constant([[0.0, 0.0, width, height]]), frames)[0]
    inside = np.clip(corners, 0, np.tile(golden["input_size"][::-1], 2))
    np.testing.assert_allclose(windows, inside, atol=1.0)


POSTED = [case for case in goldens.cases("heat_centernet", "post_") if "pose" not in case]


@pytest.mark.parametrize("case", POSTED)
def test_back_to_the_picture(case):
    golden = CENTERS[case]
    height, width = golden["image_size"]
    scale = goldens.decimal(golden["test_scale"])
    _, frames, _ = image.resize(tf.zeros([height, width, 3]), rule(golden), scale)
    found = image.from_frames(tf.constant(golden["det"][0, :, :4]) * 4, frames)
    np.testing.assert_allclose(found, golden["boxes_px64"], atol=1e-2)
    np.testing.assert_allclose(found, golden["det_px"][:, :4], atol=1e-2)


@pytest.fixture(scope="module")
def model():
    """A CenterNet with joints, whose own maps are replaced by the recorded ones."""
    return CenterNet(**{**CenterNet.tiny(), "classes": 1, "keypoints": 17, "limit": 20, "clip": False})


NAMES = {
    "hm": "heat",
    "wh": "size",
    "reg": "offset",
    "hps": "joint",
    "hm_hp": "joint_heat",
    "hp_offset": "joint_offset",
}


def test_joints(model):
    for case in goldens.cases("heat_centernet", "pose_decode"):
        golden = CENTERS[case]
        if "hm_hp_map" not in golden or "hp_offset_map" not in golden:
            continue  # variants that are not built: joints without heat maps, or without offsets
        heat = tf.constant(golden["scores_map"])
        said = {name: [tf.constant(golden[f"{theirs}_map"])] for theirs, name in NAMES.items() if theirs != "hm"}
        said["heat"], said["joint_heat"] = [_logit(heat)], [_logit(said["joint_heat"][0])]
        vars(model)["limit"] = int(golden["k"])
        size = [4 * side for side in heat.shape[1:3]]
        images = {
            "windows": tf.constant([[0.0, 0.0, size[1], size[0]]]),
            "ids": tf.zeros([1], tf.int64),
        }
        found = model.detections(said, images)
        count = int(np.atleast_1d(golden["n_valid"])[0])
        expected = golden["det_pose"][0, :count]
        np.testing.assert_allclose(found["boxes"][0, :count] / 4, expected[:, :4], atol=1e-3)
        np.testing.assert_allclose(found["scores"][0, :count], expected[:, 4], atol=1e-5)
        joints = found["keypoints"][0, :count].numpy()
        np.testing.assert_allclose(joints[..., :2] / 4, expected[:, 5:39].reshape(-1, 17, 2), atol=1e-3)


def _logit(probability):
    return tf.math.log(probability) - tf.math.log(1.0 - probability)


@pytest.mark.parametrize("case", goldens.cases("heat_centernet", "flip"))
def test_flips(case, model):
    """The means of both maps; the recorded maps are logits where the release applies the sigmoid."""
    golden = CENTERS[case]
    said = {name: tf.constant(golden[f"{theirs}_map"]) for theirs, name in NAMES.items() if f"{theirs}_map" in golden}
    said["heat"], pose = tf.constant(golden["logits"]), "joint" in said
    vars(model).update(num_keypoints=17 if pose else 0, limit=int(golden["k"]))
    one, other = ({name: value[i : i + 1] for name, value in said.items()} for i in (0, 1))
    images = {"windows": tf.constant([[0.0, 0.0, 999.0, 999.0]]), "ids": tf.zeros([1], tf.int64)}
    merged = model._both(dict(one), dict(other), PAIRS if pose else ())
    found = model.detections(_stacks(one), images, _stacks(other), PAIRS)
    vars(model)["num_keypoints"] = 17
    for theirs, name in NAMES.items():
        if f"{theirs}_merged" in golden:
            np.testing.assert_allclose(merged[name], golden[f"{theirs}_merged"], atol=1e-5, err_msg=name)
    count = int(golden["n_valid"][0])
    expected = golden["det_pose" if pose else "det"][0, :count]
    np.testing.assert_allclose(found["boxes"][0, :count] / 4, expected[:, :4], atol=1e-4)
    np.testing.assert_allclose(found["scores"][0, :count], expected[:, 4], atol=1e-5)
    if pose:
        joints = found["keypoints"][0, :count, :, :2].numpy() / 4
        np.testing.assert_allclose(joints, expected[:, 5:39].reshape(-1, 17, 2), atol=1e-4)


def _stacks(said):
    return {name: [value] for name, value in said.items()}


@pytest.mark.parametrize("case", ["merge_two_scales", "merge_five_scales", "merge_many", "merge_pose"])
def test_views_are_merged(case):
    golden = CENTERS[case]
    pose = case == "merge_pose"
    given, expected = (golden["poses_in"], golden["poses_clean"]) if pose else (golden["dets_in"], golden["clean"])
    kinds = np.zeros(len(given), np.int32) if pose else given[:, 5].astype(np.int32)
    rows, scores = views.soft(given[:, :4], given[:, 4], kinds)
    got = np.c_[given[rows, :4], scores * 100, kinds[rows]]
    labels = np.zeros(len(expected)) if pose else expected[:, 5]
    wanted = np.c_[expected[:, :4], expected[:, 4] * 100, labels]
    order = match(got, wanted, 1e-2)
    if pose:
        np.testing.assert_array_equal(given[rows][order][:, 5:], expected[:, 5:])


@pytest.mark.parametrize(
    "case", [case for case in goldens.cases("heat_centernet", "pose_targets") if "rot" not in case]
)
def test_targets_of_joints(case):
    golden = CENTERS[case]
    boxes, zoom, shift = in_cells(golden)
    grid, most = tuple(golden["output_size"]), int(golden["max_objs"])
    points = golden["keypoints"][:most].copy()
    if golden["flipped"]:
        points[..., 0] = golden["image_size"][1] - points[..., 0] - 1
        points = points[:, list(PAIRS)]
    places = np.float32(points[..., :2] * zoom + shift)
    seen = points[..., 2] > 0
    model = CenterNet(**{**CenterNet.tiny(), "classes": 1, "keypoints": 17, "max_objects": most, "size_weight": 1.0})
    stride = model.stride
    objects = {
        "boxes": tf.constant(boxes[None] * stride), "classes": tf.zeros([1, len(boxes)], tf.int32),
        "crowds": tf.zeros([1, len(boxes)], tf.bool),
        "keypoints": tf.constant(np.float32(np.concatenate([places * stride, seen[..., None] * 2.0], -1))[None]),
    }  # fmt: skip
    size = [side * stride for side in grid]
    images = {"pixels": tf.zeros([1, *size, 3]), "ids": tf.zeros([1], tf.int64)}
    # Outputs that say what the release's targets are cost nothing, but for the heat maps.
    said = {name: np.zeros([1, *grid, count], np.float32) for name, count in (
        ("size", 2), ("offset", 2), ("joint", 34), ("joint_offset", 2))}  # fmt: skip
    columns = grid[1]
    for name, theirs, mask, where in (
        ("size", "wh", "reg_mask", "ind"), ("offset", "reg", "reg_mask", "ind"), ("joint", "hps", "hps_mask", "ind"),
        ("joint_offset", "hp_offset", "hp_mask", "hp_ind"),
    ):  # fmt: skip
        for row, value in enumerate(golden[theirs]):
            if np.any(golden[mask][row]):
                cell = golden[where][row]
                said[name][0, cell // columns, cell % columns] = value
    heat = {"heat": golden["hm"], "joint_heat": golden["hm_hp"]}
    outputs = {name: [tf.constant(value)] for name, value in said.items()}
    outputs |= {name: [tf.zeros([1, *value.shape])] for name, value in heat.items()}
    terms = model.loss_terms(outputs, objects, images)
    for name in ("size", "offset", "joint"):
        assert float(terms[name]) < 1e-4, name
    # Several joints may share a cell, which says what one of them is.
    cells, mask = golden["hp_ind"], golden["hp_mask"] > 0
    apart = np.abs(said["joint_offset"][0, cells // columns, cells % columns] - golden["hp_offset"])[mask]
    np.testing.assert_allclose(terms["joint_offset"], apart.sum() / (2 * mask.sum() + 1e-4), atol=1e-4)
    for name, value in heat.items():
        expected = tf.reduce_sum(heatmaps.focal(tf.zeros_like(value), value)) / max((value == 1).sum(), 1)
        np.testing.assert_allclose(terms[name], expected, rtol=1e-5)


LOSSES = goldens.cases("heat_centernet", "ctdet_loss") + goldens.cases("heat_centernet", "pose_loss")


@pytest.mark.parametrize("case", LOSSES)
def test_whole_losses(case, model):
    """All terms, by stacks, and their gradients; targets are the recorded ones."""
    golden = CENTERS[case]
    stacks = int(golden.get("stacks", 1))
    said = {
        name: [tf.constant(golden[f"s{i}_{theirs}"]) for i in range(stacks)]
        for theirs, name in NAMES.items() if f"s0_{theirs}" in golden
    }  # fmt: skip
    columns = said["heat"][0].shape[2]
    hidden = tf.zeros(said["heat"][0].shape[:3], tf.bool)

    def cells(theirs):
        return tf.stack([golden[theirs] % columns, golden[theirs] // columns], -1)

    pose = "joint" in said
    heat, mask, where = ("hm", "reg_mask", "ind") if pose else ("target", "obj_mask", "obj_ind")
    regressed = {"size": ("wh", mask, where), "offset": ("reg", mask, where)}
    if pose:
        regressed |= {"joint": ("hps", "hps_mask", "ind"), "joint_offset": ("hp_offset", "hp_mask", "hp_ind")}
    with tf.GradientTape() as tape:
        tape.watch(said)
        terms = {"heat": heatmaps.focal_of_stacks(said["heat"], tf.constant(golden[heat]), hidden)}
        if pose:
            terms["joint_heat"] = heatmaps.focal_of_stacks(said["joint_heat"], tf.constant(golden["hm_hp"]), hidden)
        for name, (theirs, known, place) in regressed.items():
            known = golden[known] > 0
            known = known if known.ndim == 3 else known[..., None]
            terms[name] = heatmaps.mean_of_stacks(said[name], cells(place), golden[theirs], known)
        weights = {**dict.fromkeys(terms, 1.0), "size": model.size_weight}
        total = tf.add_n([weights[name] * value for name, value in terms.items()])
    np.testing.assert_allclose(total, golden["loss64"], rtol=1e-5)
    for theirs, name in {"hm": "heat", "wh": "size", "off": "offset", "hp": "joint", "hm_hp": "joint_heat",
                         "hp_offset": "joint_offset"}.items():  # fmt: skip
        if name in terms:
            np.testing.assert_allclose(terms[name], golden[f"{theirs}_loss64"], rtol=1e-5, err_msg=name)
    for name, gradients in tape.gradient(total, said).items():
        theirs = next(theirs for theirs, ours in NAMES.items() if ours == name)
        for i, gradient in enumerate(gradients):
            expected = golden[f"s{i}_{theirs}_grad64"]
            np.testing.assert_allclose(tf.convert_to_tensor(gradient), expected, rtol=1e-4, atol=1e-4, err_msg=name)


METHODS = {0: "hard", 1: "soft_linear", 2: "soft"}


def kept(golden, rows, kinds, limit, above=0.001):
    """Suppresses rows of box, score and corner scores: [D, 6] of box, score and class."""
    boxes, scores = tf.constant(rows[None, :, :4]), tf.constant(rows[None, :, 4])
    method = METHODS[int(golden["nms_method"])]
    iou = goldens.decimal(golden["nms_threshold"])
    wide, numbers = boxes + [0.0, 0.0, 1.0, 1.0], tf.range(len(rows))[None]
    given = wide, scores, tf.constant(kinds[None])
    found = suppress.per_class(*given, int(kinds.max()) + 1, iou, above, limit, method, rows=numbers)
    count = int(found["counts"][0])
    if golden["merge_bbox"]:
        order = tf.where(found["classes"] >= 0, found["rows"], -1)
        corners = tf.constant(rows[None, :, 5]), tf.constant(rows[None, :, 6])
        kind = "gaussian" if method == "soft" else "linear"
        found["boxes"] = suppress.averaged(
            found["boxes"], order, *given, corners, float(golden["weight_exp"]), above, kind, 0.5, iou
        )
    boxes = found["boxes"][0, :count] - [0.0, 0.0, 1.0, 1.0]
    return np.c_[boxes, found["scores"][0, :count], found["classes"][0, :count]]


def compare(found, expected):
    match(found * [1, 1, 1, 1, 100, 1], expected * [1, 1, 1, 1, 100, 1], 2e-2)


SUPPRESSED = [c for c in goldens.cases("heat_cornernet", "soft") + goldens.cases("heat_cornernet", "merge")]


@pytest.mark.parametrize("case", SUPPRESSED)
def test_rows_of_a_class(case):
    golden = CORNERS[case]
    rows = golden["rows_in"]
    found = kept(golden, rows, np.zeros(len(rows), np.int32), len(rows))
    compare(found, np.c_[golden["rows_clean"][:, :5], np.zeros(len(golden["rows_clean"]))])


@pytest.mark.parametrize("case", goldens.cases("heat_cornernet", "chain"))
def test_from_all_views_to_detections(case):
    golden = CORNERS[case]
    rows = golden["dets_px"]
    found = kept(golden, rows, rows[:, 7].astype(np.int32), int(golden["max_per_image"]))
    compare(found, golden["final_clean"])
