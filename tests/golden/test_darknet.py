"""The YOLO line against darknet: loss layers, decoding, layers, resizing and whole networks.

The values lie in `darknet` beside this file, or in the folder of that name in the one that KERASDET_GOLDEN names. Real
networks are run if KERASDET_WEIGHTS names a folder with `darknet/*.weights`, and KERASDET_DATA one with `photos`.
"""

import functools
import json
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kerasdet import images as image
from kerasdet import ops
from kerasdet.backbones import cfg, cfg_layers, darknet_file
from kerasdet.backbones.darknet import CfgNetwork
from kerasdet.decoding import grids
from kerasdet.detectors.detector import Detector
from kerasdet.detectors.yolov1 import DetectionHead
from kerasdet.detectors.yolov2 import RegionHead
from kerasdet.detectors.yolov3 import YOLOHead
from kerasdet.layers import Pixels
from kerasdet.layers import darknet as layers
from kerasdet.layers import norm as norms
from kerasdet.weights import darknet, names
from tests.golden import darknet_weights, goldens
from tests.golden.darknet_weights import cfg_of

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
            cfg_layers.layers([*sections, cfg.section("detection", **values)])
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
    boxes, scores, sure = [], [], []
    for i in range(number(case, "heads")):
        raw = tf.constant(case[f"head{i}"])
        if version == 1:
            head, raw = detection_head(case), raw[:, None, None]
        else:
            head = region_head(case) if version == 2 else yolo_head(case, f"mask{i}")
        for found, one in zip((boxes, scores, sure), (*head.decode(raw, size), head.sure(raw)), strict=True):
            found.append(one)
    rule = "darknet_letterbox" if number(case, "letterbox") else "darknet_stretch"
    picture = tf.zeros([1, *case["image_size"].tolist(), 3])
    _, frames, _ = image.resize(picture, (rule, *size))
    boxes, scores, sure = (tf.concat(parts, axis=1) for parts in (boxes, scores, sure))
    return image.from_frames(boxes, frames), scores, sure


@pytest.mark.parametrize("name", cases("decode"))
def test_decoding(name):
    """The candidates, and what is left of them class by class, best first."""
    case = load("decode")[name]
    boxes, scores, _ = decoded(case)
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


@pytest.mark.parametrize("name", cases("decode"))
def test_decoding_across_classes(name):
    """What is left of the candidates by objectness: the scores of all their classes."""
    case = load("decode")[name]
    boxes, scores, sure = decoded(case)
    above = number(case, "thresh")
    # YOLOv1's objectness is never compared with the threshold.
    floor = above if number(case, "version") > 1 else -1e9
    boxes, scores = grids.across_classes(boxes, sure, scores, number(case, "nms"), floor, scores.shape[1])
    found, wanted = np.where(scores[0] > above, scores[0], 0), case["obj_probs"]
    found, wanted = (np.sort(part[part > 0]) for part in (found, wanted))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", cases("resize"))
def test_resizing(name):
    """The row that darknet loses to rounding at some heights is not lost here."""
    case = load("resize")[name]
    rule = "darknet_letterbox" if number(case, "letterbox") else "darknet_stretch"
    pixels, frames, windows = image.resize(case["image"][None], (rule, *case["size"].tolist()))
    outside = {"pixels": pixels, "windows": windows}
    rows = len(case["out"]) - number(case, "black_last_row")
    found = Pixels("unit", outside=127.5)(outside)[0].numpy()
    np.testing.assert_allclose(found[:rows], case["out"][:rows], rtol=0, atol=1e-4)


# Our names of a layer's weights, and those of the reference values.
WEIGHTS = {
    "kernel": ("kernel", "weight"), "bias": ("bias",), "norm/gamma": ("gamma",), "norm/beta": ("beta",),
    "norm/moving_mean": ("mean",), "norm/moving_variance": ("var",),
}  # fmt: skip


