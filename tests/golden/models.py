"""Whole-model goldens: the folder, and the weights that a spec describes."""

import hashlib
import json
import os
import pathlib
import tempfile

import numpy as np
import tensorflow as tf

from kerasdet import images as image
from kerasdet.detectors import DETECTORS, SSD, FasterRCNN, RetinaNet, settings
from kerasdet.detectors.detector import Detector
from kerasdet.weights import recognize, torchvision
from tests.weights import torch_files

FOLDER = pathlib.Path(os.environ.get("KERASDET_GOLDEN_MODELS", pathlib.Path(__file__).parent / "models"))

_DENSE = {"score_thresh": "above", "nms_thresh": "suppression", "detections_per_img": "limit"}

# torchvision's names of arguments and attributes, and ours; `torchvision.arguments` knows the others.
NAMES = {
    RetinaNet: {
        **_DENSE,
        "topk_candidates": "per_level",
        "fg_iou_thresh": "positive",
        "bg_iou_thresh": "negative",
    },
    SSD: {
        **_DENSE,
        "topk_candidates": "per_class",
        "iou_thresh": "positive",
        "neg_to_pos_ratio": "negatives",
    },
    FasterRCNN: {
        "rpn_nms_thresh": "rpn_suppression",
        "rpn_fg_iou_thresh": "rpn_positive",
        "rpn_bg_iou_thresh": "rpn_negative",
        "rpn_batch_size_per_image": "rpn_batch",
        "rpn_positive_fraction": "rpn_fraction",
        "box_score_thresh": "above",
        "box_nms_thresh": "suppression",
        "box_detections_per_img": "limit",
        "box_fg_iou_thresh": "positive",
        "box_batch_size_per_image": "roi_batch",
        "box_positive_fraction": "roi_fraction",
    },
}


def specs():
    """Paths of all specs in the folder."""
    return sorted(FOLDER.glob("*.spec.json"))


def pictures(folder, sizes):
    """The pictures of every image file in a folder that holds those of these sizes.

    Args:
        folder: path; its image files are `images*.npz`, with `image.0`, `image.1` ... [H, W, 3] uint8.
        sizes: list of (height, width).

    Returns:
        List of lists of arrays, one for each file that fits.
    """
    found = []
    for file in sorted(folder.glob("images*.npz")):
        arrays, names = np.load(file), [f"image.{i}" for i in range(len(sizes))]
        if set(names) <= set(arrays.files):
            found.append([arrays[name] for name in names])
    return [each for each in found if [one.shape for one in each] == [(*size, 3) for size in sizes]]


def arguments(info):
    """What a golden's json says of its model, in our words.

    Args:
        info: the json: `model`, `kwargs` of torchvision's builder, `attrs` set afterwards, `frozen_bn_eps`.

    Returns:
        Dict of arguments of `torchvision.arguments`, and `classes`.
    """
    detector, defaults = torchvision.MODELS[info["model"]]
    kind = DETECTORS[detector]
    names = next(names for base, names in NAMES.items() if issubclass(kind, base))
    given = {names.get(name, name): value for name, value in {**info["kwargs"], **info["attrs"]}.items()}
    given.pop("num_classes", None)  # the logits say it too
    logits = info["tensors"].get("cls_logits.0") or info["tensors"]["roi.class_logits"]
    given["classes"] = logits["shape"][-1] - background(kind)
    epsilon = info["frozen_bn_eps"]
    if epsilon is not None:
        given |= {"norm": "frozen", "backbone": {"name": "resnet50", "epsilon": epsilon}}
    elif defaults.get("norm") == "frozen":  # of released weights; without them torchvision's norms train
        given |= {"norm": "batch", "backbone": "resnet50"}
    return {"name": info["model"], **given}


def background(kind):
    """How many slots without a class come first: torchvision's RetinaNet counts its slot 0 as a class."""
    return 0 if kind is RetinaNet else 1


