"""Reach beside plain NumPy, and which way the advice points: smaller or larger anchors, or larger pictures."""

import numpy as np
import pytest

from kerasdet.data import Dataset, shapes
from kerasdet.detectors import SSD, FasterRCNN, FastRCNN, MaskRCNN, RetinaNet
from kerasdet.training import reach

# Height and width of the network's pictures.
SIZE = (384, 512)
CAT = [[4, 4, 508, 380], [10, 2, 500, 380]]
# The anchors of configs/faster_rcnn/own_data.py.
SIZES = ((24, 34), (48, 68), (96, 136), (192, 272))
KINDS = {"RetinaNet": RetinaNet, "SSD": SSD, "FasterRCNN": FasterRCNN}
SMALL = {
    "RetinaNet": {"levels": (3, 5), "scale": 3.0},
    "SSD": {"scales": (0.15, 0.2, 0.3, 0.4)},
    "FasterRCNN": {"sizes": SIZES, "ratios": (0.5, 1.0, 2.0)},
}
LARGE = {
    "RetinaNet": {"levels": (3, 5), "scale": 20.0},
    "SSD": {"scales": (0.5, 0.6, 0.7, 0.8)},
    "FasterRCNN": {"sizes": ((192,), (256,), (320,), (384,)), "ratios": (0.5, 1.0, 2.0)},
}
SMALLEST = {
    "RetinaNet": lambda arguments: arguments["scale"],
    "SSD": lambda arguments: arguments["scales"][0],
    "FasterRCNN": lambda arguments: arguments["sizes"][0][0],
}


def build(name, arguments):
    return KINDS[name](**{**KINDS[name].tiny(), **arguments[name]})


@pytest.fixture(scope="module")
def models():
    """With anchors for objects of 24 to 150 pixels."""
    return {name: build(name, SMALL) for name in KINDS}


def pictures(*objects, size=SIZE):
    """What `targets` returns, for pictures with the given boxes and a crowd over everything."""
    seen = []
    for i, boxes in enumerate(objects):
        boxes = np.float32([*boxes, (0, 0, size[1], size[0]), (0, 0, 0, 0)])
        classes = np.int32([[0] * (len(boxes) - 1) + [-1]])
        images = {"pixels": np.broadcast_to(np.float32(0), (1, *size, 3)), "ids": np.array([i])}
        images |= {"windows": np.float32([[0, 0, *size[::-1]]]), "frames": np.float32([[1, 1, 0, 0]])}
        crowds = np.array([[False] * (len(boxes) - 2) + [True, False]])
        seen.append((images, {"boxes": boxes[None], "classes": classes, "crowds": crowds}))
    return seen


def squares(low, high, count=40, seed=0):
    """Nearly square boxes of log-uniform sizes anywhere in a picture."""
    rng = np.random.default_rng(seed)
    sides = np.exp(rng.uniform(np.log(low), np.log(high), (count, 1))) * rng.uniform(0.95, 1.05, (count, 2))
    start = rng.uniform(0, 1, (count, 2)) * (np.array(SIZE[::-1]) - sides)
    return np.concatenate([start, start + sides], 1)


def slow_overlaps(boxes, anchors):
    best = []
    for x1, y1, x2, y2 in boxes.astype(np.float64):
        sides = np.minimum(anchors[:, 2:], [x2, y2]) - np.maximum(anchors[:, :2], [x1, y1])
        shared = np.maximum(sides, 0).prod(1)
        best.append(np.max(shared / ((x2 - x1) * (y2 - y1) + np.prod(anchors[:, 2:] - anchors[:, :2], 1) - shared)))
    return best


def reached(model, seen):
    return np.mean(reach.overlaps(model, seen) >= model.positive_iou)


