"""R-CNN and SPP-net against the reference values, which follow the MATLAB releases."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import backbones, boxes, coders, linear, ops
from kerasdet.detectors.rcnn import warped
from kerasdet.detectors.sppnet import cells, nearest, pyramid
from tests.golden import goldens

RCNN, SPPNET = goldens.load("rcnn"), goldens.load("sppnet")


def of_rcnn(prefix):
    return goldens.cases("rcnn", prefix)


def crops(golden, pixels):
    """Every box of a case, cut out of a picture of the case's size."""
    height, width = pixels.shape[:2]
    count = len(golden["boxes"])
    windows = tf.constant([[0, 0, width, height]] * count, tf.float32)
    return warped(
        tf.constant(pixels[None], tf.float32), tf.zeros([count], tf.int32), tf.constant(golden["boxes"], tf.float32),
        windows, golden["crop"].item(), golden["padding"].item(), bool(golden["square"]),
    ).numpy()  # fmt: skip


@pytest.mark.parametrize("case", of_rcnn("geometry_"))
def test_geometry(case):
    """The window of the picture, where it comes to lie in the square, and that nothing else is painted."""
    golden = RCNN[case]
    height, width = golden["image_size"]
    rows, columns = np.mgrid[1 : height + 1, 1 : width + 1]
    found = crops(golden, np.stack([columns, rows], axis=-1))  # a pixel holds its own place, counted from 1
    for crop, clipped, pad, size in zip(found, golden["clipped"], golden["pad"], golden["size"], strict=True):
        inside = np.zeros(crop.shape[:2], bool)
        inside[pad[1] : pad[1] + size[1], pad[0] : pad[0] + size[0]] = True
        np.testing.assert_array_equal((crop > 0).all(-1), inside)
        for axis in (0, 1):
            first, last, count = clipped[axis], clipped[axis + 2], size[axis]
            places = first - 1 + (np.arange(count) + 0.5) * (last - first + 1) / count + 0.5
            line = crop[pad[1], :, 0] if axis == 0 else crop[:, pad[0], 1]
            wanted = places.clip(first, last)
            np.testing.assert_allclose(line[pad[axis] : pad[axis] + count], wanted, rtol=0, atol=1e-3)


@pytest.mark.parametrize("case", of_rcnn("warp_") + of_rcnn("square_"))
def test_crops(case):
    golden = RCNN[case]
    far = 1000  # so that a 0 is a pixel outside
    found = crops(golden, golden["image"] + far)
    found = np.where(found > 0, found - far - golden["mean"], 0)
    if "crops" in golden:
        np.testing.assert_allclose(found, golden["crops"], rtol=0, atol=1e-2)
    else:
        np.testing.assert_allclose(found[:, ::8, ::8], golden["crops_every8"], rtol=0, atol=1e-2)


