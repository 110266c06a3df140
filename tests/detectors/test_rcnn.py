"""Fast, Faster, Mask and Keypoint R-CNN: published counts; sampling, mining and regions as loops in NumPy; edges."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet import anchors, boxes, coders, ops
from kerasdet.decoding import regions as decode
from kerasdet.detectors import FasterRCNN, FastRCNN, MaskRCNN, fast_rcnn, faster_rcnn, mask_rcnn
from kerasdet.layers import RPN
from kerasdet.layers.start import weights_expected
from kerasdet.losses import boxes as box_losses
from kerasdet.losses import regions as losses
from kerasdet.targets import masks, sample
from kerasdet.weights import copy
from tests.contract import scenes

OBJECTS = [(12, 20, 60, 70, 0), (50, 8, 90, 40, 1)]

V2 = {"norm": "batch", "pyramid_norm": "batch", "rpn_depth": 2, "convs": 4, "fc": (1024,), "head_norm": "batch"}
GROUP = {"norm": "group", "pyramid_norm": "group", "convs": 4, "fc": (1024,), "head_norm": "group"}
BATCH = {"norm": "batch"}
SVD = {**fast_rcnn.VGG16, "ranks": (1024, 256)}

# Published forms: class, arguments, all weights and trainable ones with 20 classes and a background.
FORMS = {
    "Fast VGG16": (FastRCNN, fast_rcnn.VGG16, 134_690_729, None),
    "Faster VGG16": (FasterRCNN, faster_rcnn.VGG16, 137_078_239, None),
    "Faster VGG16, 12 anchors": (FasterRCNN, {**faster_rcnn.VGG16, "sizes": ((64, 128, 256, 512),)}, 137_087_473, None),
    "Faster ZF": (FasterRCNN, faster_rcnn.ZF, 59_294_751, None),
    "Faster R50-C4": (FasterRCNN, {**faster_rcnn.C4, **BATCH}, 33_291_380, 33_238_260),
    "Faster R50-FPN": (FasterRCNN, BATCH, 41_502_776, 41_449_656),
    "Faster X50-FPN": (FasterRCNN, {**BATCH, "backbone": "resnext50_32x4d"}, 40_989_752, 40_921_528),
    "Faster R101-FPN": (FasterRCNN, {**BATCH, "backbone": "resnet101"}, 60_547_128, 60_441_784),
    "Faster R50-FPN of 2021": (FasterRCNN, V2, 43_412_792, 43_353_528),
    "Mask R50-C4": (MaskRCNN, {**faster_rcnn.C4, **mask_rcnn.MASK_C4, **BATCH}, 35_394_185, 35_341_065),
    "Mask R50-FPN": (MaskRCNN, BATCH, 44_130_893, 44_077_773),
    "Mask R50-FPN of 2021": (MaskRCNN, {**V2, "mask_norm": "batch"}, 46_043_981, 45_982_669),
    "Mask R50-FPN, GroupNorm": (MaskRCNN, {**GROUP, "mask_norm": "group"}, 45_392_589, 45_392_589),
}


@pytest.mark.parametrize("form", FORMS)
def test_published_counts(form):
    kind, arguments, whole, trainable = FORMS[form]
    with weights_expected():
        model = kind(20, **{**arguments, "resize": ("keep",)})
    assert model.count_params() == whole
    if trainable is not None:
        assert sum(np.prod(v.shape) for v in model.trainable_variables) == trainable


def test_published_counts_of_keypoints():
    with weights_expected():
        model = MaskRCNN(1, **{**mask_rcnn.KEYPOINT, **BATCH, "resize": ("keep",)})
    assert model.count_params() == 59_243_498
    assert sum(np.prod(v.shape) for v in model.trainable_variables) == 59_190_378
    assert sum(model.anchors.counts((800, 800))) == 159_882


def make(kind, **changes):
    keras.utils.set_random_seed(3)
    return kind(**{**kind.tiny(), **changes})


@pytest.fixture(scope="module")
def model():
    return make(FasterRCNN)


@pytest.mark.parametrize("name", ["roi_layer", "box_loss", "order", "rpn_outputs", "mask_scores"])
def test_unknown_arguments(name):
    with pytest.raises(ValueError, match=f"{name} must be"):
        make(MaskRCNN, **{name: "best"})


def test_two_outputs_are_a_softmax():
    """The probability of an object by the paper's softmax is that of our logit."""
    keras.utils.set_random_seed(1)
    grid = anchors.Anchors(anchors.shapes([[32]]), [16])
    rpn, x = RPN(grid, 1, 8, 2), tf.random.normal([2, 4, 5, 6])
    logits = rpn([x])["rpn_logits"]
    pairs = tf.reshape(rpn.classes(rpn.tower[0](x)), [2, -1, 2])
    np.testing.assert_allclose(tf.sigmoid(logits), tf.nn.softmax(pairs)[..., 1], atol=1e-6)


