"""Whole detectors with torchvision's tensors: features, outputs, detections, losses and gradients are torchvision's.

Runs on every `*.spec.json` of `KERASDET_GOLDEN_MODELS` whose model has a loader.
"""

import json
import os
import re

import numpy as np
import pytest

from kerasdet import detectors
from kerasdet.detectors import FasterRCNN, MaskRCNN
from kerasdet.weights import torchvision
from tests.golden import models
from tests.weights import torch_files


def specs(wanted):
    """Specs of the models whose class is wanted."""
    names = {spec: json.loads(spec.read_text())["model"] for spec in models.specs()}
    kinds = {name: detectors.DETECTORS[kind] for name, (kind, _) in torchvision.MODELS.items()}
    return [spec for spec, name in names.items() if wanted(kinds.get(name))]


KNOWN = specs(lambda kind: kind is not None)


@pytest.fixture(scope="module", params=KNOWN, ids=[spec.name.removesuffix(".spec.json") for spec in KNOWN])
def golden(request):
    return models.Golden(request.param)


@pytest.fixture
def dense(golden):
    if isinstance(golden.model, FasterRCNN):
        pytest.skip("has two stages")
    return golden


@pytest.fixture
def two_stage(golden):
    if not isinstance(golden.model, FasterRCNN):
        pytest.skip("has one stage")
    return golden


def test_preprocessing(golden):
    if "input" not in golden.info["tensors"] or not {"input", "input.slice"} & set(golden.values.files):
        pytest.skip("this set holds no input tensor")
    got = golden.model.pixels(golden.images).numpy()
    if "input" in golden.values:
        np.testing.assert_allclose(got, golden.values["input"], rtol=0, atol=1e-4 if got.max() < 10 else 1e-2)
    else:
        golden.close("input", got)


def test_features(golden):
    for i, features in enumerate(golden.body):
        if f"body.{i}" in golden.info["tensors"]:  # an SSD's body has no record of its own
            golden.close(f"body.{i}", features.numpy())
    for name, features in zip(golden.info["feature_names"], golden.features, strict=True):
        golden.close(f"feat.{name}", features.numpy())


def test_anchors(golden):
    anchors = golden.model.anchors(golden.images["pixels"].shape[1:3]).numpy()
    assert len(anchors) == golden.info["num_anchors"]
    golden.close("anchors", anchors)


def test_detections(golden):
    """Of the batch, whose padding is part of the answer, and picture by picture where that is padded alike.

    The scores of a second stage have noise of their own: its regions move by rounding.
    """
    tolerance = 5e-4 if isinstance(golden.model, FasterRCNN) else 1e-4
    for i, (picture, found) in enumerate(zip(golden.pictures, golden.detections(), strict=True)):
        boxes, scores, labels = (golden.values[f"det.{i}.{name}"] for name in ("boxes", "scores", "labels"))
        expected = boxes, scores, labels - golden.background
        models.same_detections(found, *expected, tolerance)
        if golden.model.preprocess(picture)["pixels"].shape == golden.images["pixels"].shape[1:]:
            models.same_detections(golden.model.detect(picture, above=0.0), *expected, tolerance)


def test_outputs(dense):
    logits, deltas = dense.outputs["logits"].numpy(), dense.outputs["deltas"].numpy()
    splits = np.cumsum(dense.info["anchors_per_level"])[:-1]
    for level, part in enumerate(np.split(logits, splits, axis=1)):
        dense.close(f"cls_logits.{level}", part)
    logits = logits[..., dense.background :]
    dense.close("cls_logits.max", logits.max(-1))
    best, expected = dense.recorded("cls_logits.argmax", logits.argmax(-1))
    assert (best == expected).mean() > 0.999
    dense.close("bbox_regression", deltas)


def before_2022(tensors):
    """Tensors by the names that torchvision's files had before its version 0.13."""
    if any("inner_blocks.0.1." in name for name in tensors):  # the second models never had them
        return tensors

    norms = any(re.match(r"head\.\w+_head\.conv\.\d\.1\.", name) for name in tensors)

    def old(name):
        name = re.sub(r"(fpn\.\w+_blocks\.\d)\.0\.", r"\1.", name).replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        name = re.sub(r"(mask_head)\.(\d)\.0\.", lambda m: f"{m[1]}.mask_fcn{int(m[2]) + 1}.", name)
        if norms:
            return name
        return re.sub(r"(_head\.conv)\.(\d)\.0\.(?=weight|bias)", lambda m: f"{m[1]}.{2 * int(m[2])}.", name)

    return {old(name): value for name, value in tensors.items()}


