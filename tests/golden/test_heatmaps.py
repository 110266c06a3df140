"""Heat maps against the reference values: radii, Gaussians, targets, losses, peaks and decoding."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet.decoding import peaks as decode
from kerasdet.losses import embeddings, heatmaps
from kerasdet.targets import heatmaps as targets
from tests.golden import goldens

MAPS, CENTERS, CORNERS = (goldens.load(name) for name in ("heatmaps", "heat_centernet", "heat_cornernet"))


def cases(name, *prefixes, without=()):
    return [case for prefix in prefixes for case in goldens.cases(name, prefix) if not case.startswith(without)]


def gradients(value, *given):
    """A scalar function's value and its gradients."""
    given = [tf.constant(one) for one in given]
    with tf.GradientTape() as tape:
        tape.watch(given)
        found = value(*given)
    return found, [g.numpy() for g in tape.gradient(found, given, unconnected_gradients="zero")]


def close(got, expected, rtol=1e-4, atol=1e-4):
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("case", goldens.cases("heatmaps", "radius"))
def test_radii(case):
    golden = MAPS[case]
    sides, overlap = golden["hw"][:, ::-1], goldens.decimal(golden["min_overlap"])
    np.testing.assert_array_equal(targets.radii(sides, overlap), golden["radius_int"])
    corrected = np.maximum(golden["radius_corrected64"], 0)
    np.testing.assert_array_equal(targets.radii(sides, overlap, corrected=True), corrected.astype(int))


@pytest.mark.parametrize("case", goldens.cases("heatmaps", "splat"))
def test_gaussians(case):
    golden = MAPS[case]
    _, rows, columns, count = golden["heatmap"].shape
    cells = tf.constant(golden["centers"])[None]
    points = targets.Points(tf.fill(cells.shape[:2], True), cells, None, tf.constant(golden["radii"])[None])
    found = targets.gaussians(
        points, tf.constant(golden["classes"])[None], (rows, columns), count, float(golden["sigma_divisor"])
    )
    close(found, golden["heatmap64"], 0, 1e-6)


@pytest.mark.parametrize("case", goldens.cases("heatmaps", "peaks"))
def test_peaks(case):
    golden = MAPS[case]
    scores, cells, classes = decode.peaks(tf.constant(golden["heatmap"]), int(golden["k"]))
    np.testing.assert_array_equal(tf.maximum(scores[0], 0), golden["top_scores"])
    real = golden["top_scores"] > 0
    for got, name in ((cells[0, :, 0], "top_x"), (cells[0, :, 1], "top_y"), (classes[0], "top_class")):
        np.testing.assert_array_equal(got[real], golden[name][real])


def test_boxes_around_peaks():
    golden = MAPS["centernet_decode"]
    _, cells, _ = decode.peaks(tf.constant(golden["heatmap"]), int(golden["k"]))
    places = tf.cast(cells, tf.float32) + heatmaps.at(golden["offsets"], cells)
    found = decode.boxes(places, heatmaps.at(golden["sizes"], cells))
    close(found[0] * float(golden["stride"]), golden["boxes64"])


def found_corners(golden, k, kernel=3, maps=tf.identity, batch=None):
    """The corners of both kinds, as `decode.pairs` takes them; fields of a test scale begin with its name."""
    both = []
    for side in ("tl", "br"):
        heat, tag = (tf.constant(golden[f"{side}_{name}"])[batch] for name in ("heat", "tag"))
        scores, cells, classes = decode.peaks(maps(heat), k, kernel)
        places = tf.cast(cells, tf.float32)
        if f"{side}_off" in golden:
            places += heatmaps.at(golden[f"{side}_off"][batch], cells)
        tags = heatmaps.at(tag, cells)[..., 0]
        both.append({"places": places, "scores": tf.maximum(scores, 0), "classes": classes, "tags": tags})
    return both


def test_grouping():
    golden = MAPS["corner_grouping"]
    found = decode.pairs(
        *found_corners(golden, int(golden["k"]), batch=slice(None)),
        int(golden["detections"]), goldens.decimal(golden["tag_threshold"]),
    )  # fmt: skip
    count = min(int(golden["n_valid"]), int(golden["detections"]))
    assert int(tf.reduce_sum(tf.cast(found["scores"] > 0, tf.int32))) == count
    close(found["boxes"][0, :count] * float(golden["stride"]), golden["boxes64"])
    close(found["scores"][0, :count], golden["scores"], 0, 1e-6)
    np.testing.assert_array_equal(found["classes"][0, :count], golden["det_classes"])