def overlap(a, b):
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union else 0.0


def proposed(count, seed=0):
    """Random proposals, and the objects moved a little, the last ones padding."""
    draw = np.random.default_rng(seed)
    low = draw.uniform(0, 60, [count, 2])
    found = np.concatenate([low, low + draw.uniform(5, 36, [count, 2])], axis=1)
    near = np.array([box[:4] for box in OBJECTS] * 4) + draw.uniform(-6, 6, [8, 4])
    return np.float32(np.concatenate([found, near.clip(0, 96), np.zeros([3, 4])]))


@pytest.mark.parametrize("least", [0.0, 0.1])
def test_candidates(least):
    """Objects join the proposals; a crowd hides what lies under it; background may need some overlap."""
    images, objects = scenes.batch([*OBJECTS, (60, 60, 96, 96, 0, True)])
    found = proposed(60)
    given = sample.candidates(tf.constant(found[None]), objects, images, 0.5, least)
    rows = np.concatenate([found, np.float32([box[:4] for box in OBJECTS]), np.zeros([1, 4], np.float32)])
    np.testing.assert_array_equal(given.boxes[0], rows)
    crowd, kinds = (60, 60, 96, 96), set()
    for i, row in enumerate(rows):
        overlaps = [overlap(row, box[:4]) for box in OBJECTS]
        best = int(np.argmax(overlaps))
        area = (row[2] - row[0]) * (row[3] - row[1])
        under = max(0, row[2] - max(row[0], crowd[0])) * max(0, row[3] - max(row[1], crowd[1])) > 0.5 * area
        if overlaps[best] >= 0.5:
            expected = (best, OBJECTS[best][4], True)
        else:
            expected = (-1, -1, area > 0 and not under and max(overlaps) >= least)
        kinds.add(expected[1:])
        if area > 0:
            assert (int(given.objects[0, i]), int(given.classes[0, i]), bool(given.valid[0, i])) == expected
        else:
            assert not given.valid[0, i]
    assert len(kinds) == 4


def test_regions_are_drawn_positives_first():
    images, objects = scenes.batch(OBJECTS, [OBJECTS[0]])
    found = tf.constant(np.stack([proposed(60), proposed(60, 1)]))
    given = sample.candidates(found, objects, images, 0.5)
    drawn = sample.regions(given, sample.keys("first", images["ids"], 0, given.boxes.shape[1]), 16, 0.25)
    for i in range(2):
        positive = np.flatnonzero(given.positive[i])[:4]
        negative = np.flatnonzero(given.valid[i] & ~given.positive[i])[: 16 - len(positive)]
        rows = np.concatenate([positive, negative])
        np.testing.assert_array_equal(drawn.boxes[i], given.boxes.numpy()[i][rows])
        np.testing.assert_array_equal(drawn.targets[i], given.targets.numpy()[i][rows])
        np.testing.assert_array_equal(drawn.positive[i], np.arange(16) < len(positive))
    few = drawn.positives()
    np.testing.assert_array_equal(few.boxes, drawn.boxes[:, : few.boxes.shape[1]])
    assert bool(tf.reduce_all(few.positive[0]))


