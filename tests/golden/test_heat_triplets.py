"""CenterNet of keypoint triplets against the reference values: targets, pooling, losses, decoding, central regions."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet.detectors import CenterNetTriplets, centernet_triplets
from kerasdet.detectors.centernet_triplets import CascadePool, CenterPool
from kerasdet.losses import heatmaps
from kerasdet.targets import heatmaps as targets
from kerasdet.weights import points as released
from kerasdet.weights import torch
from tests.golden import goldens
from tests.golden.test_heat_chains import compare
from tests.golden.test_heat_lite import weights_of
from tests.golden.test_heatmaps import close, match

TRIPLETS = goldens.load("heat_triplets")
POINTS = {"top_left": "tl", "bottom_right": "br", "center": "ct"}
PARTS = {"heat": "heat", "tag": "tag", "offset": "off"}


def cases(prefix):
    return goldens.cases("heat_triplets", prefix)


@pytest.fixture(scope="module")
def model():
    """Of which only the functions are asked; tests set the arguments that a golden has."""
    return CenterNetTriplets(**{**CenterNetTriplets.tiny(), "regions": (3, 5), "outside": 5.0})


@pytest.mark.parametrize("case", cases("targets"))
def test_targets(case):
    golden = TRIPLETS[case]
    grid, size = tuple(golden["output_size"]), golden["input_size"]
    boxes, classes = tf.constant(golden["boxes_input"][None]), tf.constant(golden["labels_input"][None])
    inside = boxes * targets.cells_per_pixel(grid, size)
    real, overlap = classes >= 0, goldens.decimal(golden["gaussian_iou"])
    three = [*targets.corners(inside, real, overlap), targets.centers(inside, real, overlap)]
    mask = golden["mask"] > 0
    for side, points in zip(POINTS.values(), three, strict=True):
        divisor = centernet_triplets.CENTER_DIVISOR if side == "ct" else 6.0
        heat = targets.gaussians(points, classes, grid, golden[f"{side}_heat"].shape[-1], divisor)
        close(heat[0], golden[f"{side}_heat"], 0, 1e-6)
        np.testing.assert_array_equal(points.radii[0], golden["radius"])
        np.testing.assert_array_equal(points.cells[0].numpy() @ [1, grid[1]], golden[f"{side}_ind"][mask])
        close(points.offsets[0], golden[f"{side}_off"][mask])


POOLS = {
    "cascade_top_left": (CascadePool, "top", "left"), "cascade_bottom_right": (CascadePool, "bottom", "right"),
    "center_pool": (CenterPool, "top", "left"),
}  # fmt: skip


@pytest.mark.parametrize("case", cases("cascade") + cases("center_pool"))
def test_pooling_and_its_gradients(case):
    golden = TRIPLETS[case]
    kind, *edges = POOLS[case]
    x, tensors = tf.constant(golden["x"]), weights_of(golden)
    block = kind(*edges, tensors["w.p1_conv1.conv.weight"].shape[-1], x.shape[-1], "batch", dtype="float32")
    block(x)
    pairs = torch.of_convs(released.corner_pool(block, "w"))
    released.copy(pairs, tensors)
    names = {v.path: name for v, name in pairs}
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_sum((out := block(x)) * golden["upstream"])
    close(out, golden["out64"], 1e-5, 1e-5)
    gradient, *others = tape.gradient(value, [x, *block.trainable_variables])
    close(gradient, golden["grad_x64"])
    compared = 0
    for variable, other in zip(block.trainable_variables, others, strict=True):
        name = f"grad_w_{names[variable.path].removeprefix('w.').replace('.', '__')}_64"
        if name in golden:
            close(other, torch.layout(golden[name]))
            compared += 1
    assert compared == sum(name.startswith("grad_w_") for name in golden)


def outputs(golden, prefix="", stacks=None, rows=slice(None)):
    """The recorded heads as `network` returns them."""
    return {
        f"{ours}_{part}": [
            tf.constant(golden[f"{prefix if stacks is None else f's{i}_'}{theirs}_{name}"])[rows]
            for i in range(stacks or 1)
        ]
        for ours, theirs in POINTS.items()
        for part, name in PARTS.items()
        if f"{prefix if stacks is None else 's0_'}{theirs}_{name}" in golden
    }


def test_whole_loss(model):
    """All terms and their gradients; targets are the recorded ones."""
    golden = TRIPLETS["loss"]
    stacks = int(golden.get("stacks", 1))
    said = outputs(golden, stacks=stacks)
    columns, real = said["center_heat"][0].shape[2], tf.constant(golden["obj_mask"] > 0)
    none = tf.zeros(said["center_heat"][0].shape[:3], tf.bool)
    three = []
    for side in POINTS.values():
        place = golden[f"{side}_obj_ind"]
        cells = tf.stack([place % columns, place // columns], -1)
        three.append(targets.Points(real, cells, golden[f"{side}_obj_off"], None))
    with tf.GradientTape() as tape:
        tape.watch(said)
        total = tf.add_n(list(model.tag_terms(said, three[:2]).values()))
        for (ours, side), point in zip(POINTS.items(), three, strict=True):
            total += heatmaps.focal_of_stacks(said[f"{ours}_heat"], golden[f"target_{side}"], none)
            offsets = said[f"{ours}_offset"], point.cells, point.offsets, real[..., None]
            total += heatmaps.mean_of_stacks(*offsets, beta=1.0, by_object=True)
    close(total, golden["loss64"], 1e-5, 0)
    for name, gradients in tape.gradient(total, said).items():
        point, _, part = name.rpartition("_")
        for i, gradient in enumerate(gradients):
            close(tf.convert_to_tensor(gradient), golden[f"s{i}_{POINTS[point]}_{PARTS[part]}_grad64"])


@pytest.mark.parametrize("case", cases("decode"))
def test_pairs_and_centers(case, model):
    golden = TRIPLETS[case]
    said = outputs(golden)
    grid = targets.grid_of(said["center_heat"][0])
    vars(model).update(corners=int(golden["k"]), pairs=int(golden["num_dets"]))
    vars(model)["distance"] = goldens.decimal(golden["ae_threshold"])
    found, centers = model.found_pairs(said, grid), model.found_centers(said, grid)
    for i, count in enumerate(np.atleast_1d(golden["n_valid"])):
        expected = golden["det"][golden["det_image"] == i]
        assert (found["scores"][i].numpy() > 0).sum() == count
        rows = match(np.c_[found["boxes"][i, :count], found["classes"][i, :count]], expected[:, [0, 1, 2, 3, 7]])
        close(found["scores"][i].numpy()[rows], expected[:, 4], 0, 1e-5)
        close(centers["boxes"][i, :, :2], golden["centers"][i, :, :2])
        np.testing.assert_array_equal(centers["classes"][i], golden["centers"][i, :, 2])
        close(centers["scores"][i], golden["centers"][i, :, 3], 0, 1e-5)


def test_central_regions(model):
    """A center of another class, one on the region's border, a box as large as the limit, two centers in one region."""
    golden = TRIPLETS["region_rules"]
    boxes, scale = tf.constant(golden["pair_boxes"][None]), tf.ones([1, 1, 2])
    close(tf.concat(centernet_triplets.central(boxes, scale), -1)[0], golden["region64"], 1e-5, 1e-3)
    found = {
        "boxes": boxes, "scores": tf.constant(golden["pair_scores"][None]),
        "classes": tf.constant(golden["pair_classes"][None]),
    }  # fmt: skip
    points = golden["center_points"][None]
    places, kinds, scores = points[..., :2], points[..., 2].astype(np.int32), points[..., 3]
    centers = {"boxes": tf.concat([places, places], -1), "classes": tf.constant(kinds), "scores": tf.constant(scores)}
    got = model.with_centers(found, centers, scale)[0].numpy()
    np.testing.assert_array_equal(got > 0, golden["kept"] > 0)
    close(got[got > 0], golden["new_scores"][golden["kept"] > 0], 0, 1e-6)
    # In a picture that was shrunk to half its size the same boxes are four times as large.
    half = {**found, "boxes": boxes / 2}
    centers["boxes"] /= 2
    close(model.with_centers(half, centers, scale / 2)[0], got, 0, 1e-6)


