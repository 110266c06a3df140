"""R-FCN against the reference values: maps, pooling, votes, boxes and their gradients, the dilated conv5, and OHEM."""

import contextlib
import types

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import boxes, coders
from kerasdet.backbones import resnet
from kerasdet.detectors import RFCN, FastRCNN
from kerasdet.layers import Conv
from kerasdet.losses import regions as losses
from kerasdet.targets import sample
from tests.golden import goldens

GOLDEN = goldens.load("rfcn")


def cases(prefix):
    return goldens.cases("rfcn", prefix)


def stand_in(**values):
    """An R-FCN without a network."""
    model = types.SimpleNamespace(**{"roi_layer": "pool", "order": "hard", "beta": 1.0, "box_count": None, **values})
    for name in ("head", "_vote", "pooled", "region_terms"):
        setattr(model, name, types.MethodType(getattr(RFCN, name), model))
    return model


def conv(golden, name, x, **options):
    """A 1x1 layer of the golden's weights."""
    kernel = golden[f"kernel_{name}"]
    layer = Conv(kernel.shape[1], 1, **options)
    layer.build((None, None, None, kernel.shape[0]))
    layer.kernel.assign(kernel[None, None])
    layer.bias.assign(golden[f"bias_{name}"])
    return layer(x)


def by_image(rois):
    """RoIs [R, 5] as boxes [B, N, 4] of each image, padded, and their places in it, [R] rows of image and number."""
    images = rois[:, 0].astype(int)
    numbers = np.array([np.count_nonzero(images[:i] == image) for i, image in enumerate(images)])
    found = np.zeros([images.max() + 1, numbers.max() + 1, 4], np.float32)
    found[images, numbers] = rois[:, 1:]
    return tf.constant(found), np.stack([images, numbers], axis=1)