# CenterNet. These variants of its sampler and losses are not built: class-specific and dense sizes, and rotation.
UNBUILT = ("targets_cat_spec", "targets_dense", "decode_cat_spec", "reg_norm", "pose_targets_rotation")


def in_cells(golden):
    """The boxes in cells of the output, as the release's affine transform takes them there."""
    boxes, grid = golden["boxes"].reshape(-1, 4).copy(), golden["output_size"]
    if golden["flipped"]:
        width = golden["image_size"][1]
        boxes[:, [0, 2]] = width - boxes[:, [2, 0]] - 1
    zoom = grid[1] / golden["scale"][0]
    shift = grid[::-1] / 2 - zoom * golden["center"]
    return np.float32(boxes * zoom + np.tile(shift, 2)), zoom, shift


def sampled(golden, most):
    """Objects of the first rows, and their centers."""
    boxes, *affine = in_cells(golden)
    grid = tuple(golden["output_size"])
    boxes = targets.clipped(tf.constant(boxes[None, :most]), grid)
    classes = golden.get("labels", np.zeros(boxes.shape[1], np.int32))
    return boxes, tf.constant(classes[None, :most]), targets.centers(boxes, classes[None, :most] >= 0, 0.7), affine


@pytest.mark.parametrize("case", cases("heat_centernet", "targets", without=UNBUILT))
def test_centers(case):
    golden = CENTERS[case]
    rows, columns = grid = tuple(golden["output_size"])
    boxes, classes, points, _ = sampled(golden, int(golden["max_objs"]))
    count = boxes.shape[1]
    close(targets.gaussians(points, classes, grid, golden["hm"].shape[-1])[0], golden["hm"], 0, 1e-6)
    real, cells = points.real[0].numpy(), points.cells[0].numpy()
    mask = golden["reg_mask"] > 0
    np.testing.assert_array_equal(np.pad(real, (0, len(mask) - count)), mask)
    np.testing.assert_array_equal(cells[real] @ [1, columns], golden["ind"][mask])
    np.testing.assert_array_equal(points.radii[0].numpy()[real], golden["radius"][:count][real])
    close(points.offsets[0].numpy()[real], golden["reg"][mask])
    sides = (boxes[0, :, 2:] - boxes[0, :, :2]).numpy()
    close(sides[real], golden["wh"][mask])


@pytest.mark.parametrize("case", cases("heat_centernet", "focal"))
def test_focal_of_centers(case):
    _same_focal(CENTERS[case])


@pytest.mark.parametrize("case", cases("heat_cornernet", "focal"))
def test_focal_of_corners(case):
    _same_focal(CORNERS[case])


def _same_focal(golden):
    count = max((golden["target"] == 1).sum(), 1)

    def loss(logits):
        return tf.reduce_sum(heatmaps.focal(logits, golden["target"])) / count

    found, (gradient,) = gradients(loss, golden["logits"])
    close(found, golden["loss64"], 1e-5, 0)
    close(gradient, golden["grad64"])


