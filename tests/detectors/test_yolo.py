"""The YOLO line: losses as slow loops from the papers, right answers, the count of images seen, darknet's files."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet.detectors import Darknet, YOLOv1, YOLOv2, YOLOv3
from kerasdet.detectors.yolov2 import EARLY
from tests.contract import scenes

SIDE = scenes.SIDE
# Two objects in one cell of every grid, of the same and of other shapes; objects on the borders; a crowd; nothing.
PICTURES = [
    [(12, 20, 60, 70, 0), (50, 8, 90, 40, 1)],
    [(4, 4, 28, 28, 0), (6, 2, 26, 30, 1), (10, 10, 18, 16, 1)],
    [(80, 60, 112, 128, 0), (-8, 36, 8, 54, 1), (32, 32, 32, 40, 0), (56, 56, 72, 72, 1)],
    [(20, 30, 70, 75, 1), (0, 0, 50, 96, 0, True)],
    [],
]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def entropy(target, logit):
    return np.log1p(np.exp(-abs(logit))) + max(logit, 0) - target * logit


def overlap(a, b):
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (area - width * height) if area - width * height > 0 else 0.0


def listed(objects, i, size):
    """The objects of a picture, clipped to it: (box, class) of those that learn, and the boxes of crowds."""
    real, crowds = [], []
    for box, kind, crowd in zip(objects["boxes"][i], objects["classes"][i], objects["crowds"][i], strict=True):
        box = np.clip(np.float64(box), 0, [size, size] * 2)
        if crowd:
            crowds.append(box)
        elif kind >= 0 and box[2] > box[0] and box[3] > box[1]:
            real.append((box, int(kind)))
    return real, crowds


def covered(row, column, cell, crowds):
    x, y = (column + 0.5) * cell, (row + 0.5) * cell
    return any(box[0] < x < box[2] and box[1] < y < box[3] for box in crowds)


def cell_of(box, cell, count):
    x, y = (box[0] + box[2]) / 2 / cell, (box[1] + box[3]) / 2 / cell
    column, row = min(int(x), count - 1), min(int(y), count - 1)
    return row, column, x - column, y - row


def located(row, column, cell, said, anchor):
    """YOLOv2's and v3's box of raw numbers."""
    x, y = (column + sigmoid(said[0])) * cell, (row + sigmoid(said[1])) * cell
    width, height = anchor[0] * np.exp(said[2]), anchor[1] * np.exp(said[3])
    return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])


def shape_overlap(box, anchor):
    width, height = box[2] - box[0], box[3] - box[1]
    shared = min(width, anchor[0]) * min(height, anchor[1])
    return shared / (width * height + anchor[0] * anchor[1] - shared)


def expected_v3(maps, real, crowds, anchors, masks, size, ignore):
    """Section 2.1 of YOLOv3, slot by slot, with the release's weights of boxes."""
    terms = dict.fromkeys(YOLOv3.terms, 0.0)
    for raw, mask in zip(maps, masks, strict=True):
        count = raw.shape[0]
        cell = size / count
        learned = {}
        for box, kind in real:
            best = int(np.argmax([shape_overlap(box, anchor) for anchor in anchors]))
            if best in mask:
                row, column, x, y = cell_of(box, cell, count)
                slot = row, column, mask.index(best)
                kinds = learned[slot][3] if slot in learned else set()
                learned[slot] = box, (x, y), best, kinds | {kind}
        said = raw.reshape(count, count, len(mask), -1)
        for row, column, a in np.ndindex(count, count, len(mask)):
            own = said[row, column, a]
            if (row, column, a) in learned:
                box, center, best, kinds = learned[row, column, a]
                sides = box[2] - box[0], box[3] - box[1]
                weight = 2 - sides[0] * sides[1] / size**2
                terms["box"] += weight * sum(entropy(center[i], own[i]) for i in (0, 1))
                terms["box"] += weight * sum(
                    (np.log(sides[i] / anchors[best][i]) - own[2 + i]) ** 2 / 2 for i in (0, 1)
                )
                terms["objectness"] += entropy(1, own[4])
                terms["class"] += sum(entropy(k in kinds, own[5 + k]) for k in range(len(own) - 5))
            else:
                box = located(row, column, cell, own, anchors[mask[a]])
                near = max((overlap(box, one) for one, _ in real), default=0) > ignore
                if not near and not covered(row, column, cell, crowds):
                    terms["background"] += entropy(0, own[4])
    return terms


