"""The pre-flight on generated pictures: figures beside plain NumPy, and every fault provoked and named."""

import dataclasses

import keras
import numpy as np
import pytest

from kerasdet.data import Dataset, shapes
from kerasdet.detectors import SSD, RetinaNet
from kerasdet.training import preflight as flight
from kerasdet.training import probe

ARGUMENTS = {**RetinaNet.tiny(), "classes": list(shapes.CLASSES), "levels": (3, 6), "scale": 3.0}
ANCHORS = ("levels", "octaves", "ratios", "scale")


@pytest.fixture(scope="module")
def train():
    return Dataset("some shapes", shapes.CLASSES, [shapes.picture("train", i) for i in range(12)])


@pytest.fixture(scope="module")
def model():
    return RetinaNet(**ARGUMENTS)


def changed(dataset, change):
    """A copy whose stated and kept boxes are changed, corner by corner."""
    boxes = [np.float32(np.stack(change(*record.boxes.T), 1)) for record in dataset.records]
    records = [dataclasses.replace(r, boxes=b, stated=b) for r, b in zip(dataset.records, boxes, strict=True)]
    return dataclasses.replace(dataset, records=records)


@pytest.mark.parametrize(("needs", "words"), [("needs_masks", "learns masks"), ("num_keypoints", "1 keypoints, but")])
def test_data_without_what_the_model_needs_is_hopeless(train, needs, words):
    model = RetinaNet(**ARGUMENTS)
    setattr(model, needs, 1)
    bare = dataclasses.replace(train, records=[dataclasses.replace(r, segments=None) for r in train.records])
    report = flight.preflight(model, bare)
    with pytest.raises(ValueError, match=f"nothing can be learned: .*{words}"):
        report.check()


def test_nothing_wrong_is_found_where_nothing_is(model, train):
    val = Dataset("others", shapes.CLASSES, [shapes.picture("val", i) for i in range(4)])
    report = flight.preflight(model, train, val)
    assert report.faults == [] and not report.hopeless
    report.check()
    counts = np.bincount(np.concatenate([record.classes for record in train.records]))
    line = next(line for line in report.lines if line.startswith("classes: "))
    assert all(f"{name} {count}" in line for name, count in zip(shapes.CLASSES, counts, strict=True))
    assert "none of 4 validation pictures is in the training set" in report.lines
    assert str(report).endswith("no fault found")


def test_reach_is_the_best_overlap_of_all_anchors(model, train):
    seen = flight.targets(model, train)
    assert sum(len(boxes) for boxes, _ in seen) == sum(len(record.boxes) for record in train.records)
    best = []
    for boxes, size in seen:
        grid = model.anchors(size).numpy().astype(np.float64)
        for x1, y1, x2, y2 in boxes.astype(np.float64):
            sides = np.minimum(grid[:, 2:], [x2, y2]) - np.maximum(grid[:, :2], [x1, y1])
            shared = np.maximum(sides, 0).prod(1)
            best.append(np.max(shared / ((x2 - x1) * (y2 - y1) + np.prod(grid[:, 2:] - grid[:, :2], 1) - shared)))
    np.testing.assert_allclose(flight.reach(model, seen), best, atol=1e-5)
    line = next(line for line in flight.preflight(model, train).lines if "an anchor reaches" in line)
    assert line.startswith(f"an anchor reaches {np.mean(np.array(best) >= 0.5):.3f} of {len(best)} objects")


def test_anchors_that_miss_are_a_fault_with_the_line_to_paste(train):
    large = RetinaNet(**{**ARGUMENTS, "scale": 8 * ARGUMENTS["scale"]})
    (fault,) = flight.preflight(large, train).faults
    assert fault.startswith("anchors miss the objects, they reach ")
    pasted = eval("{" + fault.partition("model: ")[2].partition("  (")[0] + "}")
    assert set(pasted) == set(ANCHORS)
    stated = float(fault.rpartition("-> ")[2].rstrip(")"))
    better = RetinaNet(**{**ARGUMENTS, **pasted})
    reached = np.mean(flight.reach(better, flight.targets(better, train)) >= better.positive)
    assert reached == pytest.approx(stated, abs=1e-3) and reached > 0.9


def test_default_boxes_are_advised_by_parts_of_the_picture(train):
    """Larger pictures would change nothing: the boxes grow with them."""
    model = SSD(**{**SSD.tiny(), "classes": list(shapes.CLASSES), "scales": (0.7, 0.8, 0.9, 1.0)})
    small = changed(train, lambda x1, y1, x2, y2: (x1, y1, x1 + 12, y1 + 6))
    side = np.float32([[record.width, record.height] for record in small.records])
    part = np.sqrt(12 * 6 / side.prod(1))
    assert np.ptp(part) == 0
    (fault,) = flight.preflight(model, small).faults
    assert f"let the scales (0.7, 0.8, 0.9, 1) begin at the objects' own: {part[0]:.3f}, " in fault