def one_layer(case):
    """A network of one layer that reads given maps, and those maps."""
    kind, given = str(case["layer"]), [case["x"]]
    keys = ("size", "stride", "padding", "reverse", "scale", "groups", "batch_normalize", "alpha", "beta")
    values = {
        **cfg.KEYS.get(kind, {}),
        **{key: number(case, key) for key in keys if key in case and not case[key].ndim},
    }
    if "activation" in case:
        values["activation"] = str(case["activation"])
    if kind == "route":
        given = [case[f"part{i}"] for i in range(number(case, "parts"))]
    if kind == "shortcut":
        given = [case["x"], case["other"]]
        values["ratio"] = case["x"].shape[1] / case["other"].shape[1]
    if kind == "local":
        values["pad"] = values.pop("padding")
    channels = case["out"].shape[-1]
    values |= {"filters": channels, "output": channels}
    # Maps before the first layer have the numbers -1, -2 ...; the last is the first input.
    before, inputs = given[0].shape[1:], tuple(range(-1, -1 - len(given), -1))
    layer = cfg_layers.Layer(kind, values, 0, inputs, before, (*before[:2], channels))
    return CfgNetwork([layer], [0]), [tf.constant(one) for one in given]


def set_weights(block, case):
    for name, variable in darknet_file.variables(block).items():
        key = next(one for one in WEIGHTS[name] if one in case)
        variable.assign(darknet_file.from_file(block, name, case[key], tuple(variable.shape)))


