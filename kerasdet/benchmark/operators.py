"""Benchmarks of the native operators beside their twins, the forms of stock TensorFlow, and torchvision.

The cases are the sizes at which papers run them: RoIAlign on the finest map of a pyramid (P2) and on conv4 of a ResNet
(P4), RoIPool on conv5 of VGG16 (C4), R-FCN's score maps of 81 classes, the taps of CenterNet's deformable convolution,
suppression of the boxes of a proposal network (12,000) and of a detector (5,000), and matching of up to 5,000 objects
with RetinaNet's anchors on a picture of 640 x 640 and with 33,600 boxes that lie anywhere.
"""

import functools

import numpy as np
import tensorflow as tf

from kerasdet import anchors, ops
from kerasdet.benchmark import peers
from kerasdet.benchmark.measure import Case, measure, traced
from kerasdet.targets import assign

SIDE = 800.0  # of the image, pixels


def random_boxes(count, low=16.0, high=256.0, seed=0):
    """Draws [count, 4] float32 boxes inside `SIDE`: centers uniform, sides log-uniform in [low, high] pixels."""
    rng = np.random.Generator(np.random.PCG64(seed))
    centers = rng.uniform(0, SIDE, (count, 2))
    sizes = np.exp(rng.uniform(np.log(low), np.log(high), (count, 2)))
    return np.clip(np.concatenate([centers - sizes / 2, centers + sizes / 2], 1), 0, SIDE).astype(np.float32)


