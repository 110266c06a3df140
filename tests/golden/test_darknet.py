"""The YOLO line against darknet: loss layers, decoding, layers, resizing and whole networks.

The values lie in `darknet` beside this file, or in the folder of that name that KERASDET_GOLDEN names.
"""

import functools
import json

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import images as image
from kerasdet import ops
from kerasdet.backbones import cfg, darknet_file
from kerasdet.backbones.darknet import CfgNetwork
from kerasdet.detectors.darknet import Darknet
from kerasdet.detectors.yolov1 import DetectionHead
from kerasdet.detectors.yolov2 import RegionHead
from kerasdet.detectors.yolov3 import YOLOHead
from kerasdet.layers import darknet as layers
from kerasdet.weights import names
from tests.golden import goldens

FOLDER = goldens.FOLDER / "darknet"
TERMS = ("box", "objectness", "background", "class")
LATE = 2**31 - 1


@functools.cache
def load(name):
    return goldens.load(f"darknet/{name}") if (FOLDER / f"{name}.npz").is_file() else {}


def cases(name):
    return sorted(load(name))


def number(case, key):
    value = case[key]
    return goldens.decimal(value) if value.dtype.kind == "f" else int(value)


def numbers(case, *keys):
    return {key: number(case, key) for key in keys}


def detection_head(case, **more):
    keys = ("classes", "side", "num", "rescore", "sqrt", "object_scale", "noobject_scale", "class_scale", "coord_scale")
    found = {key: number(case, key) for key in keys if key in case}
    return DetectionHead({**cfg.KEYS["detection"], **found, **more})


def region_head(case):
    keys = (
        "classes", "softmax", "bias_match", "rescore", "thresh", "object_scale", "noobject_scale", "class_scale",
        "coord_scale",
    )  # fmt: skip
    found = {key: number(case, key) for key in keys if key in case}
    return RegionHead({**cfg.KEYS["region"], **found, "anchors": case["anchors"].ravel()})


def yolo_head(case, mask="mask"):
    found = numbers(case, "ignore_thresh") if "ignore_thresh" in case else {}
    anchors = case["anchors"].ravel()
    return YOLOHead({**cfg.KEYS["yolo"], **found, "anchors": anchors, "mask": tuple(case[mask].tolist())})


def batch(case):
    """The images and objects of a case of a loss layer."""
    height, width = case["image_size"].tolist()
    count = len(case["input"])
    images = {
        "pixels": tf.zeros([count, height, width, 3]),
        "windows": tf.constant([[0, 0, width, height]] * count, tf.float32),
        "ids": tf.range(count, dtype=tf.int64),
    }
    objects = {"boxes": tf.constant(case["boxes"]), "classes": tf.constant(case["labels"])}
    return images, {**objects, "crowds": tf.zeros(case["labels"].shape, bool)}


def check_loss(head, case, raw, below=None):
    """Terms, and minus the gradient, against the recorded ones, or against `below` alone."""
    images, objects = batch(case)
    raw = tf.constant(raw)
    seen = tf.constant(number(case, "seen") if "seen" in case else LATE, tf.int64)
    with tf.GradientTape() as tape:
        tape.watch(raw)
        terms = head.terms(raw, objects, images, seen)
        loss = tf.add_n([tf.reduce_sum(terms[name]) for name in TERMS])
    gradient = tape.gradient(loss, raw).numpy().reshape(case["input"].shape)
    if below is None:
        found = [float(tf.reduce_sum(terms[name])) for name in TERMS]
        np.testing.assert_allclose(found, case["loss_terms64"], rtol=1e-4, atol=1e-6)
        below = case.get("below", case["delta"])
    np.testing.assert_allclose(-gradient, below, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", cases("detection_loss"))
def test_detection_loss(name):
    case = load("detection_loss")[name]
    if number(case, "softmax"):
        values = {**cfg.KEYS["detection"], **numbers(case, "classes", "side", "num"), "coords": 4, "softmax": 1}
        sections = [cfg.section("net", height=64, width=64), cfg.section("connected", output=case["input"].shape[1])]
        with pytest.raises(ValueError, match="softmax=1 is not known here"):
            cfg.layers([*sections, cfg.section("detection", **values)])
        return
    check_loss(detection_head(case), case, case["input"][:, None, None])


@pytest.mark.parametrize("name", cases("region_loss"))
def test_region_loss(name):
    case = load("region_loss")[name]
    check_loss(region_head(case), case, case["input"], case.get("below_clamped"))


@pytest.mark.parametrize("name", cases("yolo_loss"))
def test_yolo_loss(name):
    case = load("yolo_loss")[name]
    check_loss(yolo_head(case), case, case["input"], case.get("below_clamped"))


def decoded(case):
    """Boxes in pixels of the picture and scores of all heads of a case."""
    version, size = number(case, "version"), case["network_size"].tolist()
    boxes, scores = [], []
    for i in range(number(case, "heads")):
        raw = tf.constant(case[f"head{i}"])
        if version == 1:
            head, raw = detection_head(case), raw[:, None, None]
        else:
            head = region_head(case) if version == 2 else yolo_head(case, f"mask{i}")
        for found, one in zip((boxes, scores), head.decode(raw, size), strict=True):
            found.append(one)
    rule = "darknet_letterbox" if number(case, "letterbox") else "darknet_stretch"
    picture = tf.zeros([1, *case["image_size"].tolist(), 3])
    _, frames, _ = image.resize(picture, (rule, *size))
    return image.from_frames(tf.concat(boxes, axis=1), frames), tf.concat(scores, axis=1)


@pytest.mark.parametrize("name", cases("decode"))
def test_decoding(name):
    """The candidates, and what is left of them class by class, best first."""
    case = load("decode")[name]
    boxes, scores = decoded(case)
    above, kinds = number(case, "thresh"), number(case, "classes")
    pairs = {"boxes": tf.repeat(boxes, kinds, axis=1), "scores": tf.reshape(scores, [1, -1])}
    classes = tf.tile(tf.range(kinds)[None], [1, scores.shape[1]])
    limit = len(case["det_scores"]) + 1
    rows, found, valid = ops.nms(*pairs.values(), classes, number(case, "nms"), above, limit, kinds=kinds)
    assert int(tf.reduce_sum(tf.cast(valid, tf.int32))) == limit - 1
    rows = rows[0, :-1]
    np.testing.assert_allclose(found[0, :-1], case["det_scores"], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(tf.gather(classes[0], rows), case["det_labels"])
    np.testing.assert_allclose(tf.gather(pairs["boxes"][0], rows), case["det_boxes"], rtol=5e-6, atol=2e-3)


@pytest.mark.parametrize("name", cases("resize"))
def test_resizing(name):
    """The row that darknet loses to rounding at some heights is not lost here."""
    case = load("resize")[name]
    rule = "darknet_letterbox" if number(case, "letterbox") else "darknet_stretch"
    pixels, frames, windows = image.resize(case["image"][None], (rule, *case["size"].tolist()))
    outside = {"pixels": pixels, "windows": windows}
    from kerasdet.layers import Pixels

    rows = len(case["out"]) - number(case, "black_last_row")
    found = Pixels("unit", outside=127.5)(outside)[0].numpy()
    np.testing.assert_allclose(found[:rows], case["out"][:rows], rtol=0, atol=1e-4)