@pytest.mark.parametrize("name", cases("layers"))
def test_layers(name):
    """Values of each layer, and its gradients where they are recorded."""
    case = load("layers")[name]
    kind = str(case["layer"])
    if kind in ("activation", "softmax"):
        own = layers.ACTIVATIONS[str(case["activation"])] if kind == "activation" else "softmax"
        found = tf.keras.activations.get(own)(tf.constant(case["x"]))
        np.testing.assert_allclose(found, case["out"], rtol=1e-5, atol=1e-5)
        return
    if kind == "batchnorm":
        return check_norm(case)
    network, given = one_layer(case)
    network(given[::-1])
    block = network.blocks[0]
    if darknet_file.is_weighted(block):
        set_weights(block, case)
        if number(case, "batch_normalize") if "batch_normalize" in case else False:
            block.norm.epsilon = 1e-10  # the program's rule on the CPU, which adds next to nothing
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(given)
        (found,) = network(given[::-1])
    exact = (
        kind in ("reorg", "maxpool", "upsample", "route") and number(case, "scale") == 1
        if "scale" in case
        else (kind in ("reorg", "maxpool", "route"))
    )
    close = {"rtol": 0, "atol": 0} if exact else {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(np.reshape(found, case["out"].shape), case["out"], **close)
    if "grad_x" in case:
        gradient = tape.gradient(found, given[0], output_gradients=tf.constant(case["upstream"]))
        np.testing.assert_allclose(gradient, case["grad_x"], rtol=1e-5, atol=1e-5)
    for name, key in (("kernel", "grad_kernel"), ("bias", "grad_bias")):
        if key in case:
            variable = darknet_file.variables(block)[name]
            gradient = tape.gradient(found, variable, output_gradients=tf.constant(case["upstream"]))
            wanted = darknet_file.from_file(block, name, case[key], tuple(variable.shape))
            np.testing.assert_allclose(gradient, wanted, rtol=1e-4, atol=1e-4)


def check_norm(case):
    """The norm of every convolution; in training the program's variances are of n - 1 pixels, ours of n."""
    norm = norms.build("batch", epsilon=1e-5, momentum=0.99)
    norm.build(case["x"].shape)
    for variable, key in zip(norm.weights, ("gamma", "beta", "mean", "var"), strict=True):
        variable.assign(case[key])
    found = norm(tf.constant(case["x"]), training=bool(case["train"]))
    if case["train"]:
        count = case["x"][..., 0].size
        found = (found - case["beta"]) * np.sqrt((count - 1) / count) + case["beta"]
        np.testing.assert_allclose(found, case["out"], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(norm.moving_mean, case["new_mean"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(norm.moving_variance, case["new_var"], rtol=1e-4)
    else:
        np.testing.assert_allclose(found, case["out_eps"], rtol=1e-5, atol=4e-5)


def networks():
    """The specs of whole networks."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


class Network:
    """A whole network: its spec, its recorded values, and the model that is imported from its two files."""

    def __init__(self, name, folder):
        self.spec = json.loads((FOLDER / f"{name}.json").read_text())
        self.values = np.load(FOLDER / f"{name}.npz")
        self.cfg, self.weights = folder / "net.cfg", folder / "net.weights"
        self.cfg.write_text(self.spec["cfg"])
        self.weights.write_bytes(darknet_weights.content(self.spec["weights"]))
        resize = "letterbox" if self.spec["input"]["letterbox"] else "stretch"
        plain = darknet.load(self.cfg, self.weights, resize=resize)
        options = {"clip": False, "limit": 1000, "candidates": 10_000}
        self.model = Detector.from_preset(plain._replace(arguments={**plain.arguments, **options}))
        top, left, height, width = self.spec["input"]["crop"]
        with np.load(FOLDER / self.spec["input"]["image"]) as file:
            self.pixels = file["image"][top : top + height, left : left + width]

    def follow_the_cpu(self):
        """Norms as the program computes them on the CPU: 1e-6 is added to the deviation, not to the variance."""
        for layer in names.layers(self.model).values():
            if getattr(layer, "norm", None) is not None:
                deviation = np.sqrt(np.float64(layer.norm.moving_variance))
                layer.norm.epsilon = np.float32((deviation + 1e-6) ** 2 - deviation**2)

    def close(self, name, found):
        """Compares with a recorded tensor or slice, in parts of its largest magnitude."""
        tolerance = self.spec["tolerance"]
        key = name if name in self.values.files else f"{name}.slice"
        wanted = self.values[key]
        if key != name:
            steps = [part.split(":")[-1] for part in self.spec["tensors"][name]["slice"].strip("[]").split(",")]
            found = found[tuple(slice(None, None, int(step) if step.strip() else None) for step in steps)]
        found = np.reshape(found, wanted.shape)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * np.abs(wanted).max(), err_msg=name)

    def outputs(self):
        """The pixels that it sees, and what every layer gives."""
        images = {**self.model.preprocess(self.pixels[None]), "ids": tf.zeros([1], tf.int64)}
        seen = self.model.pixels(images)
        backbone, head = self.model.backbone, self.model.head
        maps = {-1: seen}
        for part in (backbone, head):
            keep, part.keep = part.keep, tuple(range(part.start, part.start + len(part.blocks)))
            maps.update(zip(part.keep, part([maps[i] for i in part.needs]), strict=True))
            part.keep = keep
        return maps

    def check_detections(self, group):
        rules = self.spec["detections"][group]
        self.model.above, self.model.suppression = rules["thresh"], rules["nms"]
        found = self.model._in_pixels(tf.constant(self.pixels[None]))
        found = {key: value[0].numpy() for key, value in found.items()}
        wanted = {key: self.values[f"{group}.{key}"] for key in ("boxes", "scores", "labels")}
        few = rules["limit"] if len(wanted["scores"]) == rules["limit"] else None
        if few is None:
            assert found["counts"] == len(wanted["scores"])
        for box, score, kind in zip(*wanted.values(), strict=True):
            near = np.abs(found["scores"] - score) <= rules["tolerance_score"] * score
            near &= found["classes"] == kind
            near &= np.abs(found["boxes"] - box).max(axis=1) <= rules["tolerance_px"]
            assert near.any(), (group, box, score, kind)


@pytest.mark.parametrize("name", networks())
def test_whole_networks(name, tmp_path):
    """From the two files to boxes, and back to the same bytes."""
    golden = Network(name, tmp_path)
    assert sum(map(cfg_layers.weight_count, cfg_layers.layers(golden.model.sections))) == golden.spec["parameters"]
    assert golden.model.count_params() == golden.spec["parameters"]
    placed = cfg_layers.layers(golden.model.sections)
    assert [[one.kind, *one.shape] for one in placed] == golden.spec["layers"]
    ends = [i for i, one in enumerate(placed) if one.kind in cfg.HEADS]
    if f"raw_eps.{ends[0]}" in golden.spec["tensors"]:
        maps = golden.outputs()
        for i in ends:
            golden.close(f"raw_eps.{i}", maps[i])
        golden.check_detections("det_eps")
    golden.follow_the_cpu()
    maps = golden.outputs()
    golden.close("input", maps[-1])
    for i in ends:
        golden.close(f"raw.{i}", maps[i])
    for i, one in enumerate(placed):
        if one.kind not in cfg.HEADS:
            found, (total, size, square, low, high) = np.float64(maps[i]), golden.values["layer_stats"][i]
            np.testing.assert_allclose([found.sum() / size, np.abs(found).sum() / size], [total / size, 1], atol=1e-3)
            np.testing.assert_allclose((found**2).sum(), square, rtol=2e-4)
            ends_of = [found.min(), found.max()]
            np.testing.assert_allclose(ends_of, [low, high], atol=2e-3 * max(abs(low), abs(high)))
    golden.check_detections("det")
    golden.check_detections("low")
    for path, wanted in zip(darknet.write(golden.model, tmp_path / "again"), (golden.cfg, golden.weights), strict=True):
        with open(path, "rb") as file:
            assert file.read() == wanted.read_bytes()


WEIGHTS_FOLDER = pathlib.Path(os.environ.get("KERASDET_WEIGHTS", "/nowhere")) / "darknet"
DATA = pathlib.Path(os.environ.get("KERASDET_DATA", "/nowhere"))


@functools.lru_cache(maxsize=2)
def real_network(name, letterbox, folder):
    info = json.loads((WEIGHTS_FOLDER / f"{name}.json").read_text())
    (folder / "net.cfg").write_text(cfg_of(info))
    rule = "letterbox" if letterbox else "stretch"
    plain = darknet.load(folder / "net.cfg", WEIGHTS_FOLDER / f"{name}.weights", resize=rule)
    return Detector.from_preset(plain._replace(arguments={**plain.arguments, "clip": False}))


@pytest.mark.skipif(not (WEIGHTS_FOLDER.is_dir() and DATA.is_dir()), reason="no real networks and photos")
@pytest.mark.parametrize("name", sorted(load("real"), key=lambda name: (str(load("real")[name]["network"]), name)))
def test_real_networks(name, tmp_path_factory):
    """What they say of photos, but for what the program's own norms and decoder of photos change."""
    case = load("real")[name]
    folder = tmp_path_factory.getbasetemp()
    model = real_network(str(case["network"]), int(case["letterbox"]), folder)
    model.above, model.suppression = float(str(case["thresh"])), float(str(case["nms"]))
    with Image.open(DATA / "photos" / str(case["photo"])) as photo:
        pixels = np.asarray(photo.convert("RGB"))
    found = model.detect(pixels, above=0.05)
    for box, score, kind in zip(case["boxes"], case["scores"], case["labels"], strict=True):
        if score > 0.1:
            near = (found["classes"] == kind) & (np.abs(found["boxes"] - box).max(axis=1) < 0.5)
            assert (np.abs(found["scores"][near] - score) < 0.005).any(), (box, score, kind)
    assert np.sum(case["scores"] > 0.105) <= np.sum(found["scores"] > 0.1) <= np.sum(case["scores"] > 0.095)
