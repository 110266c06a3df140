"""The pre-flight on generated pictures: figures beside plain NumPy, and every fault provoked and named."""

import dataclasses
import types

import keras
import numpy as np
import pytest

from kerasdet.data import Dataset, shapes
from kerasdet.detectors import FasterRCNN, FastRCNN, RetinaNet
from kerasdet.training import preflight as flight
from kerasdet.training import probe, reach

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


def test_anchors_that_miss_are_a_fault_with_the_line_to_paste(train):
    large = RetinaNet(**{**ARGUMENTS, "scale": 8 * ARGUMENTS["scale"]})
    (fault,) = flight.preflight(large, train).faults
    assert fault.startswith("anchors miss the objects, ")
    pasted = eval("{" + fault.partition("model: ")[2].partition("  (")[0] + "}")
    assert set(pasted) == set(ANCHORS)
    stated = float(fault.rpartition("-> ")[2].rstrip(")"))
    better = RetinaNet(**{**ARGUMENTS, **pasted})
    reached = np.mean(reach.overlaps(better, reach.targets(better, train)) >= better.positive_iou)
    assert reached == pytest.approx(stated, abs=1e-3) and reached > 0.9


def test_a_proposal_network_is_judged_by_its_own_threshold(train):
    """Not by that of the second stage, 0.5; but anchors that reach few by 0.7 and most by 0.5 are no fault."""
    model = FasterRCNN(**{**FasterRCNN.tiny(), "classes": list(shapes.CLASSES)})
    best = reach.overlaps(model, reach.targets(model, train))
    strict, fair = np.mean(best >= 0.7), np.mean(best >= 0.5)
    assert strict < fair - 0.1
    report = flight.preflight(model, train)
    line = next(line for line in report.lines if "an anchor reaches" in line)
    assert line == f"an anchor reaches {strict:.3f} of {len(best)} objects (IoU of 0.7 or more)"
    assert report.faults == []
    assert any(line.startswith('  to reach more, put into the config\'s model: "sizes": ') for line in report.lines)


def test_detectors_without_anchors_are_not_judged_by_them(train):
    model = FastRCNN(**{**FastRCNN.tiny(), "classes": list(shapes.CLASSES)})
    proposals = [dataclasses.replace(r, proposals=np.float32([[0, 0, r.width, r.height]])) for r in train.records]
    report = flight.preflight(model, dataclasses.replace(train, records=proposals))
    assert report.faults == [] and not any("anchor" in line for line in report.lines)
    assert any("square root of area" in line for line in report.lines)


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


def blamed(model, few, monkeypatch):
    """What the probe blames where a model's loss fell but its AP did not rise."""
    monkeypatch.setattr(probe, "diagnose", lambda *_: "why")
    evaluator = types.SimpleNamespace(model=model, truth=None, results=None)
    return probe._data_or_anchors(types.SimpleNamespace(evaluator=evaluator), few, [])


def test_the_probe_blames_anchors_by_the_detector_s_own_match(train, monkeypatch):
    tiny = {**FasterRCNN.tiny(), "classes": list(shapes.CLASSES)}
    large = FasterRCNN(**{**tiny, "sizes": ((256,), (512,), (1024,), (2048,))})
    blame, line = blamed(large, train, monkeypatch)
    assert blame == "anchors" and 'put into the config\'s model: "sizes": ' in line and "larger pictures" not in line
    fitting = FasterRCNN(**{**tiny, "sizes": ((16, 24), (32, 48), (64, 96), (128, 192)), "ratios": (0.5, 1.0, 2.0)})
    assert blamed(fitting, train, monkeypatch) == ("data", "why")
    bare = FastRCNN(**{**FastRCNN.tiny(), "classes": list(shapes.CLASSES)})
    bare.needs_proposals = False
    assert blamed(bare, train, monkeypatch) == ("data", "why")


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