@pytest.mark.parametrize("case", cases("head_"))
def test_head(case, way):
    golden = GOLDEN[case]
    model = stand_in(stride=1 / goldens.decimal(golden["spatial_scale"]), bins=golden["k"].item())
    found, places = by_image(golden["rois"])
    features = tf.constant(golden["features"])
    with tf.GradientTape() as tape:
        tape.watch(features)
        reduced = conv(golden, "new", features, activation="relu")
        maps = [conv(golden, name, reduced) for name in ("cls", "box")]
        head = {name: tf.gather_nd(value, places) for name, value in model.head(maps, found).items()}
        # All groups of box maps, of which the release uses the last alone.
        deltas = tf.gather_nd(model._vote(maps[1], found), places)
        total = tf.reduce_sum(head["logits"] * golden["up_logits"]) + tf.reduce_sum(deltas * golden["up_deltas"])
    for name, value in zip(("cls_maps", "box_maps"), maps, strict=True):
        if name in golden:
            np.testing.assert_allclose(value, golden[name], rtol=1e-5, atol=1e-5)
    shape = [*found.shape[:2], *golden["pooled_cls64"].shape[1:]]
    pooled = tf.gather_nd(tf.reshape(model.pooled(maps[0], found), shape), places)
    np.testing.assert_allclose(pooled, golden["pooled_cls64"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(head["logits"], golden["logits64"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(tf.nn.softmax(head["logits"]), golden["probs64"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(deltas, golden["deltas64"], rtol=0, atol=1e-4)
    np.testing.assert_array_equal(head["deltas"][:, 0], deltas[:, -4:])
    height, width = golden["image_size"].tolist()
    decoded = coders.decode(tf.constant(golden["rois"][:, 1:]), head["deltas"][:, 0], coders.WEIGHTS)
    clipped = boxes.clip(decoded, tf.constant([0, 0, width, height], tf.float32))
    np.testing.assert_allclose(clipped, golden["boxes64"], rtol=0, atol=1e-3)
    np.testing.assert_allclose(tape.gradient(total, features), golden["grad_features64"], rtol=1e-4, atol=1e-4)


def test_dilated_conv():
    """As the second convolution of each block of conv5_x, of which none strides."""
    golden = GOLDEN["hole_conv"]
    model = resnet.ResNet(50, (4, 5), None, stride_in="1x1", output_stride=16)
    strides = [model.stages[3][0].conv1.stride, model.stages[3][0].shortcut.stride]
    assert strides == [1, 1] and [block.conv2.dilation for block in model.stages[3]] == [golden["dilation"]] * 3
    kernel = golden["kernel"]
    layer = Conv(kernel.shape[-1], kernel.shape[0], dilation=golden["dilation"].item(), biased=False)
    layer.build(golden["features"].shape)
    layer.kernel.assign(kernel)
    np.testing.assert_allclose(layer(golden["features"]), golden["out64"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", cases("ohem"))
def test_hard_examples(case):
    golden, limit = GOLDEN[case], GOLDEN[case]["keep_per_image"].item()
    found, places = by_image(np.column_stack([golden["image"], golden["boxes"]]))
    shape, rows = found.shape[:2], tuple(places.T)
    labels, targets, valid = np.zeros(shape, np.int32), np.zeros([*shape, 4], np.float32), np.zeros(shape, bool)
    labels[rows], valid[rows] = golden["labels"], True
    targets[rows] = coders.decode(golden["boxes"], golden["box_targets"], coders.WEIGHTS, clip=None)
    objects = tf.constant(np.where(labels > 0, 0, -1), tf.int32)
    given = sample.Regions(found, objects, tf.constant(targets), tf.constant(labels - 1), tf.constant(valid))
    logits, deltas = (
        tf.scatter_nd(places, golden[name], [*shape, golden[name].shape[1]]) for name in ("logits", "deltas")
    )
    threshold = goldens.decimal(golden["nms_threshold"])
    with tf.GradientTape() as tape:
        tape.watch([logits, deltas])
        head = {"logits": logits, "deltas": deltas[:, :, None]}
        if threshold < 1:  # Fast R-CNN's OHEM, where a region runs through layers of its own
            terms, chosen = of_fast_rcnn(head, given, limit)
            fixed = None
        else:
            each = losses.multi_task(logits, head["deltas"], given, "smooth_l1", 1.0, coders.WEIGHTS)
            np.testing.assert_allclose(tf.gather_nd(sum(each), places), golden["roi_loss64"], rtol=1e-4, atol=1e-4)
            chosen = sample.hard_negatives(sum(each), given.valid, tf.fill(shape[:1], limit))
            terms = stand_in(roi_batch=limit).region_terms(head, given)
            fixed = stand_in(roi_batch=limit, box_count=256).region_terms(head, given)["box"]
        total = terms["class"] + terms["box"]
    np.testing.assert_array_equal(tf.gather_nd(chosen, places), golden["selected"])
    np.testing.assert_allclose(terms["class"], golden["loss_cls64"], rtol=1e-5)
    np.testing.assert_allclose(terms["box"], golden["loss_box64"], rtol=1e-4)
    if fixed is not None:
        np.testing.assert_allclose(fixed, golden["loss_box_release64"], rtol=1e-4)
    for name, gradient in zip(("logits", "deltas"), tape.gradient(total, [logits, deltas]), strict=True):
        np.testing.assert_allclose(tf.gather_nd(gradient, places), golden[f"grad_{name}64"], rtol=1e-4, atol=1e-6)


def of_fast_rcnn(head, given, limit):
    """The terms of Fast R-CNN's choice, and which regions it took, [B, N]; boxes tell the rows apart."""
    places = {tuple(corners): i for i, corners in enumerate(given.boxes.numpy().reshape(-1, 4))}

    def rows(boxes):
        return tf.constant([[places[tuple(box)] for box in own] for own in boxes.numpy()])

    def at(features, boxes, training=False):
        """The head's values for boxes that were chosen."""
        flat = {name: tf.reshape(value, [-1, *value.shape[2:]]) for name, value in head.items()}
        return {name: tf.gather(value, rows(boxes)) for name, value in flat.items()}

    model = types.SimpleNamespace(
        head=at, roi_batch=limit, box_loss="smooth_l1", beta=1.0, off_tape=contextlib.nullcontext
    )
    for name in ("_hardest", "multi_task", "region_terms"):
        setattr(model, name, types.MethodType(getattr(FastRCNN, name), model))
    picked = model._hardest({"features": None}, given)
    boxes = tf.where(picked.valid[..., None], picked.boxes, tf.constant(next(iter(places))))  # any, for padding
    terms = model.region_terms({"features": None}, picked._replace(boxes=boxes))
    chosen = np.zeros([len(places)], bool)
    chosen[rows(boxes).numpy()[picked.valid.numpy()]] = True
    return terms, tf.reshape(chosen, given.valid.shape)