def test_the_hardest_regions():
    """By falling loss, without what overlaps a harder one by more than 0.7; the choice itself gives no gradient."""
    model = make(FasterRCNN, order="hard", roi_batch=12)
    images, objects = scenes.batch(OBJECTS)
    images["proposals"] = tf.constant(proposed(60)[None])
    outputs = model.network(images)
    given = sample.candidates(outputs["proposals"], objects, images, 0.5)
    head = model.head(outputs["features"], given.boxes)
    parts = losses.multi_task(head["logits"], head["deltas"], given, "smooth_l1", model.beta, coders.WEIGHTS)
    loss, rows = sum(parts).numpy()[0], given.boxes.numpy()[0]
    kept = []
    for i in np.argsort(-loss, kind="stable"):
        if given.valid[0, i] and len(kept) < 12 and all(overlap(rows[i], rows[j]) <= 0.7 for j in kept):
            kept.append(i)
    chosen = model.sampled(outputs, objects, images)
    np.testing.assert_array_equal(chosen.boxes[0, : len(kept)], rows[kept])
    assert not np.any(chosen.valid[0, len(kept) :])


def test_region_terms():
    """Cross-entropy and smooth L1 of the true class' four deltas, over all sampled regions."""
    model = make(FasterRCNN, order="first")
    images, objects = scenes.batch(OBJECTS)
    outputs = model.network(images)
    regions = model.sampled(outputs, objects, images)
    head = model.head(outputs["features"], regions.boxes)
    logits, deltas = head["logits"].numpy()[0], head["deltas"].numpy()[0]
    valid, kinds = regions.valid.numpy()[0], regions.classes.numpy()[0] + 1
    entropy = [np.log(np.exp(logits[i]).sum()) - logits[i, kinds[i]] for i in np.flatnonzero(valid)]
    box = 0.0
    for i in np.flatnonzero(regions.positive[0]):
        (x1, y1, x2, y2), (u1, v1, u2, v2) = regions.boxes.numpy()[0, i], regions.targets.numpy()[0, i]
        width, height = x2 - x1, y2 - y1
        target = [
            10 * (u1 + u2 - x1 - x2) / 2 / width, 10 * (v1 + v2 - y1 - y2) / 2 / height,
            5 * np.log((u2 - u1) / width), 5 * np.log((v2 - v1) / height),
        ]  # fmt: skip
        distance = np.abs(deltas[i, kinds[i]] - target)
        box += np.where(distance < model.beta, distance**2 / 2 / model.beta, distance - model.beta / 2).sum()
    terms = model.loss_terms(outputs, objects, images)
    np.testing.assert_allclose(terms["class"], np.mean(entropy), rtol=1e-5)
    np.testing.assert_allclose(terms["box"], box / valid.sum(), rtol=1e-4)


def test_anchors_over_the_border_do_not_learn_where_the_paper_says_so():
    """Losses of logits that are wrong over the border only."""
    images, objects = scenes.batch(OBJECTS)
    for crossing in (True, False):
        model = make(FasterRCNN, crossing=crossing, rpn_batch=10**6)
        grid = model.anchors((scenes.SIDE, scenes.SIDE))
        outside = tf.reduce_any((grid < 0) | (grid > scenes.SIDE), axis=-1)
        logits = tf.where(outside, 20.0, 0.0)[None]
        outputs = {"rpn_logits": logits, "rpn_deltas": tf.zeros([1, *grid.shape])}
        loss = float(model.rpn_terms(outputs, objects, images)["rpn_class"])
        assert loss == pytest.approx(np.log(2), rel=1e-5) if not crossing else loss > 2


def test_an_object_at_the_border_has_an_anchor_inside():
    """Its best anchor crosses the border; the best of the others learns it, however little they overlap."""
    images, objects = scenes.batch([(0, 0, 30, 30, 0)])
    model = make(FasterRCNN, crossing=False, rpn_batch=10**6)
    grid = model.anchors((scenes.SIDE, scenes.SIDE))
    inside = tf.reduce_all((grid >= 0) & (grid <= scenes.SIDE), axis=-1)
    overlaps = boxes.iou(objects["boxes"][0], grid)[0]
    best = tf.reduce_max(tf.where(inside, overlaps, 0.0))
    assert best < 0.7 and best < tf.reduce_max(overlaps)
    outputs = {"rpn_logits": tf.fill([1, len(grid)], -20.0), "rpn_deltas": tf.zeros([1, *grid.shape])}
    found = float(model.rpn_terms(outputs, objects, images)["rpn_class"])
    counted = inside & ((overlaps < 0.3) | (overlaps == best))
    positives = inside & (overlaps == best)
    assert found == pytest.approx(20 * np.sum(positives) / np.sum(counted), rel=1e-5)