def expected_v2(raw, real, crowds, anchors, size, seen):
    """Section 2 of YOLOv2 with the release's loss; anchors in pixels."""
    terms = dict.fromkeys(YOLOv2.terms, 0.0)
    count = raw.shape[0]
    cell = size / count
    learned = {}
    for box, kind in real:
        best = int(np.argmax([shape_overlap(box, anchor) for anchor in anchors]))
        row, column, x, y = cell_of(box, cell, count)
        learned[row, column, best] = box, (x, y), kind  # the last one stays
    said = raw.reshape(count, count, len(anchors), -1)
    for row, column, a in np.ndindex(count, count, len(anchors)):
        own = said[row, column, a]
        guess = located(row, column, cell, own, anchors[a])
        where = [sigmoid(own[0]), sigmoid(own[1]), own[2], own[3]]
        if (row, column, a) in learned:
            box, center, kind = learned[row, column, a]
            sides = box[2] - box[0], box[3] - box[1]
            wanted = [*center, *(np.log(sides[i] / anchors[a][i]) for i in (0, 1))]
            weight = 2 - sides[0] * sides[1] / size**2
            terms["box"] += weight * sum((w - o) ** 2 for w, o in zip(wanted, where, strict=True)) / 2
            terms["objectness"] += 5 * (overlap(guess, box) - sigmoid(own[4])) ** 2 / 2
            terms["class"] += np.log(np.exp(own[5:]).sum()) - own[5 + kind]
        elif not covered(row, column, cell, crowds):
            if max((overlap(guess, one) for one, _ in real), default=0) <= 0.6:
                terms["background"] += sigmoid(own[4]) ** 2 / 2
            if seen < EARLY:
                terms["box"] += 0.01 * sum((w - o) ** 2 for w, o in zip([0.5, 0.5, 0, 0], where, strict=True)) / 2
    return terms


def middle(box):
    """Center and sides."""
    return np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]])


def expected_v1(raw, real, crowds, grid, num, classes, size):
    """Equation 3 of YOLOv1, halved as in the release; the first object of a cell stays."""
    terms = dict.fromkeys(YOLOv1.terms, 0.0)
    cell = size / grid
    kinds = raw[: grid**2 * classes].reshape(grid, grid, classes)
    sure = raw[grid**2 * classes : grid**2 * (classes + num)].reshape(grid, grid, num)
    said = raw[grid**2 * (classes + num) :].reshape(grid, grid, num, 4)
    learned = {}
    for box, kind in real:
        row, column, x, y = cell_of(box, cell, grid)
        learned.setdefault((row, column), (box, (x, y), kind))
    for row, column in np.ndindex(grid, grid):
        responsible = None
        if (row, column) in learned:
            box, center, kind = learned[row, column]
            guesses = []
            for x, y, w, h in said[row, column]:
                x, y, w, h = (column + x) * cell, (row + y) * cell, w * w * size, h * h * size
                guesses.append(np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]))
            overlaps = [overlap(guess, box) for guess in guesses]
            away = [np.sum((middle(guess) - middle(box)) ** 2) for guess in guesses]
            responsible = int(np.argmax(overlaps)) if max(overlaps) > 0 else int(np.argmin(away))
            wanted = [*center, np.sqrt((box[2] - box[0]) / size), np.sqrt((box[3] - box[1]) / size)]
            terms["box"] += 5 * np.sum((wanted - said[row, column, responsible]) ** 2) / 2
            terms["objectness"] += (overlaps[responsible] - sure[row, column, responsible]) ** 2 / 2
            terms["class"] += np.sum((np.eye(classes)[kind] - kinds[row, column]) ** 2) / 2
        for b in range(num):
            if b != responsible and (responsible is not None or not covered(row, column, cell, crowds)):
                terms["background"] += 0.5 * sure[row, column, b] ** 2 / 2
    return terms


