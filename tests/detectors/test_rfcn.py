"""R-FCN: published counts, dilation, what position-sensitive maps tell apart, which regions learn."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet import backbones, boxes
from kerasdet.detectors import RFCN, rfcn
from kerasdet.layers.start import weights_expected
from kerasdet.weights import copy
from tests.contract import scenes

OBJECTS = [(12, 20, 60, 70, 0), (50, 8, 90, 40, 1)]
BATCH = {"norm": "batch", "resize": ("keep",)}
R50 = {"backbone": "resnet50_keras"}
RELEASE = {"box_values": 8}

# Published forms: classes, arguments, all weights and trainable ones.
FORMS = {
    "R101, k = 7, of the release": (20, RELEASE, 50_907_011, 50_801_667),
    "R101, k = 7": (20, {}, 50_706_111, 50_600_767),
    "R101, k = 3": (20, {"bins": 3}, 49_681_111, 49_575_767),
    "R101, k = 7, of the release, COCO": (80, {**RELEASE, **rfcn.COCO}, 53_929_745, 53_824_401),
    "R101, k = 3, COCO": (80, {"bins": 3, **rfcn.COCO}, 50_243_845, 50_138_501),
    "R50, k = 7": (20, R50, 31_661_759, 31_608_639),
    "R50, k = 7, of the release": (20, {**R50, **RELEASE}, 31_862_659, 31_809_539),
}


@pytest.mark.parametrize("form", FORMS)
def test_published_counts(form):
    classes, arguments, whole, trainable = FORMS[form]
    with weights_expected():
        model = RFCN(classes, **{**BATCH, **arguments})
    assert model.count_params() == whole
    assert sum(np.prod(v.shape) for v in model.trainable_variables) == trainable
    # Stride 16 throughout; conv5_x reads every second cell in all of its blocks, and strides nowhere.
    assert model.backbone.strides == (16, 16) == (*model.anchors.strides, model.stride)
    assert [block.conv2.dilation for block in model.backbone.stages[3]] == [2, 2, 2]
    assert {conv.stride for b in model.backbone.stages[3] for conv in (b.conv1, b.conv2, b.conv3)} == {1}


def make(**changes):
    keras.utils.set_random_seed(3)
    return RFCN(**{**RFCN.tiny(), **changes})


@pytest.fixture(scope="module")
def model():
    return make()


@pytest.mark.parametrize("version", [1, 2])
def test_a_dilated_mobilenet_is_the_strided_one_seen_more_densely(version):
    """Where the strided one has a cell, TensorFlow's padding puts it on the second of two."""
    keras.utils.set_random_seed(1)
    networks = [backbones.MobileNet(version, (4, 5), 0.35 if version == 2 else 0.25, output_stride=s) for s in (32, 16)]
    x = tf.random.normal([1, 96, 128, 3])
    networks[0](x), networks[1](x)
    networks[1].set_weights(networks[0].get_weights())
    (near, strided), (same, dense) = (network(x) for network in networks)
    assert [network.strides for network in networks] == [(16, 32), (16, 16)] and dense.shape[1:3] == (6, 8)
    np.testing.assert_array_equal(near, same)
    np.testing.assert_allclose(dense[:, 1::2, 1::2], strided, rtol=1e-3, atol=1e-4)


def test_positions_tell_a_shifted_region_from_one_that_fits():
    """Figures 3 and 4: maps that fire on their own part of an object vote for the region around it."""
    dense = {"name": "resnet10", "width": 16, "output_stride": 8}
    model, aligned = (make(roi_layer=layer, backbone=dense) for layer in rfcn.ROI_LAYERS)
    bins, side = model.bins, 12
    maps = np.zeros([1, side, side, bins, bins, 3], np.float32)
    box = np.array([16, 16, 64, 64], np.float32)  # six cells a side, two a bin
    for i in range(bins):
        for j in range(bins):
            maps[0, 2 + 2 * i : 4 + 2 * i, 2 + 2 * j : 4 + 2 * j, i, j, 1] = 1
    regions = np.stack([box, box + [16, 0, 16, 0], box + [16, 16, 16, 16], np.zeros(4)]).astype(np.float32)
    features = [tf.constant(maps.reshape(1, side, side, -1)), tf.zeros([1, side, side, bins * bins * 4])]
    logits = model.head(features, tf.constant(regions[None]))["logits"][0, :, 1]
    np.testing.assert_allclose(logits, [1, 0, 0, 0], atol=1e-6)
    logits = aligned.head(features, tf.constant(regions[None]))["logits"][0, :, 1].numpy()
    assert logits[0] > 0.7 and logits[0] > 2 * logits[1:].max()