def test_conv5_starts_from_the_weights_of_the_backbone(monkeypatch):
    seen, build, stage = [], fast_rcnn.backbones.build, fast_rcnn.backbones.stage
    for name, make_part in (("build", build), ("stage", stage)):

        def noted(*arguments, weights=None, make_part=make_part, **options):
            seen.append(weights)
            return make_part(*arguments, **options)

        monkeypatch.setattr(fast_rcnn.backbones, name, noted)
    make(FasterRCNN, **{**faster_rcnn.C4, "rpn_width": 8}, backbone_weights="some.h5")
    assert seen == ["some.h5"] * 2


@pytest.mark.parametrize("arguments, words", [
    ({"mask_size": 15}, "mask_size must be a multiple of 2, got 15"),
    ({"keypoint_size": 18}, "keypoint_size must be a multiple of 4, got 18"),
    ({"roi_layer": "align_max", "sampling_ratio": 0}, "needs a sampling_ratio of at least 1, got 0"),
    ({"sizes": ((16,), (32, 48), (64,), (96,))}, "sizes must be as many on every level"),
])  # fmt: skip
def test_sizes_that_do_not_fit_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        make(MaskRCNN, **arguments)


def test_ranks_are_counted():
    with pytest.raises(ValueError, match=r"ranks must be one for each of 2 fully connected layers, got \(1024,\)"):
        make(FasterRCNN, fc=(64, 64), ranks=(1024,))


def test_a_batch_without_regions_leaves_norms_sound():
    """The running variance of a mask head that saw none stays that of features, not of padding."""
    model = make(MaskRCNN, mask_norm="batch", keypoints=0)
    images, objects = scenes.batch(OBJECTS)
    outputs = model.network(images)
    norm = next(v for v in model.mask_head.variables if v.path.endswith("moving_variance"))
    for _ in range(100):
        model.mask_logits(outputs["features"], tf.zeros([1, 4, 4]), training=True)
    assert float(tf.reduce_mean(norm)) > 1e-3


@pytest.mark.parametrize("kind", box_losses.BOX_LOSSES)
def test_box_losses(kind):
    """None of the losses punishes the right deltas, each does wrong ones more the more wrong they are."""
    region = tf.constant([[10.0, 20, 50, 60]])
    target = tf.constant([[14.0, 18, 60, 66]])
    right = tf.constant([[10 * 0.175, 10 * 0.05, 5 * np.log(46 / 40), 5 * np.log(48 / 40)]], tf.float32)
    costs = [
        float(box_losses.coded(region, right + s, target, kind, 1.0, coders.WEIGHTS)[0]) for s in (0.0, 0.3, 1.0, 2.0)
    ]
    assert costs[0] == pytest.approx(0, abs=1e-5) and costs[0] < costs[1] < costs[2] < costs[3]


def test_region_features():
    """Every layer is the operator of its name on the region's own level; the greatest of the samples is align_max's."""
    draw = np.random.default_rng(2)
    maps = [tf.constant(draw.normal(size=[2, side, side, 3]), tf.float32) for side in (64, 32, 16)]
    found = np.float32([[[5, 9, 60, 70], [0, 0, 0, 0]], [[10, 10, 250, 240], [3, 3, 120, 200]]])
    rois = np.float32([[i, *box] for i in range(2) for box in found[i]])
    levels = ops.pyramid_levels(tf.constant(rois), 2, 4)
    scales = (1 / 4, 1 / 8, 1 / 16)
    expected = {
        "align": ops.roi_align(maps, rois, scales, 3, 2, True, levels),
        "pool": ops.roi_pool(maps, rois, scales, 3, levels),
        "precise": ops.prroi_pool(maps, rois, scales, 3, levels),
    }
    single = ops.roi_align(maps, rois, scales, 6, 1, True, levels).numpy().reshape(4, 3, 2, 3, 2, 3)
    expected["align_max"] = single.max(axis=(2, 4))
    assert len(set(levels.numpy())) > 1
    for layer in ops.REGION_LAYERS:
        got = ops.region_features(maps, tf.constant(found), (4, 8, 16), 3, layer, 2, True).numpy()
        np.testing.assert_allclose(got[[0, 2, 3]], np.array(expected[layer])[[0, 2, 3]], atol=1e-6)
        assert not got[1].any()