@pytest.mark.parametrize("case", of_rcnn("ridge_"))
def test_ridge(case):
    """Whitened and un-whitened, and the boxes that come out."""
    golden = RCNN[case]
    targets = coders.encode(*(tf.constant(golden[name], tf.float64) for name in ("proposals", "gt"))).numpy()
    np.testing.assert_allclose(targets, golden["targets64"], rtol=1e-6, atol=1e-9)
    mean, white, colored = linear.whitening(golden["targets64"])
    for found, name in ((mean, "mu64"), (white, "whiten64"), (colored, "unwhiten64")):
        np.testing.assert_allclose(found, golden[name], rtol=1e-6, atol=1e-9)
    kernel, bias = linear.ridge(golden["features"], targets, goldens.decimal(golden["lam"]))
    beta = golden["beta64"] @ golden["unwhiten64"]
    np.testing.assert_allclose(kernel, beta[:-1], rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(bias, beta[-1] + golden["mu64"], rtol=1e-4, atol=1e-9)
    found = coders.decode(tf.constant(golden["test_boxes"], tf.float64), golden["test_features"] @ kernel + bias)
    np.testing.assert_allclose(found, golden["predicted64"], rtol=0, atol=1e-3)


@pytest.mark.parametrize("case", of_rcnn("svm"))
def test_svm(case):
    golden = RCNN[case]
    numbers = [goldens.decimal(golden[name]) for name in ("c", "positive_weight", "bias_feature")]
    positives, negatives = np.float64(golden["x_pos"]), np.float64(golden["x_neg"])
    kernel, bias, dual = linear.svm(positives, negatives, *numbers, tolerance=1e-12)
    np.testing.assert_allclose(kernel, golden["w64"], rtol=1e-4, atol=1e-4 * np.abs(golden["w64"]).max())
    np.testing.assert_allclose(bias, golden["b64"], rtol=1e-4)
    c, weight, feature = numbers
    losses = c * weight * np.maximum(1 - positives @ kernel - bias, 0), c * np.maximum(1 + negatives @ kernel + bias, 0)
    for loss, name in zip(losses, ("pos_loss64", "neg_loss64"), strict=True):
        np.testing.assert_allclose(loss.sum(), golden[name], rtol=1e-4, atol=1e-6)
    objective = 0.5 * kernel @ kernel + 0.5 * (bias / feature) ** 2 + sum(loss.sum() for loss in losses)
    np.testing.assert_allclose(objective, golden["objective64"], rtol=1e-9)
    assert (dual >= 0).all() and (dual[: len(positives)] <= c * weight).all() and (dual[len(positives) :] <= c).all()


@pytest.mark.parametrize("case", of_rcnn("feature_scale"))
def test_features_are_scaled(case):
    golden = RCNN[case]
    norm = np.linalg.norm(np.float64(golden["features"]), axis=1).mean()
    np.testing.assert_allclose(norm, golden["norm_mean"], rtol=1e-6)
    np.testing.assert_allclose(golden["features"] * (golden["target_norm"] / norm), golden["scaled64"], rtol=1e-5)


@pytest.mark.parametrize("case", of_rcnn("hard_negatives"))
def test_hard_negatives(case):
    golden = RCNN[case]
    scores, overlaps = np.float64(golden["scores"]), golden["overlaps"]
    least = goldens.decimal(golden["hard_threshold"])
    np.testing.assert_array_equal(linear.added(scores, overlaps, least, np.float32(0.3)), golden["added"])
    np.testing.assert_array_equal(linear.added(None, overlaps, least, np.float32(0.3)), golden["first_added"])
    # A class that knows its SVM: one number is the feature and the margin.
    mine = linear.Mining(np.ones([1, 1], np.float32), evicted=goldens.decimal(golden["evict_threshold"]))
    mine.kernel, mine.bias = np.ones(1), 0.0
    mine.see(0, golden["scores"][:, None], overlaps)
    np.testing.assert_array_equal(mine.negatives[:, 0], golden["scores"][golden["added"]])
    cached = golden["cached_scores"]
    np.testing.assert_array_equal(linear.easy(cached, mine.evicted), golden["evicted"])


@pytest.mark.parametrize("case", of_rcnn("nms"))
def test_suppression(case):
    golden = RCNN[case]
    found = golden["boxes"].astype(np.float32)
    rows, _, valid = ops.nms(
        tf.constant(found[None]), tf.constant(golden["det_scores"][None]), None,
        goldens.decimal(golden["iou_threshold"]), -10.0, len(found),
    )  # fmt: skip
    np.testing.assert_array_equal(rows[0][valid[0]], golden["keep"])


@pytest.mark.parametrize("case", goldens.cases("sppnet", "project"))
def test_scales_and_cells(case):
    """The scale by both rules, the cells at the chosen one, and the sizes of ZF-5's maps."""
    golden = SPPNET[case]
    found, count = tf.constant(golden["boxes"], tf.float32), len(golden["boxes"])
    shorter = tf.fill([count], np.float32(golden["image_size"].min()))
    scales = tf.constant(golden["scales"][None].repeat(count, 0), tf.float32)
    chosen = nearest(found, shorter, scales, "release")
    np.testing.assert_array_equal(chosen, golden["best_scale"])
    np.testing.assert_array_equal(nearest(found, shorter, scales, "paper"), golden["best_224"])
    scale = tf.gather(scales, chosen, batch_dims=1)
    projection = {name: goldens.decimal(golden[key]) for name, key in (("first", "offset0"), ("slack", "offset"))}
    projection["stride"] = golden["stride"].item()
    on_maps = cells(found, shorter, scale, tf.constant(golden["map_sizes"][golden["best_scale"]]), **projection)
    np.testing.assert_array_equal(on_maps.numpy() + 1, golden["cells_clipped"])
    network = backbones.build({"name": "zf", "padded": False, "width": 2}, levels=(4, 4))
    for size, cells_of_map in zip(golden["resized"], golden["map_sizes"], strict=True):
        assert network(tf.zeros([1, *size, 3]))[0].shape[1:3].as_list() == cells_of_map.tolist()
    assert boxes.area(found).numpy().min() > 0


@pytest.mark.parametrize("case", goldens.cases("sppnet", "pool_"))
def test_pyramid(case):
    """By row, column and channel; channels first, as the release's fc6 expects them, they are the same numbers."""
    golden = SPPNET[case]
    features, windows, bins = golden["features"], golden["windows"], golden["levels"].tolist()
    rois = np.concatenate([np.zeros([len(windows), 1]), windows - 1], axis=1)
    given = [tf.constant(features)], tf.constant(rois, tf.float32), tf.zeros([len(rois)], tf.int32)
    for context in (ops.portable, tf.name_scope):
        with context(*(["native"] if context is tf.name_scope else [])):
            found = pyramid(*given, bins).numpy()
        np.testing.assert_array_equal(found, golden["vector_nhwc"])
    parts = np.split(found, np.cumsum([side**2 * features.shape[-1] for side in bins])[:-1], axis=1)
    parts = [part.reshape(len(rois), side**2, -1) for part, side in zip(parts, bins, strict=True)]
    first = np.concatenate([part.transpose(0, 2, 1).reshape(len(rois), -1) for part in parts], axis=1)
    np.testing.assert_array_equal(first, golden["vector"])