class Recorded:
    """A model with its golden's weights, pictures and values.

    Args:
        spec: path of the golden's spec.
        make: a function from its json to a model with its weights.
    """

    def __init__(self, spec, make):
        name, self.spec = spec.name.removesuffix(".spec.json"), spec
        self.info = json.loads((spec.parent / f"{name}.json").read_text())
        self.values = np.load(spec.parent / f"{name}.npz")
        self.model = make(self.info)
        sizes = self.info["image_sizes_hw"]
        batches = [(self.batch(each), each) for each in pictures(spec.parent, sizes)]
        assert batches, f"{spec.parent} holds no images*.npz with pictures of {sizes}"
        self.images, self.pictures = min(batches, key=lambda pair: self._distance(pair[0]))

    def batch(self, pictures):
        """The pictures, preprocessed one by one and padded to one size, as an images dict."""
        each = [self.model.preprocess(tf.constant(picture)) for picture in pictures]
        height, width = np.max([e["pixels"].shape[:2] for e in each], axis=0)
        pixels = [tf.image.pad_to_bounding_box(e["pixels"], 0, 0, int(height), int(width)) for e in each]
        images = {key: tf.stack([e[key] for e in each]) for key in ("windows", "frames")}
        return {"pixels": tf.stack(pixels), **images, "ids": tf.range(len(each), dtype=tf.int64)}

    def _distance(self, images):
        """How far a batch is from the recorded input; several image files may hold pictures of the same sizes."""
        if not {"input", "input.slice"} & set(self.values.files):
            return 0.0
        got, expected = self.recorded("input", self.model.pixels(images).numpy())
        return np.abs(got - expected).max() if got.shape == expected.shape else np.inf

    def close(self, name, got, tolerance=1e-4):
        """Compares with a recorded tensor or its recorded slice, in parts of its largest magnitude."""
        part, expected = self.recorded(name, got)
        assert part.shape == expected.shape
        margin = {"rtol": 0, "atol": tolerance * np.abs(expected).max(), "err_msg": name}
        np.testing.assert_allclose(part, expected, **margin)
        if f"{name}.stats" in self.values:  # of the whole: sum, sum of magnitudes and of squares, least, greatest
            _, total, _, *ends = self.values[f"{name}.stats"]
            stats = np.abs(got).mean(dtype=np.float64), got.min(), got.max()
            np.testing.assert_allclose(stats, (total / got.size, *ends), **margin)

    def recorded(self, name, got):
        """A tensor as it was recorded, whole or its slice, and what was recorded."""
        if name in self.values:
            return got, self.values[name]
        return eval(f"got{self.info['tensors'][name]['slice']}", {"got": got}), self.values[f"{name}.slice"]  # noqa: S307