def test_objects_of_a_data_set_as_the_network_gets_them():
    records = [shapes.picture("train", i) for i in range(6)]
    model = RetinaNet(**{**RetinaNet.tiny(), "classes": list(shapes.CLASSES)})
    seen = reach.targets(model, Dataset("some shapes", shapes.CLASSES, records))
    boxes, sizes = reach.real_objects(seen)
    assert len(boxes) == sum(len(record.boxes) for record in records)
    by_size = {tuple(images["pixels"].shape[1:3]) for images, _ in seen}
    assert set(map(tuple, sizes.tolist())) == by_size and all(side % 32 == 0 for size in by_size for side in size)
    best = np.concatenate(
        [
            slow_overlaps(objects["boxes"][0], model.anchors(images["pixels"].shape[1:3]).numpy().astype(float))
            for images, objects in seen
            if objects["boxes"].size
        ]
    )
    np.testing.assert_allclose(reach.overlaps(model, seen), best, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_overlaps_are_with_all_anchors_that_may_learn(models, name):
    seen = pictures(squares(8, 300, seed=1), squares(200, 380, seed=2))
    anchors = models[name].anchors(SIZE).numpy().astype(float)
    boxes, sizes = reach.real_objects(seen)
    assert len(boxes) == 80 and (sizes == SIZE).all()
    np.testing.assert_allclose(reach.overlaps(models[name], seen), slow_overlaps(boxes, anchors), atol=1e-5)


def test_anchors_that_cross_the_border_do_not_count_where_they_do_not_learn():
    model = FasterRCNN(**{**FasterRCNN.tiny(), "crossing": False})
    seen = pictures([(0, 0, 50, 50), (100, 100, 140, 140)])
    anchors = model.anchors(SIZE).numpy().astype(float)
    within = anchors[((anchors[:, :2] >= 0) & (anchors[:, 2:] <= SIZE[::-1])).all(1)]
    boxes, _ = reach.real_objects(seen)
    best = slow_overlaps(boxes, within)
    assert best[0] < slow_overlaps(boxes, anchors)[0] - 0.1
    np.testing.assert_allclose(reach.overlaps(model, seen), best, atol=1e-5)


def test_thresholds_are_those_of_the_match(models):
    assert models["FasterRCNN"].positive_iou == 0.7 and models["FasterRCNN"].positive == 0.5
    assert models["RetinaNet"].positive_iou == models["SSD"].positive_iou == 0.5
    # 0.64 with the anchor of side 32 in the middle of a cell of stride 16.
    model = FasterRCNN(**FasterRCNN.tiny())
    best = reach.overlaps(model, pictures([(84, 84, 124, 124)]))
    np.testing.assert_allclose(best, 0.64, atol=1e-5)
    assert not (best >= model.positive_iou).any()
    fair, least = reach.fair_start(model, best)
    assert fair.all() and least == 0.5


@pytest.mark.parametrize("name", KINDS)
def test_the_finest_cell_is_that_of_the_first_map(models, name):
    assert reach.finest_cell(models[name], SIZE) == 8
    assert reach.finest_cell(models[name], (96, 60)) == pytest.approx(8)  # 12 rows and 8 columns


def test_the_finest_cell_of_a_single_map():
    model = FasterRCNN(**{**FasterRCNN.tiny(), "levels": (4, 4), "sizes": ((64, 128),)})
    assert reach.finest_cell(model, SIZE) == 16


@pytest.mark.parametrize("name", KINDS)
def test_objects_smaller_than_a_cell_need_larger_pictures(models, name):
    seen = pictures(squares(2, 5))
    line = reach.advice(models[name], seen, reach.overlaps(models[name], seen))
    assert "give the network larger pictures than resize=('keep',), or tiles: 9" in line
    assert "cells of 8 network pixels" in line


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("low, high, hand", [(40, 60, LARGE), (270, 375, SMALL)])
def test_objects_of_another_size_need_other_anchors_and_no_larger_pictures(models, name, low, high, hand):
    """The line holds arguments that are ready for the model, and what it promises is reached."""
    model = models[name] if hand is SMALL else build(name, hand)
    seen = pictures(squares(low, high, seed=3), squares(low, high, seed=4))
    best = reach.overlaps(model, seen)
    before = np.mean(best >= model.positive_iou)
    assert before < 0.65
    line = reach.advice(model, seen, best)
    better = model.fitted(*reach.real_objects(seen))
    assert "larger pictures" not in line
    assert eval("{" + line.partition("model: ")[2].partition("  (")[0] + "}") == better
    change = SMALLEST[name](better) - SMALLEST[name](hand[name])
    assert change < 0 if hand is LARGE else change > 0
    twin = KINDS[name](**{**model.arguments, **better})
    after = reached(twin, seen)
    assert line.endswith(f"(reached {before:.3f} -> {after:.3f})") and after > max(0.8, before + 0.1)
    assert twin.fitted(*reach.real_objects(seen)) is None


def test_photos_full_of_one_cat_get_larger_anchors(models):
    """The anchors of configs/faster_rcnn/own_data.py end at 272 pixels."""
    seen = pictures(CAT[:1], CAT[1:])
    model = models["FasterRCNN"]
    line = reach.advice(model, seen, reach.overlaps(model, seen))
    assert line.startswith('put into the config\'s model: "sizes": ') and "larger pictures" not in line
    assert line.endswith("(reached 0.000 -> 1.000)")
    assert max(model.fitted(*reach.real_objects(seen))["sizes"][-1]) > 350


def test_subclasses_are_fitted_too():
    model = MaskRCNN(**MaskRCNN.tiny())
    assert set(model.fitted(np.float32(CAT), np.array([SIZE] * 2))) == {"sizes", "ratios"}


@pytest.mark.parametrize("name", KINDS)
def test_without_objects(models, name):
    boxes, sizes = reach.real_objects(pictures([]))
    assert models[name].fitted(boxes, sizes) is None
    assert reach.overlaps(models[name], pictures([])).shape == (0,)


def test_detectors_without_anchors():
    model = FastRCNN(**FastRCNN.tiny())
    assert model.anchors is None and model.positive_iou is None
    assert reach.overlaps(model, pictures(CAT)) is None
    assert model.fitted(np.float32(CAT), np.array([SIZE] * 2)) is None