def check(model, oracle, scale, training=False):
    """The terms of a batch against the mean of a function of each picture's maps and objects."""
    size = scenes.size(model)
    images, objects = scenes.batch(*PICTURES, size=size)
    rng = np.random.default_rng(3)
    maps = [rng.normal(0, scale, one.shape) for one in model.network(images)["maps"]]
    found = model.loss_terms({"maps": [tf.constant(one, tf.float32) for one in maps]}, objects, images, training)
    wanted = dict.fromkeys(model.terms, 0.0)
    numbers = {name: np.asarray(value) for name, value in objects.items()}
    for i in range(len(PICTURES)):
        for name, value in oracle([one[i] for one in maps], *listed(numbers, i, size[0])).items():
            wanted[name] += value / len(PICTURES)
    assert all(value > 0 for value in wanted.values())
    for name, value in wanted.items():
        assert float(found[name]) == pytest.approx(value, rel=2e-4), name


@pytest.fixture(scope="module")
def third():
    keras.utils.set_random_seed(0)
    return YOLOv3(**{**YOLOv3.tiny(), "ignore": 0.5})


def test_yolov3s_loss_in_numpy(third):
    arguments = YOLOv3.tiny()
    anchors, masks = arguments["anchors"], arguments["masks"]
    check(third, lambda maps, real, crowds: expected_v3(maps, real, crowds, anchors, masks, SIDE, 0.5), 0.7)


@pytest.mark.parametrize("early", [True, False])
def test_yolov2s_loss_in_numpy(early):
    """While fewer than 12,800 images were seen, in training, predictions without an object are drawn to the anchors."""
    model = YOLOv2(**YOLOv2.tiny(), seen=0 if early else EARLY - len(PICTURES))
    anchors, seen = np.multiply(YOLOv2.tiny()["anchors"], 32), EARLY - 1 if early else EARLY
    oracle = lambda maps, real, crowds: expected_v2(maps[0], real, crowds, anchors, SIDE, seen)  # noqa: E731
    check(model, oracle, 0.5, training=True)


