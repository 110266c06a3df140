"""RefineDet against the reference values: parts, and the whole network on VGG16 with the tensors of a PyTorch port."""

import json
import os
import types

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import anchors, coders
from kerasdet.detectors import RefineDet
from kerasdet.layers import L2Norm
from kerasdet.targets import sample
from kerasdet.weights import refinedet
from tests.golden import goldens, models

PARTS = goldens.load("refinedet_parts")

# The loss terms by the names of the reference values.
TERMS = {"anchor_box": "arm_loc", "anchor_class": "arm_conf", "box": "odm_loc", "class": "odm_conf"}
OUTPUTS = {"refinements": "arm_loc", "objectness": "arm_conf", "deltas": "odm_loc", "logits": "odm_conf"}


def cases(prefix):
    return goldens.cases("refinedet_parts", prefix)


@pytest.mark.parametrize("case", cases("anchors_"))
def test_anchors(case):
    golden = PARTS[case]
    side = golden["image_size"].item()
    grid = anchors.Anchors(anchors.shapes([[32], [64], [128], [256]], (1.0, 0.5, 2.0)), (8, 16, 32, 64))
    found = grid((side, side)).numpy() / side
    assert len(found) == golden["count"]
    for rows, wanted in (
        (slice(len(golden["first"])), golden["first"]),
        (slice(-len(golden["last"]), None), golden["last"]),
        (golden["probe_index"], golden["probe"]),
    ):
        np.testing.assert_allclose(found[rows], wanted, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.sum(0, np.float64), golden["sum64"], rtol=1e-5)
    np.testing.assert_allclose(np.square(found, dtype=np.float64).sum(0), golden["sumsq64"], rtol=1e-5)