@pytest.mark.parametrize("case", cases("heat_centernet", "reg", without=UNBUILT))
def test_regression_in_cells(case):
    golden = CENTERS[case]
    columns = golden["head"].shape[2]
    cells = np.stack([golden["obj_ind"] % columns, golden["obj_ind"] // columns], -1)
    smooth = case.startswith("reg_smooth")

    def loss(head):
        said = heatmaps.at(head, cells)
        mask = np.broadcast_to(golden["obj_mask"].reshape(*cells.shape[:2], -1), said.shape)
        return heatmaps.mean(said, golden["obj_target"], mask > 0, beta=1.0 if smooth else 0.0, by_object=smooth)

    found, (gradient,) = gradients(loss, golden["head"])
    close(found, golden["loss64"], 1e-5, 1e-7)
    close(gradient, golden["grad64"])


@pytest.mark.parametrize("case", cases("heat_centernet", "decode", without=UNBUILT))
def test_decoding_of_centers(case):
    golden = CENTERS[case]
    scores, cells, classes = decode.peaks(tf.constant(golden["scores_map"]), int(golden["k"]))
    places = tf.cast(cells, tf.float32) + (heatmaps.at(golden["reg_map"], cells) if "reg_map" in golden else 0.5)
    found = decode.boxes(places, heatmaps.at(golden["wh_map"], cells)).numpy()
    for i, count in enumerate(np.broadcast_to(golden["n_valid"], len(found))):
        expected = golden["det"][i, :count]
        assert (scores[i, count:].numpy() <= 0).all()
        close(found[i, :count], expected[:, :4], 0, 1e-4)
        close(scores[i, :count], expected[:, 4], 0, 1e-5)
        np.testing.assert_array_equal(classes[i, :count], expected[:, 5])


# CornerNet.


@pytest.mark.parametrize("case", goldens.cases("heat_cornernet", "targets"))
def test_corners(case):
    golden = CORNERS[case]
    rows, columns = grid = tuple(golden["output_size"])
    height, width = golden["input_size"]
    ratio = np.float32([columns / width, rows / height])
    boxes = tf.constant(golden["boxes_input"].reshape(1, -1, 4) * np.tile(ratio, 2))
    classes = golden["labels_input"][None]
    both = targets.corners(boxes, classes >= 0, goldens.decimal(golden["gaussian_iou"]), corrected=True)
    mask = golden["mask"] > 0
    for side, points in zip(("tl", "br"), both, strict=True):
        heat = targets.gaussians(points, classes, grid, golden[f"{side}_heat"].shape[-1])
        close(heat[0], golden[f"{side}_heat"], 0, 1e-6)
        np.testing.assert_array_equal(points.radii[0], golden["radius"])
        np.testing.assert_array_equal(points.cells[0].numpy() @ [1, columns], golden[f"{side}_ind"][mask])
        close(points.offsets[0], golden[f"{side}_off"][mask])
        assert points.real.numpy().all() and mask.sum() == len(classes[0])


@pytest.mark.parametrize("case", goldens.cases("heat_cornernet", "ae"))
def test_embeddings(case):
    golden = CORNERS[case]
    for name, loss in (("pull", embeddings.pull), ("push", embeddings.push)):
        value, found = gradients(
            lambda *tags, loss=loss: tf.reduce_sum(loss(*tags, golden["obj_mask"] > 0)),
            golden["tags0"], golden["tags1"],
        )  # fmt: skip
        close(value, golden[f"{name}64"], 1e-5, 2e-3 if case == "ae_one_object" else 1e-5)
        for gradient, side in zip(found, ("tags0", "tags1"), strict=True):
            close(gradient, golden[f"grad_{name}_{side}_64"])


def test_offsets_of_corners():
    golden = CORNERS["off"]
    found, (gradient,) = gradients(
        lambda said: heatmaps.mean(said, golden["off_target"], golden["obj_mask"][..., None] > 0, 1.0, by_object=True),
        golden["offs"],
    )
    close(found, golden["loss64"], 1e-5, 0)
    if "grad64" in golden:
        close(gradient, golden["grad64"])


@pytest.mark.parametrize("case", goldens.cases("heat_cornernet", "decode"))
def test_pairs(case):
    golden = CORNERS[case]
    corners = found_corners(golden, int(golden["k"]), int(golden["kernel"]), tf.sigmoid, slice(None))
    found = decode.pairs(*corners, int(golden["num_dets"]), goldens.decimal(golden["ae_threshold"]))
    for i, count in enumerate(np.atleast_1d(golden["n_valid"])):
        expected = golden["det"][golden["det_image"] == i]
        count = len(expected)
        assert (found["scores"][i, count:].numpy() == 0).all()
        rows = match(np.c_[found["boxes"][i, :count], found["classes"][i, :count]], expected[:, [0, 1, 2, 3, 7]])
        for name, column in (("scores", 4), ("first", 5), ("second", 6)):
            close(found[name][i].numpy()[rows], expected[:, column], 0, 1e-5)
        assert (np.diff(found["scores"][i]) <= 0).all()


def match(found, expected, tolerance=1e-4):
    """For each expected row that of its like: rows closer in score than rounding may have changed places."""
    assert len(found) == len(expected)
    distance = np.abs(expected[:, None] - found[None]).max(-1)
    rows = distance.argmin(1)
    assert distance.min(1).max(initial=0) < tolerance and len(set(rows)) == len(rows)
    return rows