@pytest.mark.parametrize("write, ending, change", [
    (torch_files.write_legacy, "pth", before_2022), (torch_files.write_safetensors, "safetensors", dict),
], ids=["legacy", "safetensors"])  # fmt: skip
def test_other_kinds_of_files_hold_the_same(golden, write, ending, change):
    rules = ["backbone"] * (golden.info["frozen_bn_eps"] not in (None, 0.0))
    arguments = {name: value for name, value in golden.model.arguments.items() if name != "classes"}
    kind = {"write": write, "ending": ending, "change": change}
    again = models.through_file(golden.spec, golden.model.classes, arguments, *rules, **kind)
    for ours, theirs in zip(again.weights, golden.model.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=theirs.path)


def loss_tolerance(label):
    """Of a variant's losses, relative; on the batch's statistics rounding grows."""
    return 2e-4 if label.endswith("bn_train") else 1e-4


def test_losses_and_gradients(dense):
    """Norms take their running statistics in the first variant; trained norms have a second, on the batch's."""
    for label, variant in dense.info["train"].items():
        terms, norms = models.gradients(dense, label.endswith("bn_train"))
        rtol = loss_tolerance(label)
        np.testing.assert_allclose(terms["class"], variant["losses"]["classification"], rtol=rtol)
        np.testing.assert_allclose(terms["box"], variant["losses"]["bbox_regression"], rtol=rtol)
        models.compare_gradients(norms, variant["grad"], label.endswith("bn_train"))


def test_proposal_network(two_stage):
    logits, deltas = two_stage.outputs["rpn_logits"].numpy(), two_stage.outputs["rpn_deltas"].numpy()
    splits = np.cumsum(two_stage.info["anchors_per_level"])[:-1]
    for level, (a, b) in enumerate(
        zip(np.split(logits, splits, axis=1), np.split(deltas, splits, axis=1), strict=True)
    ):
        count, rows, columns, cell = two_stage.info["tensors"][f"rpn.objectness.{level}"]["shape"]
        two_stage.close(f"rpn.objectness.{level}", a.reshape(count, rows, columns, cell))
        two_stage.close(f"rpn.deltas.{level}", b.reshape(count, rows, columns, 4 * cell))


def test_regions(two_stage):
    """Proposals, in order but for scores that differ by rounding; the second stage's outputs, in pairs."""
    found = two_stage.outputs["proposals"].numpy()
    head = two_stage.model.head(two_stage.outputs["features"], found)
    logits, deltas = head["logits"].numpy(), head["deltas"].numpy()
    rows = []
    for i, count in enumerate(two_stage.info["proposals_per_image"]):
        expected = two_stage.values[f"proposals.{i}.boxes"]
        assert (found[i, count:] == 0).all()
        own = models.pairs(found[i, :count], expected, 0.01)
        assert models.falling(two_stage.values[f"proposals.{i}.scores"][np.argsort(own)], 1e-4)
        rows += [(i, row) for row in own]
    images, own = np.array(rows).T
    two_stage.close("roi.class_logits", logits[images, own], 3e-4)
    two_stage.close("roi.box_regression", deltas[images, own].reshape(len(rows), -1), 3e-4)


# torchvision's names of the terms.
TERMS = {
    "rpn_class": "loss_objectness",
    "rpn_box": "loss_rpn_box_reg",
    "class": "loss_classifier",
    "box": "loss_box_reg",
    "mask": "loss_mask",
    "keypoint": "loss_keypoint",
}


def test_sampled_losses_and_gradients(two_stage):
    """All anchors and regions, and the first of each kind; trained norms also on the batch's statistics."""
    model = two_stage.model
    sizes = model.rpn.batch, model.roi_batch
    fixed = vars(model)  # on the model itself, arguments of the constructor cannot be set
    fixed["order"] = model.rpn.order = "first"
    for label, variant in two_stage.info["train"].items():
        model.rpn.batch, fixed["roi_batch"] = (2_000_000, 2_000_000) if label.startswith("take_all") else sizes
        terms, norms = models.gradients(two_stage, label.endswith("bn_train"))
        assert {TERMS[name] for name in terms} == set(variant["losses"])
        for name, value in terms.items():
            np.testing.assert_allclose(value, variant["losses"][TERMS[name]], rtol=loss_tolerance(label), err_msg=name)
        models.compare_gradients(norms, variant["grad"], label.endswith("bn_train"))
    model.rpn.batch, fixed["roi_batch"] = sizes


@pytest.mark.skipif("KERASDET_GOLDEN_MODELS" in os.environ, reason="another set may hold any models")
def test_some_model_has_two_stages():
    assert specs(lambda kind: kind is FasterRCNN or kind is MaskRCNN)
