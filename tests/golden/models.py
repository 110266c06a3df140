"""Whole-model goldens: the folder, and the weights that a spec describes."""

import functools
import hashlib
import json
import os
import pathlib

import numpy as np
import tensorflow as tf

from kerasdet.load import build
from kerasdet.weights import torchvision

FOLDER = pathlib.Path(os.environ.get("KERASDET_GOLDEN_MODELS", pathlib.Path(__file__).parent / "models"))


def specs():
    """Paths of all specs in the folder."""
    return sorted(FOLDER.glob("*.spec.json"))


@functools.lru_cache(maxsize=1)
def golden(spec):
    """The `Golden` of a spec; the tests of one follow each other."""
    return Golden(spec)


class Golden:
    """A model with its golden's weights, pictures and values."""

    def __init__(self, spec):
        name = spec.name.removesuffix(".spec.json")
        self.info = json.loads((spec.parent / f"{name}.json").read_text())
        self.values = np.load(spec.parent / f"{name}.npz")
        pictures = np.load(spec.parent / "images_A.npz")
        self.pictures = [pictures[f"image.{i}"] for i in range(len(self.info["image_sizes_hw"]))]
        masks = spec.parent / f"{name}.target_masks.npz"
        self.masks = [np.load(masks)[f"masks.{i}"] for i in range(len(self.pictures))] if masks.exists() else []
        tensors = weights(spec)
        epsilon = self.info["frozen_bn_eps"]
        options = {}
        if epsilon is not None:
            options = {"norm": "frozen", "backbone": {"name": "resnet50", "epsilon": epsilon}}
        self.background = 0 if torchvision.MODELS[self.info["model"]][0] == "RetinaNet" else 1  # classes follow it
        slots = self.info["tensors"].get("cls_logits.0") or self.info["tensors"]["roi.class_logits"]
        classes = slots["shape"][-1] - self.background
        self.model = build(torchvision.arguments(self.info["model"], **self.info["kwargs"], **options), classes)
        torchvision.load(self.model, tensors)
        self.images = self._batch()
        self.body = tf.function(lambda images: self.model.backbone(self.model.pixels(images)))(self.images)
        self.features = tf.function(self.model.features)(self.images)
        self.outputs = tf.function(self.model.network)(self.images)

    def _batch(self):
        """The pictures, preprocessed one by one and padded to one size."""
        each = [self.model.preprocess(tf.constant(picture)) for picture in self.pictures]
        height, width = np.max([e["pixels"].shape[:2] for e in each], axis=0)
        pixels = [tf.image.pad_to_bounding_box(e["pixels"], 0, 0, int(height), int(width)) for e in each]
        images = {key: tf.stack([e[key] for e in each]) for key in ("windows", "frames")}
        return {"pixels": tf.stack(pixels), **images, "ids": tf.range(len(each), dtype=tf.int64)}

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

    def close(self, name, got, tolerance=1e-4):
        """Compares with a recorded tensor or its recorded slice, in parts of its largest magnitude."""
        sliced = f"{name}.slice" in self.values
        expected = self.values[f"{name}.slice" if sliced else name]
        if sliced:
            got = eval(f"got{self.info['tensors'][name]['slice']}", {"got": got})  # noqa: S307
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * np.abs(expected).max(), err_msg=name)
        if f"{name}.stats" in self.values:
            assert np.isfinite(got).all()


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