def test_yolov1s_loss_in_numpy():
    model = YOLOv1(**YOLOv1.tiny())
    size = scenes.size(model)[0]
    check(
        model,
        lambda maps, real, crowds: expected_v1(maps[0].ravel(), real, crowds, size // 64, 2, 2, size),
        0.6,
    )


def test_right_answers_are_detected(third):
    """Maps that say what the targets are: a loss near 0, and the objects back."""
    boxes = [(12, 20, 60, 70, 0), (50, 8, 90, 40, 1)]
    images, objects = scenes.batch(boxes)
    arguments, maps = YOLOv3.tiny(), []
    for raw, mask in zip(third.network(images)["maps"], arguments["masks"], strict=True):
        count = raw.shape[1]
        said = np.zeros([count, count, len(mask), 7])
        said[..., 4:] = -12
        for *box, kind in boxes:
            best = int(np.argmax([shape_overlap(box, anchor) for anchor in arguments["anchors"]]))
            if best in mask:
                row, column, x, y = cell_of(box, SIDE / count, count)
                sides = (
                    (box[2] - box[0]) / arguments["anchors"][best][0],
                    (box[3] - box[1]) / arguments["anchors"][best][1],
                )
                own = said[row, column, mask.index(best)]
                own[:4] = np.log(x / (1 - x)), np.log(y / (1 - y)), *np.log(sides)
                own[4], own[5 + kind] = 12, 12
        maps.append(tf.constant(said.reshape(1, count, count, -1), tf.float32))
    found = third.detections({"maps": maps}, images)
    assert int(found["counts"][0]) == len(boxes)
    for box, kind in zip(found["boxes"][0].numpy(), found["classes"][0].numpy(), strict=True):
        if kind >= 0:
            np.testing.assert_allclose(box, next(one[:4] for one in boxes if one[4] == kind), atol=1e-2)
    terms = {name: float(value) for name, value in third.loss_terms({"maps": maps}, objects, images).items()}
    assert terms["objectness"] + terms["background"] + terms["class"] < 0.01


def test_anchors_lie_on_their_objects(third):
    """`match` is what the loss learns; the overlap is that of the shapes alone."""
    images, objects = scenes.batch([(12, 20, 60, 70, 0), (50, 8, 90, 40, 1)])
    grid, match = third.match(objects, images)
    chosen = np.flatnonzero(match.positive[0])
    assert sorted(match.classes.numpy()[0, chosen]) == [0, 1]
    for place in chosen:
        box = objects["boxes"][0][int(match.indices[0, place])].numpy()
        best = max(shape_overlap(box, anchor) for anchor in YOLOv3.tiny()["anchors"])
        assert overlap(grid[0, place].numpy(), box) == pytest.approx(best, rel=1e-4)


def test_fitted_anchors_suit_the_objects(third):
    boxes = np.float32([[0, 0, w, w * 3] for w in range(4, 28)] * 4)
    found = third.fitted(boxes, np.full([len(boxes), 2], SIDE))["anchors"]
    assert len(found) == 4 and all(height == pytest.approx(3 * width, abs=0.02) for width, height in found)
    assert third.fitted(np.float32([[0, 0, 16, 16]] * 9), np.full([9, 2], SIDE)) is None
    second = YOLOv2(**YOLOv2.tiny())
    cells = second.fitted(boxes, np.full([len(boxes), 2], SIDE))["anchors"]
    assert np.max(cells) < 84 / 32


def test_images_seen_are_saved():
    """A step of two images, in the configuration and so in every file; a resumed run counts on by its steps."""
    model = YOLOv2(**YOLOv2.tiny(), seen=5)
    images, objects = scenes.batch([(12, 20, 60, 70, 0)], [])
    model.compile(keras.optimizers.SGD(1e-4))
    model.fit(tf.data.Dataset.from_tensors((images, objects)).repeat(3), verbose=0)
    assert model.images_seen() == model.get_config()["seen"] == 11
    model.compile(keras.optimizers.SGD(1e-4))
    assert model.images_seen() == 11
    model.fit(tf.data.Dataset.from_tensors((images, objects)), verbose=0)
    assert type(model).from_config(model.get_config()).seen_before == 13


def test_switching_sizes_traces_once(third):
    """A hundred switches of size, as training at several sizes makes them."""
    traces = []

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.float32)], autograph=False)
    def network(pixels):
        traces.append(1)
        size = tf.cast(tf.shape(pixels)[1:3], tf.float32)
        windows = tf.stack([[0.0, 0.0, size[1], size[0]]])
        return third.network({"pixels": pixels, "windows": windows})["maps"]

    for i in range(100):
        side = 32 * (1 + i % 10)
        assert network(tf.zeros([1, side, side, 3]))[0].shape[1] == side // 32
    assert len(traces) == 1


def test_other_classes_keep_what_they_share(third):
    """By name, also of an imported cfg, whose heads get as many classes."""
    from kerasdet.weights import copy

    for source in (third, Darknet(**Darknet.tiny())):
        model = copy.for_classes(source, ["disc", "star", "moon"])
        old, new = (one.head.blocks[-2].kernel.numpy() for one in (source, model))
        old, new = (one.reshape(*one.shape[:-1], -1, outputs) for one, outputs in ((old, 7), (new, 8)))
        np.testing.assert_array_equal(new[..., :5], old[..., :5])
        np.testing.assert_array_equal(new[..., 5], old[..., 6])


def test_bad_arguments_are_one_line():
    for kind, change, words in (
        (YOLOv1, {"network": "wide"}, "network must be 'full' or 'fast'"),
        (YOLOv1, {"resize": ("darknet_stretch", 448, 320)}, "squares whose side is a multiple of 64"),
        (YOLOv2, {"backbone": "darknet53"}, "backbone must be 'darknet19' or 'darknet_tiny'"),
        (YOLOv2, {"reorg": "torch"}, "reorg must be one of"),
        (YOLOv3, {"backbone": "darknet19"}, "backbone must be 'darknet53' or 'darknet_tiny'"),
        (Darknet, {"cfg": "[net]\nheight=64\nwidth=64\n[maxpool]\n"}, "the cfg has no head"),
        (Darknet, {"cfg": "[net]\n"}, "no cfg of darknet"),
    ):
        with pytest.raises(ValueError, match=words):
            kind(**{**kind.tiny(), **change})