@pytest.mark.parametrize("kind", [FasterRCNN, MaskRCNN])
def test_without_any_proposal(kind):
    model = make(kind)
    for pictures in ([[]], [OBJECTS]):
        images, objects = scenes.batch(*pictures)
        images["proposals"] = tf.zeros([1, 5, 4])
        outputs = model.network(images)
        assert int(model.detections(outputs, images)["counts"][0]) == 0
        with tf.GradientTape() as tape:
            terms = model.loss_terms(model.network(images, training=True), objects, images)
            loss = tf.add_n(list(terms.values()))
        assert np.isfinite(float(loss))
        gradients = [g for g in tape.gradient(loss, model.trainable_variables) if g is not None]
        assert all(np.isfinite(tf.convert_to_tensor(g)).all() for g in gradients)


def test_given_proposals_take_the_place_of_its_own(model):
    images, _ = scenes.batch(OBJECTS)
    given = tf.constant([[[10.0, 20, 60, 70], [0, 0, 0, 0]]])
    np.testing.assert_array_equal(model.network({**images, "proposals": given})["proposals"], given)
    own = model.network(images)["proposals"]
    assert own.shape[1] == 30 and (boxes.area(own)[0, 0] > 0)


def test_maps_of_one_cell(model):
    pixels = tf.fill([1, 32, 32, 3], 90.0)
    images = {
        "pixels": pixels, "windows": tf.constant([[0.0, 0, 32, 32]]), "frames": tf.constant([[1.0, 1, 0, 0]]),
        "ids": tf.constant([0], tf.int64),
    }  # fmt: skip
    outputs = model.network(images)
    assert outputs["features"][-1].shape[1:3] == (1, 1)
    objects = {
        "boxes": tf.constant([[[4.0, 4, 20, 28]]]), "classes": tf.constant([[1]]), "crowds": tf.constant([[False]]),
    }  # fmt: skip
    assert all(np.isfinite(float(v)) for v in model.loss_terms(outputs, objects, images).values())
    assert np.isfinite(model.detections(outputs, images)["boxes"]).all()


def test_a_proposal_of_padding_is_no_detection():
    logits, deltas = tf.zeros([1, 2, 3]), tf.zeros([1, 2, 3, 4])
    proposals = tf.constant([[[10.0, 10, 40, 40], [0, 0, 0, 0]]])
    windows = tf.constant([[0.0, 0, 96, 96]])
    found = decode.detections({"logits": logits, "deltas": deltas}, proposals, windows, coders.WEIGHTS, 0.5, 0.05, 10)
    assert int(found["counts"][0]) == 2  # a box for either class
    np.testing.assert_allclose(found["boxes"][0, :2], [[10, 10, 40, 40]] * 2, atol=1e-4)


def test_masks_on_boxes_are_cut_like_masks_on_pictures():
    """A grid over the object's box and one over the whole picture give the same targets."""
    y, x = np.mgrid[0:96, 0:96] + 0.5
    disc = ((x - 40) / 20) ** 2 + ((y - 50) / 30) ** 2 <= 1
    whole, part = disc[None, None], disc[None, None, 20:80, 20:60]
    rois = tf.constant([[[18.0, 22, 58, 84], [30, 30, 70, 90]]])
    cut = [
        masks.cut(tf.constant(np.uint8(grid)), tf.constant([[frame]]), rois, tf.constant([[0, 0]]), 14).numpy()
        for grid, frame in ((whole, [0.0, 0, 96, 96]), (part, [20.0, 20, 60, 80]))
    ]
    assert np.abs(cut[0] - cut[1]).mean() < 0.01 and cut[0].max() == pytest.approx(1) and cut[0].min() == 0


def test_mask_losses():
    draw = np.random.default_rng(4)
    logits, targets, kinds = draw.normal(size=[3, 5, 5, 4]), draw.uniform(size=[3, 5, 5]), np.array([1, 3, 2])
    sigmoid, softmax = [], []
    for z, t, k in zip(logits, targets, kinds, strict=True):
        p, q = 1 / (1 + np.exp(-z[..., k])), np.exp(z) / np.exp(z).sum(-1, keepdims=True)
        sigmoid.append(-(t * np.log(p) + (1 - t) * np.log(1 - p)).mean())
        softmax.append(-(t * np.log(q[..., k]) + (1 - t) * np.log(q[..., 0])).mean())
    given = [tf.constant(v, tf.float32) for v in (logits, targets)] + [tf.constant(kinds, tf.int32)]
    np.testing.assert_allclose(losses.mask(*given), sigmoid, rtol=1e-5)
    np.testing.assert_allclose(losses.mask(*given, "softmax"), softmax, rtol=1e-5)