@pytest.mark.parametrize("case", cases("l2norm_"))
def test_l2_norm(case):
    """Also where all channels are 0, whose gradient the added number bounds."""
    golden = PARTS[case]
    layer = L2Norm(float(case.rpartition("_")[2]), added=1e-10)
    layer.build(golden["features"].shape)
    layer.scale.assign(golden["scale"])
    features = tf.constant(golden["features"])
    with tf.GradientTape() as tape:
        tape.watch(features)
        found = layer(features)
    np.testing.assert_allclose(found, golden["out64"], rtol=1e-5, atol=1e-6)
    gradients = tape.gradient(found, [features, layer.scale.value], output_gradients=tf.constant(golden["upstream"]))
    np.testing.assert_allclose(gradients[0], golden["grad64"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradients[1], golden["grad_scale64"], rtol=1e-4, atol=1e-4)


def stand_in(golden, **values):
    """A detector of the golden's anchors in a picture of side 1, with a release's arguments."""
    given = {"positive_iou": 0.5, "filter": goldens.decimal(golden["theta"]), "negatives": 3, "empty_negatives": 0}
    given |= {"box_weight": 1.0, "clip": False, "nms": "hard", "terms": RefineDet.terms}
    model = types.SimpleNamespace(anchors=lambda size: tf.constant(golden["anchors"]), **{**given, **values})
    for name in ("refined", "match", "_assigned", "_step"):
        setattr(model, name, types.MethodType(getattr(RefineDet, name), model))
    return model


def pictures(count):
    """The images dict of pictures of side 1."""
    windows = tf.constant([[0, 0, 1, 1]] * count, tf.float32)
    return {"pixels": tf.zeros([count, 1, 1, 3]), "windows": windows, "ids": tf.range(count, dtype=tf.int64)}


def objects_of(boxes, labels, counts):
    """The objects dict of boxes that lie one below another."""
    most, starts = max(max(counts), 1), np.cumsum([0, *counts])
    found = np.zeros([len(counts), most, 4], np.float32)
    classes = np.full([len(counts), most], -1, np.int32)
    for i, (start, count) in enumerate(zip(starts, counts, strict=False)):
        found[i, :count], classes[i, :count] = boxes[start : start + count], labels[start : start + count] - 1
    given = {"boxes": found, "classes": classes, "crowds": np.zeros(classes.shape, bool)}
    return {name: tf.constant(value) for name, value in given.items()}


@pytest.mark.parametrize("case", cases("train_"))
def test_training(case, monkeypatch):
    golden = PARTS[case]
    model, images = stand_in(golden), pictures(len(golden["gt_count"]))
    objects = objects_of(golden["gt"].reshape(-1, 4), golden["gt_labels"], golden["gt_count"].tolist())
    outputs = {ours: tf.constant(golden[theirs]) for ours, theirs in OUTPUTS.items()}
    moved, sure = model.refined(outputs, images)
    np.testing.assert_allclose(moved, golden["refined64"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(sure, golden["objectness64"], rtol=1e-4)
    np.testing.assert_array_equal(model.match(objects, images)[1].indices, golden["arm_match"])
    np.testing.assert_array_equal(model._assigned(moved, objects, images).indices, golden["odm_match"])
    mined, mine = [], sample.hard_negatives
    monkeypatch.setattr(sample, "hard_negatives", lambda *given: mined.append(mine(*given)) or mined[-1])
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        terms = RefineDet.loss_terms(model, outputs, objects, images)
        total = tf.add_n(list(terms.values()))
    gradients = tape.gradient(total, outputs)
    for found, step in zip(mined, ("arm", "odm"), strict=True):
        np.testing.assert_array_equal(found, golden[f"{step}_negatives"])
    for ours, theirs in TERMS.items():
        kind, _, term = theirs.partition("_")
        np.testing.assert_allclose(terms[ours], golden[f"{kind}_loss_{term}64"], rtol=1e-5, atol=1e-5, err_msg=ours)
    for ours, theirs in OUTPUTS.items():
        np.testing.assert_allclose(gradients[ours], golden[f"grad_{theirs}64"], rtol=1e-4, atol=1e-5, err_msg=ours)


@pytest.mark.parametrize("case", cases("detect_"))
def test_detections(case):
    golden = PARTS[case]
    rules = {"above": "confidence", "suppression": "nms"}
    model = stand_in(golden, **{ours: goldens.decimal(golden[theirs]) for ours, theirs in rules.items()})
    model.per_class, model.limit = golden["top_k"].item(), golden["keep_top_k"].item()
    outputs = {ours: tf.constant(golden[theirs][None]) for ours, theirs in OUTPUTS.items()}
    found = {name: value[0].numpy() for name, value in RefineDet.detections(model, outputs, pictures(1)).items()}
    count = len(golden["scores64"])
    assert found["counts"] == count
    np.testing.assert_array_equal(found["classes"][:count], golden["labels"] - 1)
    np.testing.assert_allclose(found["scores"][:count], golden["scores64"], rtol=1e-4)
    np.testing.assert_allclose(found["boxes"][:count], golden["boxes64"], rtol=0, atol=1e-4)


SPECS = [spec for spec in models.specs() if json.loads(spec.read_text())["model"].startswith("refinedet")]


def load(info, spec):
    side, rules = info["input_size"], info["detect"]
    arguments = {"above": rules["confidence"], "suppression": rules["nms"], "filter": rules["theta"]}
    arguments |= {"per_class": rules["top_k"], "limit": rules["keep_top_k"], "clip": False, "empty_negatives": 0}
    arguments |= {"resize": ("stretch", side, side)}
    return models.through_file(spec, info["classes_with_background"] - 1, arguments)


@pytest.fixture(scope="module", params=SPECS, ids=[spec.name.removesuffix(".spec.json") for spec in SPECS])
def golden(request):
    found = models.Recorded(request.param, lambda info: load(info, request.param))
    found.maps = maps(found.model, found.images)
    found.outputs = {name: found.maps.pop(name) for name in OUTPUTS}
    return found


@tf.function
def maps(model, images):
    """Every map on the way, by the names of the reference values, and the outputs."""
    seen = model.pixels(images)
    conv4, conv5, fc7 = model.backbone(seen)
    extra = model.extras[0](fc7)
    found = {"input": seen[..., ::-1], "conv4_3": conv4, "conv5_3": conv5, "fc7": fc7, "conv6_2": extra}
    first = [model.l2_norms[0](conv4), model.l2_norms[1](conv5), fc7, extra]
    found["conv4_3_norm"], found["conv5_3_norm"] = first[:2]
    coarser, second = None, []
    for i in reversed(range(len(first))):
        transfer, x = model.transfers[i], first[i]
        for conv in transfer.convs:
            x = conv(x)
        found[f"TL{i + 3}_2"] = x
        if transfer.up is not None:
            found[f"P{i + 4}-up"] = transfer.up(coarser)
        coarser = found[f"P{i + 3}"] = transfer(first[i], coarser=coarser)
        second.insert(0, coarser)
    for head, name in ((model.anchor_box_head, "refinements"), (model.anchor_class_head, "objectness")):
        found[name] = head(first)
    for head, name in ((model.box_head, "deltas"), (model.class_head, "logits")):
        found[name] = head(second)
    return found


def test_inputs_and_counts(golden):
    assert golden.model.count_params() == golden.info["params"]
    got, wanted = golden.recorded("input", golden.maps["input"].numpy())
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-2)


def test_maps(golden):
    ends = ("arm_", "odm_", "anchors", "input", "refined_", "objectness", "kept_", "det.")
    recorded = {name for name in golden.info["tensors"] if not name.startswith(ends)}
    assert recorded and recorded <= set(golden.maps)
    for name in recorded:
        golden.close(name, golden.maps[name].numpy())


def test_outputs(golden):
    side = golden.info["input_size"]
    grids, counts = golden.model.anchors.grids((side, side)), golden.model.anchors.counts((side, side))
    for ours, theirs in OUTPUTS.items():
        parts = np.split(golden.outputs[ours].numpy(), np.cumsum(counts)[:-1], axis=1)
        for level, (part, grid) in enumerate(zip(parts, grids, strict=True)):
            golden.close(f"{theirs}.{level}", part.reshape(len(part), *grid, -1))


def test_first_step(golden):
    side = golden.info["input_size"]
    grid = golden.model.anchors((side, side)).numpy()
    assert len(grid) == golden.info["num_anchors"]
    golden.close("anchors", grid / side)
    moved, sure = golden.model.refined(golden.outputs, golden.images)
    golden.close("refined_anchors", moved.numpy() / side)
    golden.close("objectness", sure.numpy())
    kept = np.packbits(sure.numpy() >= golden.model.filter, axis=1)
    np.testing.assert_array_equal(kept, golden.values["kept_by_theta"])


def test_detections_of_the_whole(golden):
    found = golden.model.detections(golden.outputs, golden.images)
    found = {name: value.numpy() for name, value in found.items()}
    for i, count in enumerate(found["counts"]):
        wanted = [golden.values[f"det.{i}.{name}"] for name in ("boxes", "scores", "labels")]
        assert count == len(wanted[1])
        own = {name: found[name][i, :count] for name in ("boxes", "scores", "classes")}
        own["boxes"] = own["boxes"] / golden.info["input_size"]
        models.same_detections(own, wanted[0], wanted[1], wanted[2] - 1, 1e-3, pixels=1e-4)


def objects(golden):
    """The targets in network pixels, as an objects dict."""
    targets, found = golden.info["targets"], []
    for target, frame in zip(targets, golden.images["frames"].numpy(), strict=True):
        found.append(np.array(target["boxes"]) * np.tile(frame[:2], 2))
    labels = np.concatenate([target["labels"] for target in targets])
    return objects_of(np.concatenate(found), labels, [len(target["labels"]) for target in targets])


def test_targets(golden, monkeypatch):
    given, mined, mine = objects(golden), [], sample.hard_negatives
    monkeypatch.setattr(sample, "hard_negatives", lambda *one: mined.append(mine(*one)) or mined[-1])
    golden.model.loss_terms(golden.outputs, given, golden.images)
    grid, first = golden.model.match(given, golden.images)
    moved, _ = golden.model.refined(golden.outputs, golden.images)
    second = golden.model._assigned(moved, given, golden.images)
    for step, places, match, hard in zip(("arm", "odm"), (grid, moved), (first, second), mined, strict=True):
        targets = coders.encode(places, match.boxes, coders.WEIGHTS).numpy()
        for i, indices in enumerate(match.indices.numpy()):
            rows = np.flatnonzero(indices >= 0)
            np.testing.assert_array_equal(rows, golden.values[f"{step}_target.{i}.anchor"])
            np.testing.assert_array_equal(indices[rows], golden.values[f"{step}_target.{i}.gt"])
            np.testing.assert_allclose(targets[i, rows], golden.values[f"{step}_target.{i}.loc"], rtol=0, atol=5e-3)
            np.testing.assert_array_equal(np.flatnonzero(hard[i]), golden.values[f"{step}_target.{i}.negatives"])


def test_losses_and_gradients(golden):
    model, wanted = golden.model, golden.info["train"]
    given, labels = objects(golden), {id(v): name for v, name in refinedet.variables(model)}

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            terms = model.loss_terms(model.network(golden.images, training=True), given, golden.images)
            loss = tf.add_n(list(terms.values()))
        return terms, tape.gradient(loss, model.trainable_variables)

    terms, gradients = step()
    for ours, theirs in TERMS.items():
        np.testing.assert_allclose(terms[ours], wanted["losses"][theirs], rtol=1e-4, err_msg=ours)
    norms = {labels[id(v)]: float(tf.norm(g)) for v, g in zip(model.trainable_variables, gradients, strict=True)}
    assert len(norms) == wanted["grad"]["tensors"]
    total = np.sqrt(sum(norm**2 for norm in norms.values()))
    np.testing.assert_allclose(total, wanted["grad"]["global_norm"], rtol=1e-3)
    for name, norm in wanted["grad"]["per_tensor_norm"].items():
        np.testing.assert_allclose(norms[name], norm, rtol=5e-3, atol=1e-6 * total, err_msg=name)


@pytest.mark.skipif("KERASDET_GOLDEN_MODELS" in os.environ, reason="another set may hold any models")
def test_some_model_is_recorded():
    assert SPECS