@pytest.mark.parametrize("case", cases("chain"))
def test_from_pairs_to_detections(case, model):
    """Central regions, then Soft-NMS, of the recorded pairs and centers of all scales."""
    golden = TRIPLETS[case]
    rows, points = golden["pairs_px"], golden["centers_px"][None]
    found = {
        "boxes": tf.constant(rows[None, :, :4]), "scores": tf.constant(rows[None, :, 4]),
        "first": tf.constant(rows[None, :, 5]), "second": tf.constant(rows[None, :, 6]),
        "classes": tf.constant(rows[None, :, 7].astype(np.int32)),
    }  # fmt: skip
    centers = {
        "boxes": tf.constant(np.tile(points[..., :2], 2)), "scores": tf.constant(points[..., 3]),
        "classes": tf.constant(points[..., 2].astype(np.int32)),
    }  # fmt: skip
    scores = model.with_centers(found, centers, tf.ones([1, 1, 2]))
    expected, kept = golden["rows_scored"], scores[0].numpy() > 0
    assert kept.sum() == len(expected)
    got = np.c_[rows[kept, :4], 100 * scores[0].numpy()[kept], rows[kept, 7]]
    match(got, expected[:, [0, 1, 2, 3, 4, 7]] * [1, 1, 1, 1, 100, 1], 1e-2)
    wide = CenterNetTriplets(**{
        **CenterNetTriplets.tiny(), "classes": int(rows[:, 7].max()) + 1, "limit": int(golden["max_per_image"]),
        "merge_exponent": int(golden["weight_exp"]) if golden["merge_bbox"] else None,
    })  # fmt: skip
    found = wide.suppressed({**found, "scores": scores})
    count = int(found["counts"][0])
    compare(np.c_[found["boxes"][0], found["scores"][0], found["classes"][0]][:count], golden["final_clean"])