def test_which_regions_learn(monkeypatch):
    """Those of greatest loss among all, or as in Faster R-CNN; the losses are means over them."""
    seen, hardest = [], rfcn.sample.hard_negatives
    monkeypatch.setattr(rfcn.sample, "hard_negatives", lambda *given: seen.append(hardest(*given)) or seen[-1])
    images, objects = scenes.batch(OBJECTS, [OBJECTS[0]])
    for order in rfcn.ORDERS:
        model = make(order=order, roi_batch=12)
        outputs = model.network(images)
        seen.clear()
        terms = model.loss_terms(outputs, objects, images)
        assert len(seen) == (order == "hard")
        if seen:
            regions = rfcn.sample.candidates(outputs["proposals"], objects, images, 0.5)
            head = model.head(outputs["features"], regions.boxes)
            logits, labels = head["logits"].numpy(), regions.classes.numpy() + 1
            entropy = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, labels[..., None], -1)[..., 0]
            chosen = seen[0].numpy()
            assert (chosen.sum(axis=1) == 12).all()
            np.testing.assert_allclose(terms["class"], entropy[chosen].mean(), rtol=1e-5)


def test_a_fixed_count_divides_the_boxes():
    images, objects = scenes.batch(OBJECTS)
    terms, fixed = (
        model.loss_terms(model.network(images), objects, images)
        for model in (make(roi_batch=16, order="first", box_count=count) for count in (None, 256))
    )
    np.testing.assert_allclose(fixed["class"], terms["class"])
    np.testing.assert_allclose(float(fixed["box"]) * 256, float(terms["box"]) * 16, rtol=1e-5)


def test_the_release_uses_half_of_its_box_maps():
    model = make(box_values=8)
    images, _ = scenes.batch(OBJECTS)
    outputs = model.network(images)
    scores, values = outputs["features"]
    background = tf.tile(tf.range(8) < 4, [model.bins**2])
    changed = [scores, tf.where(background, values + 100.0, values)]
    heads = [model.head(maps, outputs["proposals"])["deltas"] for maps in (outputs["features"], changed)]
    np.testing.assert_array_equal(*heads)


def test_given_proposals_take_the_place_of_its_own(model):
    images, _ = scenes.batch(OBJECTS)
    given = tf.constant([[[10.0, 20, 60, 70], [0, 0, 0, 0]]])
    outputs = model.network({**images, "proposals": given})
    np.testing.assert_array_equal(outputs["proposals"], given)
    assert int(model.detections(outputs, images)["counts"][0]) <= 2
    assert (boxes.area(model.network(images)["proposals"])[0, 0] > 0).numpy()


def test_rows_of_known_classes_are_kept():
    source, target = make(classes=["disc", "egg", "square"]), make(classes=["square", "crack"])
    copy.by_name(source, target)
    x = tf.random.normal([1, 5, 5, 32])
    theirs = tf.reshape(source.score_maps(x), [25, 9, 4])
    ours = tf.reshape(target.score_maps(x), [25, 9, 3])
    np.testing.assert_allclose(ours[..., 1], theirs[..., 3], atol=1e-6)
    np.testing.assert_allclose(ours[..., 0], theirs[..., 0], atol=1e-6)


@pytest.mark.parametrize("arguments, words", [
    ({"roi_layer": "precise"}, r"roi_layer must be one of \('pool', 'align'\), got 'precise'"),
    ({"order": "best"}, "order must be one of .* got 'best'"),
    ({"box_values": 5}, r"box_values must be one of \(4, 8\), got 5"),
    ({"backbone": "vgg16"}, "output_stride"),
    ({"backbone": {"name": "mobilenet_v2", "output_stride": 4}}, "output_stride must be 8, 16 or 32, got 4"),
])  # fmt: skip
def test_what_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        make(**arguments)