def test_a_wrong_box_format_stops(model, train):
    report = flight.preflight(model, changed(train, lambda a, b, c, d: (a / 256, b / 256, c / 256, d / 256)))
    assert report.hopeless and "the boxes look relative" in report.faults[0]
    with pytest.raises(ValueError, match="nothing can be learned: some shapes: the boxes look relative") as error:
        report.check()
    assert "\n" not in str(error.value)
    report = flight.preflight(model, changed(train, lambda a, b, c, d: (a, b, c - a, d - b)))
    assert report.hopeless and "look like x, y, width, height" in report.faults[0]


def test_class_ids_off_by_one(model, train):
    off = [dataclasses.replace(record, classes=record.classes + 1) for record in train.records]
    report = flight.preflight(model, dataclasses.replace(train, records=off))
    assert report.hopeless and "class ids outside of 0...5, first 6: ids are off by one" in report.faults[0]


def test_objects_smaller_than_a_cell(model, train):
    report = flight.preflight(model, changed(train, lambda a, b, c, d: (a, b, a + 5, b + 5)))
    assert "100% of the objects are smaller than a cell of the finest map, 8 network pixels" in report.faults[0]


def test_the_same_picture_in_both_sets(model, train, tmp_path):
    """By content: as pixels, and as files of different names."""
    twin = dataclasses.replace(train, name="val", records=train.records[3:5] + [shapes.picture("val", 0)])
    (fault,) = flight.preflight(model, train, twin).faults
    assert fault.startswith("2 of 3 validation pictures are in the training set too, first image ")
    paths = []
    for name, index in (("a.png", 0), ("b.png", 1), ("copy.png", 0)):
        paths.append(str(tmp_path / name))
        keras.utils.save_img(paths[-1], train.records[index].image, scale=False)
    files = [dataclasses.replace(train.records[i], image=path) for i, path in zip((0, 1, 0), paths, strict=True)]
    parts = [dataclasses.replace(train, records=part) for part in (files[:2], files[2:])]
    fault = next(fault for fault in flight.preflight(model, *parts).faults if "validation" in fault)
    assert fault.startswith("1 of 1") and f"{paths[2]} = {paths[0]}" in fault


def test_the_probe_needs_no_training_to_blame_such_data(train):
    verdict = probe.probe(None, changed(train, lambda a, b, c, d: (a / 256, b / 256, c / 256, d / 256)), 1e-3)
    assert verdict.blame == "data" and "look relative" in verdict.reason
    assert str(verdict).startswith("probe: the data is to blame: ")


def test_the_probe_takes_pictures_with_objects(train):
    bare = dataclasses.replace(
        train.records[0], **{k: getattr(train.records[0], k)[:0] for k in ("boxes", "classes", "crowds")}
    )
    few = probe.some_pictures(dataclasses.replace(train, records=[bare, *train.records[1:]]), 20)
    assert sorted(record.id for record in few.records) == [record.id for record in train.records[1:]]
    assert len(probe.some_pictures(train, 8)) == 8


def small():
    keras.utils.set_random_seed(0)
    return RetinaNet(
        **{**ARGUMENTS, "resize": ("stretch", 128, 128), "scale": 2.0, "box_loss": "giou", "head_norm": "group"}
    )


@pytest.mark.slow
@pytest.mark.parametrize("rate, blame", [(2e-3, None), (2.0, "learning rate"), (2e-6, "learning rate")])
def test_the_probe_blames_the_learning_rate(train, rate, blame):
    """pytest -m slow tests/training/test_preflight.py"""
    verdict = probe.probe(small, train, rate)
    assert verdict.blame == blame, verdict
    assert (verdict.ap50 > 0.9) == (blame is None)


@pytest.mark.slow
def test_the_probe_blames_the_data(train):
    """Boxes that have nothing to do with the pictures, each picture twice with other boxes."""
    half, keys = train.records[:4], ("boxes", "classes", "crowds", "areas")
    others = [
        dataclasses.replace(one, id=one.id + 50, **{key: getattr(other, key) for key in keys})
        for one, other in zip(half, train.records[4:8], strict=True)
    ]
    verdict = probe.probe(small, dataclasses.replace(train, records=half + others), 2e-3)
    assert verdict.blame == "data", verdict