class Golden(Recorded):
    """One of torchvision's detectors."""

    def __init__(self, spec):
        super().__init__(spec, lambda info: self._made(info, spec))
        name = spec.name.removesuffix(".spec.json")
        masks = spec.parent / f"{name}.target_masks.npz"
        sizes = self.info["image_sizes_hw"]
        self.masks = [np.load(masks)[f"masks.{i}"] for i in range(len(sizes))] if masks.exists() else []
        self.background = background(type(self.model))
        self.body = tf.function(lambda images: self.model.backbone(self.model.pixels(images)))(self.images)
        self.features = tf.function(self.model.features)(self.images)
        self.outputs = tf.function(self.model.network)(self.images)

    @staticmethod
    def _made(info, spec):
        options = arguments(info)
        classes = options.pop("classes")
        described = torchvision.arguments(**options)
        del described["name"]
        # That frozen norms have another epsilon than those of released weights, no tensor says.
        return through_file(spec, classes, described, *["backbone"] * (info["frozen_bn_eps"] not in (None, 0.0)))

    def detections(self):
        """The batch's detections by image, in the pictures' own pixels and without padding, as dicts of arrays."""
        found = self.model.detections(self.outputs, self.images)
        found = {k: v.numpy() for k, v in image.detections_from_frames(found, self.images["frames"]).items()}
        counts = found.pop("counts")
        return [{name: value[i, :count] for name, value in found.items()} for i, count in enumerate(counts)]

    def objects(self):
        """The targets in network pixels, as an objects dict."""
        most = max(len(target["labels"]) for target in self.info["targets"])
        boxes = np.zeros([len(self.pictures), most, 4], np.float32)
        classes = np.full([len(self.pictures), most], -1, np.int32)
        for i, (target, frame) in enumerate(zip(self.info["targets"], self.images["frames"].numpy(), strict=True)):
            boxes[i, : len(target["labels"])] = np.array(target["boxes"]) * np.tile(frame[:2], 2)
            classes[i, : len(target["labels"])] = np.array(target["labels"]) - self.background
        objects = {"boxes": boxes, "classes": classes, "crowds": np.zeros(classes.shape, bool)}
        return {name: tf.constant(value) for name, value in {**objects, **self._details(classes.shape)}.items()}

    def _details(self, shape):
        """Masks on the whole pictures, resized to the nearest pixel as torchvision does, and keypoints, where given."""
        details, frames = {}, self.images["frames"].numpy()
        if self.masks:
            _, height, width, _ = self.images["pixels"].shape
            details["masks"] = np.zeros([*shape, height, width], np.uint8)
            details["mask_frames"] = np.tile(np.float32([0, 0, width, height]), [*shape, 1])
            for i, masks in enumerate(self.masks):
                _, _, columns, rows = np.int32(self.images["windows"][i])
                steps = (
                    np.arange(side) * size // side for side, size in ((rows, masks.shape[1]), (columns, masks.shape[2]))
                )
                details["masks"][i, : len(masks), :rows, :columns] = masks[(slice(None), *np.ix_(*steps))]
        if "keypoints" in self.info["targets"][0]:
            points = np.shape(self.info["targets"][0]["keypoints"])[1]
            details["keypoints"] = np.zeros([*shape, points, 3], np.float32)
            for i, target in enumerate(self.info["targets"]):
                details["keypoints"][i, : len(target["labels"])] = target["keypoints"]
            details["keypoints"][..., :2] *= frames[:, None, None, :2]
        return details


def pairs(found, expected, tolerance):
    """Pairs boxes that should be the same, whatever their order.

    Args:
        found, expected: [N, 4], or with more columns, such as the label.
        tolerance: greatest difference of a column.

    Returns:
        [N], the row of `found` for every one of `expected`.

    Raises:
        AssertionError: they are not the same boxes.
    """
    assert found.shape == expected.shape
    distance = np.abs(expected[:, None] - found[None]).max(axis=-1)
    rows = distance.argmin(axis=1)
    assert distance.min(axis=1).max(initial=0) < tolerance and len(set(rows)) == len(rows)
    return rows


def falling(scores, tolerance):
    """Whether scores fall, but for neighbors that are equal within a relative tolerance."""
    return (scores <= np.minimum.accumulate(scores) * (1 + tolerance)).all()


def same_detections(found, boxes, scores, labels, tolerance, pixels=0.02):
    """Compares an image's detections with the recorded ones; scores equal within the tolerance may change places.

    Args:
        found: dict of `boxes`, `scores` and `classes`.
        boxes, scores, labels: the recorded ones.
        tolerance: of scores, relative.
        pixels: tolerance of boxes.
    """
    assert (np.diff(found["scores"]) <= 0).all()
    labeled = np.c_[found["boxes"], found["classes"]], np.c_[boxes, labels]
    rows = pairs(*labeled, pixels)
    np.testing.assert_allclose(found["scores"][rows], scores, rtol=tolerance)