def clustered_boxes(count, seed=0):
    """Draws [count, 4] float32 boxes: about 100 around each of count / 100, corner and size jittered by 10 %."""
    rng = np.random.Generator(np.random.PCG64(seed + 1))
    few = random_boxes(max(1, count // 100), seed=seed + 2)
    boxes = few[rng.integers(0, len(few), count)]
    sizes = boxes[:, 2:] - boxes[:, :2]
    corners = boxes[:, :2] + rng.normal(0, 0.1, (count, 2)) * sizes
    sizes = sizes * np.exp(rng.normal(0, 0.1, (count, 2)))
    return np.clip(np.concatenate([corners, corners + sizes], 1), 0, SIDE).astype(np.float32)


def random_scores(count):
    """Draws [count] float32 scores in 0.05...1."""
    return np.random.Generator(np.random.PCG64(9)).uniform(0.05, 1, count).astype(np.float32)


def random_classes(count, classes=80):
    """Draws [count] int32 classes."""
    return np.random.Generator(np.random.PCG64(17)).integers(0, classes, count).astype(np.int32)


def cropped(features, rois, spatial_scale, bins=7, ratio=2):
    """RoIAlign as stock TensorFlow can write it; RoIs over the border differ.

    Args:
        features: [1, H, W, C].
        rois, spatial_scale: as in `ops.roi_align`.

    Returns:
        [R, bins, bins, C].
    """
    sides = tf.cast(tf.shape(features)[1:3] - 1, tf.float32)
    boxes = rois[:, 1:] * spatial_scale - 0.5
    low, high = tf.split(tf.reverse(tf.reshape(boxes, [-1, 2, 2]), [2]), 2, axis=1)
    step = (high - low) / (bins * ratio)
    corners = tf.concat([low + step / 2, high - step / 2], axis=1) / sides
    images = tf.zeros(tf.shape(rois)[:1], tf.int32)
    crops = tf.image.crop_and_resize(features, tf.reshape(corners, [-1, 4]), images, [bins * ratio] * 2)
    return tf.nn.avg_pool2d(crops, ratio, ratio, "VALID")


def timed(function, *tensors, copied=0, pairs=0):
    """The `Case` of a function traced for the shapes of its tensors."""
    concrete, _ = traced(function, *tensors)
    return Case(lambda: concrete(*tensors), copied=copied, pairs=pairs)


def region_cases(small=1):
    """The region operators.

    Args:
        small: maps, channels and RoIs are divided by this, for a quick look.

    Returns:
        Dict of name to (function of features and rois, features, rois).
    """

    def inputs(side, channels, count, high, seed):
        features = tf.random.stateless_uniform([1, side // small, side // small, channels // small], (0, seed))
        rois = np.pad(random_boxes(count // small, high=high, seed=seed) / small, [[0, 0], [1, 0]])
        return features, tf.constant(rois)

    p2, p4 = inputs(200, 256, 1000, 256.0, 1), inputs(50, 1024, 2000, 512.0, 2)
    taps = (
        tf.random.stateless_uniform([1, 64, 64, 256 // small], (0, 4)),
        tf.random.stateless_normal([1, 64, 64, 18], (0, 5)),
    )
    c4, ps = inputs(50, 512, 2000, 512.0, 2), inputs(50, 81 * 49 * small, 300, 512.0, 3)
    return {
        "roi_align P2": (lambda x, r: ops.roi_align(x, r, 1 / 4, 7, 2), *p2),
        "crop_and_resize P2": (lambda x, r: cropped(x, r, 1 / 4), *p2),
        "roi_align P4": (lambda x, r: ops.roi_align(x, r, 1 / 16, 7, 2), *p4),
        "crop_and_resize P4": (lambda x, r: cropped(x, r, 1 / 16), *p4),
        "prroi_pool P2": (lambda x, r: ops.prroi_pool(x, r, 1 / 4, 7), *p2),
        "prroi_pool P4": (lambda x, r: ops.prroi_pool(x, r, 1 / 16, 7), *p4),
        "roi_pool C4": (lambda x, r: ops.roi_pool(x, r, 1 / 16, 7), *c4),
        "ps_roi_align": (lambda x, r: ops.ps_roi_align(x, r, 1 / 16, 7, 2), *ps),
        "ps_roi_pool": (lambda x, r: ops.ps_roi_pool(x, r, 1 / 16, 7), *ps),
        "corner_pool": (lambda x, r: ops.corner_pool(x, "top"), c4[0], c4[1]),
        "deform_columns": (lambda x, r: ops.deform_columns(x, r, tf.ones_like(r[..., ::2]), (3, 3)), *taps),
    }


def with_gradients(function, features, rois):
    """The `Case` of a region operator forward and backward, to the features and, where it has one, to the RoIs."""

    def both(features, rois, upstream):
        with tf.GradientTape() as tape:
            tape.watch([features, rois])
            out = function(features, rois)
        return out, tape.gradient(out, [features, rois], output_gradients=upstream)

    upstream = tf.ones_like(function(features, rois))
    # The features and their gradient, the output and its gradient.
    return timed(both, features, rois, upstream, copied=2 * _touched(function, features, rois))


def _touched(function, features, rois):
    """Bytes of the features and of the output."""
    return 4 * int(tf.size(features) + tf.size(function(features, rois)))


def suppression_cases(small=1):
    """Suppression natively or by the twin, whichever the context says, and by stock TensorFlow.

    Args:
        small: numbers of boxes are divided by this.

    Returns:
        Two dicts of name to a function without arguments: ours, and stock TensorFlow's.
    """
    ours, stock = {}, {}
    n = 12_000 // small
    scores = tf.constant(random_scores(n))
    for kind, draw in (("random", random_boxes), ("clustered", clustered_boxes)):
        boxes = tf.constant(draw(n))
        name = f"nms 0.7 {kind} {n}"
        ours[name] = functools.partial(ops.nms, boxes[None], scores[None], None, 0.7, 0.0, n)
        stock[name] = functools.partial(
            tf.image.non_max_suppression, tf.gather(boxes, [1, 0, 3, 2], axis=1), scores, n, 0.7
        )
    n = 5000 // small
    boxes, scores, classes = tf.constant(random_boxes(n)), tf.constant(random_scores(n)), random_classes(n)
    turned = tf.gather(boxes, [1, 0, 3, 2], axis=1)
    name = f"nms 0.5 of 80 classes {n}"
    ours[name] = functools.partial(ops.nms, boxes[None], scores[None], classes[None], 0.5, 0.01, n)
    stock[name] = functools.partial(
        tf.image.combined_non_max_suppression, turned[None, :, None], (tf.one_hot(classes, 80) * scores[:, None])[None],
        n, n, 0.5, 0.01, clip_boxes=False,
    )  # fmt: skip
    name = f"soft_nms {n}"
    ours[name] = functools.partial(ops.soft_nms, boxes[None], scores[None], None, n)
    stock[name] = functools.partial(
        tf.image.non_max_suppression_with_scores, turned, scores, n, 1.0, 0.001, soft_nms_sigma=0.25
    )  # decays by exp(-iou^2 / (2 sigma))
    return ours, stock


def matching_cases(small=1):
    """Both rules of matching, each for more and more objects of one picture.

    Args:
        small: numbers of anchors and objects are divided by this.

    Returns:
        Dict of name to (function of anchors and boxes, anchors [A, 4], boxes [1, M, 4]).
    """

    def matched(rule, *thresholds):
        def match(places, boxes):
            count = boxes.shape[1]
            objects = {
                "boxes": boxes,
                "classes": tf.zeros([1, count], tf.int32),
                "crowds": tf.zeros([1, count], tf.bool),
            }
            return rule(places, objects, *thresholds)

        return match

    strides = (8, 16, 32, 64, 128)
    grid = anchors.Anchors(anchors.shapes(anchors.octaves(strides)), strides)((640, 640))
    rules = {
        "by_iou": (matched(assign.by_iou, 0.5, 0.4), tf.constant(grid[: len(grid) // small])),
        "one_to_one": (matched(assign.one_to_one, 0.5), tf.constant(random_boxes(33_600 // small, seed=4))),
    }
    counts = sorted({count // small for count in (10, 100, 1000, 5000)} - {0})
    return {
        f"{name} {len(places)} x {count}": (rule, places, tf.constant(random_boxes(count, 8.0, 96.0, seed=5))[None])
        for name, (rule, places) in rules.items()
        for count in counts
    }


def matching(rounds, twins=True, small=1):
    """Measures matching natively and by the twins; arguments and result as in `operators`, of one report."""
    cases = {}
    for name, (function, places, boxes) in matching_cases(small).items():
        pairs = len(places) * boxes.shape[1]
        cases[name] = timed(function, places, boxes, pairs=pairs)
        if twins:
            cases[f"{name}, twin"] = timed(_portable(function), places, boxes, pairs=pairs)
    return measure(cases, rounds)


def operators(rounds, twins=True, beside=True, small=1):
    """Measures all operators, forward and with gradients.

    Args:
        rounds: of every case.
        twins: also the twins.
        beside: whether to run torchvision's operators beside them where they are installed.
        small: divides the sizes, for a quick look.

    Returns:
        Dict of title to what `measure` returns: "native", "twin", "suppression" and "matching", each with the machine's
        own speed.
    """
    reports = {}
    for way in ("native", "twin") if twins else ("native",):
        cases = {}
        for name, (function, features, rois) in region_cases(small).items():
            if way == "twin":
                if name.startswith("crop"):
                    continue
                function = _portable(function)
            touched = _touched(function, features, rois)
            cases[f"{name} forward"] = timed(function, features, rois, copied=touched)
            cases[f"{name} with gradients"] = with_gradients(function, features, rois)
        if beside and way == "native":
            cases |= peers.torchvision_regions(region_cases(small))
        reports[way] = measure(cases, rounds)
    ours, stock = suppression_cases(small)
    cases = {name: timed(function) for name, function in ours.items()}
    cases |= {f"{name}, stock TensorFlow": timed(function) for name, function in stock.items()}
    if twins:
        cases |= {f"{name}, twin": timed(_portable(function)) for name, function in ours.items()}
    if beside:
        cases |= peers.torchvision_suppression(ours)
    reports["suppression"] = measure(cases, rounds)
    reports["matching"] = matching(rounds, twins, small)
    return reports


def _portable(function):
    def twin(*arguments):
        with ops.portable():
            return function(*arguments)

    return twin
