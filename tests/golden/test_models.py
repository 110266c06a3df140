"""Whole detectors with torchvision's tensors: features, outputs, detections, losses and gradients are torchvision's.

Runs on every `*.spec.json` of `KERASDET_GOLDEN_MODELS` whose model has a loader.
"""

import json

import numpy as np
import pytest
import tensorflow as tf

from kerasdet.detectors import SSD
from kerasdet.weights import torchvision
from tests.golden import models

SPECS = [spec for spec in models.specs() if json.loads(spec.read_text())["model"] in torchvision.MODELS]


@pytest.fixture(scope="module", params=SPECS, ids=lambda spec: spec.name.removesuffix(".spec.json"))
def golden(request):
    return Golden(request.param)


class Golden:
    """A model with its golden's weights, pictures and values."""

    def __init__(self, spec):
        name = spec.name.removesuffix(".spec.json")
        self.info = json.loads((spec.parent / f"{name}.json").read_text())
        self.values = np.load(spec.parent / f"{name}.npz")
        pictures = np.load(spec.parent / "images_A.npz")
        self.pictures = [pictures[f"image.{i}"] for i in range(len(self.info["image_sizes_hw"]))]
        tensors = models.weights(spec)
        epsilon = self.info["frozen_bn_eps"]
        options = {}
        if epsilon is not None:
            options = {"norm": "frozen", "backbone": {"name": "resnet50", "epsilon": epsilon}}
        self.background = 1 if torchvision.MODELS[self.info["model"]][0] is SSD else 0  # classes follow it
        classes = self.info["tensors"]["cls_logits.0"]["shape"][-1] - self.background
        self.model = torchvision.build(self.info["model"], classes, **self.info["kwargs"], **options)
        torchvision.load(self.model, tensors)
        self.images = self._batch()
        self.body = tf.function(lambda images: self.model.backbone(self.model.pixels(images)))(self.images)
        ssd = isinstance(self.model, SSD)
        self.features = tf.function(self.model.features)(self.images) if ssd else self.model.fpn(self.body)
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
        return {
            "boxes": tf.constant(boxes),
            "classes": tf.constant(classes),
            "crowds": tf.zeros(classes.shape, tf.bool),
        }

    def close(self, name, got):
        """Compares with a recorded tensor or its recorded slice, to 1e-4 of its largest magnitude."""
        sliced = f"{name}.slice" in self.values
        expected = self.values[f"{name}.slice" if sliced else name]
        if sliced:
            got = eval(f"got{self.info['tensors'][name]['slice']}", {"got": got})  # noqa: S307
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * np.abs(expected).max(), err_msg=name)
        if f"{name}.stats" in self.values:
            assert np.isfinite(got).all()


def test_preprocessing(golden):
    if "input" not in golden.values:
        pytest.skip("this set holds no input tensor")
    np.testing.assert_allclose(golden.model.pixels(golden.images), golden.values["input"], rtol=0, atol=1e-4)


def test_features(golden):
    if not golden.background:  # an SSD's body has no record of its own
        for i, features in enumerate(golden.body):
            golden.close(f"body.{i}", features.numpy())
    for name, features in zip(golden.info["feature_names"], golden.features, strict=True):
        golden.close(f"feat.{name}", features.numpy())


def test_anchors(golden):
    anchors = golden.model.anchors(golden.images["pixels"].shape[1:3]).numpy()
    assert len(anchors) == golden.info["num_anchors"]
    golden.close("anchors", anchors)


def test_outputs(golden):
    logits, deltas = golden.outputs["logits"].numpy(), golden.outputs["deltas"].numpy()
    splits = np.cumsum(golden.info["anchors_per_level"])[:-1]
    for level, part in enumerate(np.split(logits, splits, axis=1)):
        golden.close(f"cls_logits.{level}", part)
    logits = logits[..., golden.background :]
    golden.close("cls_logits.max", logits.max(-1))
    assert (logits.argmax(-1) == golden.values["cls_logits.argmax"]).mean() > 0.999
    golden.close("bbox_regression", deltas)


def test_detections(golden):
    for i, picture in enumerate(golden.pictures):
        found = golden.model.detect(picture, above=0.0)
        assert (found["classes"] + golden.background).tolist() == golden.values[f"det.{i}.labels"].tolist()
        np.testing.assert_allclose(found["scores"], golden.values[f"det.{i}.scores"], rtol=1e-4)
        np.testing.assert_allclose(found["boxes"], golden.values[f"det.{i}.boxes"], rtol=0, atol=0.02)


def test_losses_and_gradients(golden):
    """Norms take their running statistics in the first variant; trained norms have a second, on the batch's."""
    names = {v.path: name for v, name in torchvision.variables(golden.model)}
    for label, variant in golden.info["train"].items():
        training = label.endswith("bn_train")
        before = [v.numpy() for v in golden.model.non_trainable_variables]
        with tf.GradientTape() as tape:
            outputs = golden.model.network(golden.images, training=training)
            terms = golden.model.loss_terms(outputs, golden.objects(), golden.images)
            loss = tf.add_n(list(terms.values()))
        gradients = tape.gradient(loss, golden.model.trainable_variables)
        for v, value in zip(golden.model.non_trainable_variables, before, strict=True):
            v.assign(value)
        expected = variant["losses"]
        np.testing.assert_allclose(terms["class"], expected["classification"], rtol=1e-4)
        np.testing.assert_allclose(terms["box"], expected["bbox_regression"], rtol=1e-4)
        paired = zip(golden.model.trainable_variables, gradients, strict=True)
        norms = {names[v.path]: float(tf.norm(g)) for v, g in paired}
        assert len(norms) == variant["grad"]["tensors"]
        total = np.sqrt(sum(norm**2 for norm in norms.values()))
        np.testing.assert_allclose(total, variant["grad"]["global_norm"], rtol=1e-3)
        for name, norm in variant["grad"]["per_tensor_norm"].items():
            np.testing.assert_allclose(norms[name], norm, rtol=1e-3, atol=1e-6 * total, err_msg=name)