def test_detected_masks_are_those_of_the_detected_class():
    model = make(MaskRCNN, above=0.0, limit=100)
    images, _ = scenes.batch(OBJECTS)
    outputs = model.network(images)
    found = model.detections(outputs, images)
    count = int(found["counts"][0])
    assert set(found["classes"][0, :count].numpy()) == {0, 1}
    logits = model.mask_logits(outputs["features"], found["boxes"]).numpy()
    for i in range(count):
        own = logits[i, :, :, int(found["classes"][0, i]) + 1]
        np.testing.assert_allclose(found["masks"][0, i], 1 / (1 + np.exp(-own)), rtol=1e-4)


def test_rows_of_known_classes_are_kept():
    """Logits, boxes and masks of classes with equal names come from the source."""
    source = make(MaskRCNN, classes=["disc", "egg", "square"])
    target = make(MaskRCNN, classes=["square", "crack"])
    copy.by_name(source, target)
    x = tf.random.normal([1, 5, 64])
    theirs, ours = source.predictor(x), target.predictor(x)
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name][:, :, 1], values[:, :, 3], atol=1e-6)
        assert np.abs(ours[name][:, :, 2] - values[:, :, 1:3].numpy().mean(axis=2)).max() > 1e-3
    region = tf.random.normal([2, 4, 4, 32])
    np.testing.assert_allclose(target.mask_head(region)[..., 1], source.mask_head(region)[..., 3], atol=1e-5)


def test_small_proposals_are_dropped_by_the_original_pictures_pixels():
    model = make(FasterRCNN, rpn_side=16.0)
    images, _ = scenes.batch(OBJECTS, OBJECTS)
    images["frames"] = tf.constant([[1.0, 1, 0, 0], [2, 2, 0, 0]])
    grid = model.anchors((scenes.SIDE, scenes.SIDE))
    outputs = {"rpn_logits": tf.zeros([2, len(grid)]), "rpn_deltas": tf.zeros([2, *grid.shape])}
    found = model.proposals(outputs, images).numpy()
    for proposals, least in zip(found, (16, 32), strict=True):
        real = proposals[(proposals[:, 2:] > proposals[:, :2]).all(axis=1)]
        assert len(real) > 5 and (real[:, 2:] - real[:, :2]).min() >= least
    assert make(FasterRCNN).rpn.side == 1e-3 and faster_rcnn.VGG16["rpn_side"] == faster_rcnn.ZF["rpn_side"] == 16


def test_hard_examples_need_no_overlap_with_an_object():
    """OHEM abolishes Fast R-CNN's lower bound of background (section 4)."""
    images, objects = scenes.batch(OBJECTS)
    images["proposals"] = tf.constant([[[80.0, 60, 96, 96], [0, 80, 10, 96], [30, 50, 70, 90]]])
    for order, background in (("hard", 2), ("first", 0)):
        model = make(FastRCNN, order=order, negative=0.1, roi_batch=12)
        regions = model.sampled(model.network(images), objects, images)
        far = regions.valid & (boxes.area(regions.boxes) < 1000) & (regions.objects < 0)
        assert int(tf.reduce_sum(tf.cast(far, tf.int32))) == background


def test_choosing_hard_examples_keeps_nothing_in_memory():
    """When the chosen regions run, what the choice computed is gone; the gradient still reaches the head."""
    model = make(FasterRCNN, order="hard", roi_batch=8)
    model.compile(keras.optimizers.SGD(0.1))
    images, objects = scenes.batch(OBJECTS)
    passes, multi_task = [], model.multi_task

    def noted(head, regions):
        gc.collect()
        alive = [one() is not None for one in passes]
        passes.append(weakref.ref(head["logits"]))
        assert not any(alive)
        return multi_task(head, regions)

    model.multi_task = noted
    _, gradients = model._gradients(images, objects)
    assert len(passes) == 2
    reached = {v.path: g is not None for v, g in zip(model.trainable_variables, gradients, strict=True)}
    assert all(reached.values()), reached