def gradients(golden, training):
    """The loss terms, and the norm of every tensor's gradient by torchvision's name; running statistics stay."""
    names = {v.path: name for v, name in torchvision.variables(golden.model)}
    before = [v.numpy() for v in golden.model.non_trainable_variables]
    with tf.GradientTape() as tape:
        outputs = golden.model.network(golden.images, training=training)
        terms = golden.model.loss_terms(outputs, golden.objects(), golden.images, training=training)
        loss = tf.add_n(list(terms.values()))
    found = tape.gradient(loss, golden.model.trainable_variables)
    for v, value in zip(golden.model.non_trainable_variables, before, strict=True):
        v.assign(value)
    paired = zip(golden.model.trainable_variables, found, strict=True)
    return terms, {names[v.path]: float(tf.norm(g)) for v, g in paired if g is not None}


def compare_gradients(norms, expected, on_batch=False):
    """Compares with the recorded norms.

    Through fifty norms on the batch's statistics rounding grows: the recorded global norm itself is 1e-4 from float64.
    """
    assert len(norms) == expected["tensors"]
    total = np.sqrt(sum(norm**2 for norm in norms.values()))
    np.testing.assert_allclose(total, expected["global_norm"], rtol=1e-3)
    noise = (5e-5 if on_batch else 1e-6) * total
    for name, norm in expected["per_tensor_norm"].items():
        np.testing.assert_allclose(norms[name], norm, rtol=1e-3, atol=noise, err_msg=name)


# Rules and sizes that no tensor says; a golden may have others than the release.
RULES = ("resize", "above", "suppression", "limit", "per_class", "corners", "pairs", "max_objects")


def through_file(spec, classes, arguments, *rules, write=torch_files.write_pth, ending="pth", change=dict):
    """A golden's model from a file of its tensors, by the public door.

    Args:
        spec: path of the golden's spec.
        classes, arguments: of the detector, as the golden's json describes it.
        rules: names of arguments that are taken from there as `RULES` are; the others only if a file says nothing of
            them.
        write, ending: what writes the file, see `torch_files`.
        change: of the tensors before they are written.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = write(pathlib.Path(folder) / f"{spec.name.split('.')[0]}.{ending}", change(weights(spec)))
        plain = recognize.load(file, list(settings.names(classes)))
        told = set(plain.arguments) - {*RULES, *rules}
        given = {name: value for name, value in arguments.items() if name not in told}
        return Detector.from_preset(plain, **given)


def weights(spec):
    """Regenerates a spec's tensors from Philox' raw stream: dict of torch name to array.

    Raises:
        AssertionError: they are not the tensors that the reference values were made with.
    """
    spec = json.loads(spec.read_text())
    tensors = {name: _tensor(spec["key"], name, *rest) for name, *rest in spec["tensors"]}
    digest = hashlib.sha256()
    for name, values in tensors.items():
        digest.update(name.encode() + b"\0")
        digest.update(np.ascontiguousarray(values).tobytes())
    assert digest.hexdigest() == spec["sha256"]
    return tensors


def _tensor(key, name, shape, kind, *settings):
    if kind == "i64":
        return np.full(shape, settings[0], np.int64)
    if kind == "values":
        return np.asarray(settings[0], np.float64).astype(np.float32).reshape(shape)
    drawn = _draw(f"{key}/{name}", int(np.prod(shape, dtype=np.int64))).reshape(shape)
    center, spread = settings if kind == "u" else (0.0, *settings)
    if kind != "u":
        filters = tuple(axis for axis in range(len(shape)) if axis != (1 if kind == "uzt" else 0))
        count = np.prod([shape[axis] for axis in filters])
        drawn = drawn - drawn.sum(axis=filters, keepdims=True) / count
    return np.float32(center + spread * (drawn / 2.0**24))


def _draw(text, count):
    """Odd whole numbers between -2**24 and 2**24."""
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
    raw = np.random.Philox(key=key).random_raw((count + 1) // 2).astype("<u8")
    return (raw.view("<u4")[:count] >> np.uint32(8)).astype(np.int64) * 2 + 1 - 2**24
