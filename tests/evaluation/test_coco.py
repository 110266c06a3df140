"""COCO scores on hand-made data, and the input of pycocotools."""

import copy
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kerasdet.data import segments
from kerasdet.data.dataset import Dataset, Record
from kerasdet.decoding.paste import paste
from kerasdet.evaluation import coco, curves

ONE = pytest.approx(1, abs=1e-12)


def record(number, boxes, classes, crowds=None, **more):
    boxes = np.reshape(boxes, (-1, 4)).astype(np.float32)
    return Record(
        id=number,
        image=f"{number}.jpg",
        height=200,
        width=300,
        boxes=boxes,
        classes=np.array(classes, np.int32),
        crowds=np.zeros(len(boxes), bool) if crowds is None else np.array(crowds, bool),
        areas=np.prod(boxes[:, 2:] - boxes[:, :2], axis=1),
        **more,
    )


EGGS = Dataset(
    "eggs",
    ("egg", "crack"),
    [
        record(7, [[10, 10, 30, 30], [50, 20, 110, 80]], [0, 1]),
        record(0, [[100.5, 40.25, 260, 180], [5, 150, 45, 190]], [0, 0]),
        record(3, [], []),
    ],
    category_ids=(4, 90),
)


def detections(records, shift=0.0):
    """A padded batch that repeats the ground truth, moved to the right."""
    depth = 1 + max(len(one.boxes) for one in records)
    batch = {
        "boxes": np.zeros((len(records), depth, 4), np.float32),
        "scores": np.zeros((len(records), depth), np.float32),
        "classes": np.full((len(records), depth), -1, np.int32),
        "counts": np.array([len(one.boxes) for one in records], np.int32),
    }
    for row, one in enumerate(records):
        count = len(one.boxes)
        batch["boxes"][row, :count] = one.boxes + np.array([shift, 0, shift, 0], np.float32)
        batch["scores"][row, :count] = np.linspace(0.9, 0.3, count)
        batch["classes"][row, :count] = one.classes
    return batch


def listed(dataset, shift=0.0):
    return coco.results([one.id for one in dataset.records], detections(dataset.records, shift), dataset)


def score(dataset, shift=0.0):
    return coco.score(coco.ground_truth(dataset), listed(dataset, shift))


def test_ground_truth_holds_the_records():
    truth = coco.ground_truth(EGGS)
    assert sorted(truth.imgs) == [0, 3, 7] and sorted(truth.anns) == [1, 2, 3, 4]
    assert {number: one["name"] for number, one in truth.cats.items()} == {4: "egg", 90: "crack"}
    assert truth.anns[2]["bbox"] == [50, 20, 60, 60] and truth.anns[2]["category_id"] == 90
    assert truth.anns[3]["bbox"] == [100.5, 40.25, 159.5, 139.75] and truth.anns[3]["image_id"] == 0


def test_results_are_those_of_a_result_file():
    first = listed(EGGS)[0]
    assert first == {"image_id": 7, "category_id": 4, "score": float(np.float32(0.9)), "bbox": [10, 10, 20, 20]}
    assert len(listed(EGGS)) == 4
    assert json.loads(json.dumps(listed(EGGS))) == listed(EGGS)


def test_an_image_that_only_fills_the_batch_is_skipped():
    batch = detections(EGGS.records)
    assert {one["image_id"] for one in coco.results(np.array([-1, 0, 3]), batch, EGGS)} == {0}


def test_perfect_detections_score_1():
    numbers = score(EGGS)
    for key in ("AP", "AP50", "AP75", "AP90", "APs", "APm", "APl", "AR100"):
        assert numbers[key] == ONE
    assert numbers["AR1"] == pytest.approx((2 / 3 + 1) / 2)
    assert numbers["per_class"] == {"egg": ONE, "crack": ONE} == numbers["per_class_AP50"]


def test_shifted_detections_score_less():
    """A shift of 12 keeps IoU 108 / 132 = 0.82 and 48 / 72 = 0.67 of boxes 120 and 60 wide, one of 5 more than 0.9."""
    wide = Dataset("wide", ("egg", "crack"), [record(1, [[0, 0, 120, 60], [0, 100, 60, 160]], [0, 1])])
    numbers = score(wide, shift=12)
    assert numbers["per_class"]["egg"] == pytest.approx(0.7)
    assert numbers["per_class"]["crack"] == pytest.approx(0.4)
    assert numbers["AP"] == pytest.approx(0.55) and numbers["AP75"] == pytest.approx(0.5) and numbers["AP90"] == 0
    less = score(wide, shift=5)  # 115 / 125 = 0.92 and 55 / 65 = 0.85
    assert less["AP90"] == pytest.approx(0.5) and less["AP75"] == ONE


def test_a_missed_object_of_two_halves_the_recall():
    without = [one for one in listed(EGGS) if one["bbox"][0] != 5]
    numbers = coco.score(coco.ground_truth(EGGS), without)
    assert numbers["per_class"]["crack"] == ONE
    assert numbers["per_class"]["egg"] == pytest.approx(67 / 101)


def test_crowds_are_neither_missed_nor_wrong():
    crowd = [[100, 0, 300, 200]]
    objects = record(1, [[10, 10, 60, 60], *crowd], [0, 0], crowds=[False, True])
    dataset = Dataset("crowded", ("egg",), [objects])
    inside = {"image_id": 1, "category_id": 1, "score": 0.99, "bbox": [150, 50, 30, 30]}
    outside = {**inside, "bbox": [10, 120, 30, 30]}
    truth, own = coco.ground_truth(dataset), listed(dataset)[:1]
    assert coco.score(truth, own)["AP"] == ONE
    assert coco.score(truth, [inside, *own])["AP"] == ONE
    assert coco.score(truth, [outside, *own])["AP"] == pytest.approx(0.5)


def test_the_result_file_gives_the_same_numbers_in_bare_pycocotools(tmp_path):
    """Truth and results go through files; scores agree to the last bit."""
    rng = np.random.default_rng(0)
    records = []
    for number in range(12):
        corners = rng.uniform(0, 150, (6, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(8, 140, (6, 2))], axis=1)
        records.append(record(number, boxes, rng.integers(0, 2, 6), rng.uniform(size=6) < 0.2))
    dataset = Dataset("random", ("egg", "crack"), records)
    batch = detections(records)
    batch["boxes"] += rng.normal(0, 4, batch["boxes"].shape).astype(np.float32)
    batch["scores"] = rng.uniform(size=batch["scores"].shape).astype(np.float32)
    results = coco.results(range(12), batch, dataset)
    truth = coco.ground_truth(dataset)
    (tmp_path / "truth.json").write_text(json.dumps(truth.dataset))
    (tmp_path / "results.json").write_text(json.dumps(results))
    numbers = coco.score(truth, results)

    bare = COCO(tmp_path / "truth.json")
    run = COCOeval(bare, bare.loadRes(str(tmp_path / "results.json")), "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    assert [numbers[key] for key in coco.NUMBERS["bbox"]] == list(run.stats)
    assert 0.1 < numbers["AP"] < 0.9


def test_scoring_is_silent_and_leaves_the_results_alone(capsys):
    results = listed(EGGS)
    before = copy.deepcopy(results)
    coco.score(coco.ground_truth(EGGS), results)
    assert results == before
    assert capsys.readouterr().out == ""


def test_no_results_score_0():
    numbers = coco.score(coco.ground_truth(EGGS), [])
    assert numbers["AP"] == numbers["AR100"] == 0
    assert numbers["per_class"] == {"egg": 0, "crack": 0}


def test_nothing_to_find_is_minus_1():
    numbers = coco.score(coco.ground_truth(EGGS), listed(EGGS), image_ids=[0])
    assert numbers["per_class"] == {"egg": ONE, "crack": -1}
    assert numbers["APs"] == -1 and numbers["AP"] == ONE


def test_curves():
    run = coco.evaluate(coco.ground_truth(EGGS), [one for one in listed(EGGS) if one["bbox"][0] != 5], image_ids=[0])
    assert list(curves.precision(run)) == ["egg"]
    np.testing.assert_allclose(curves.precision(run)["egg"], np.arange(101) <= 50, atol=1e-12)


def test_masks_are_scored_separately():
    """Boxes agree, but half of the second mask is wrong."""
    grids = np.zeros((2, 200, 300), np.uint8)
    grids[0, 10:60, 10:60] = 1
    grids[1, 100:150, 100:180] = 1
    boxes = [[10, 10, 60, 60], [100, 100, 180, 150]]
    polygons = [[[x1, y1, x2, y1, x2, y2, x1, y2]] for x1, y1, x2, y2 in boxes]
    dataset = Dataset("masks", ("egg",), [record(1, boxes, [0, 0], segments=polygons)])
    truth, batch = coco.ground_truth(dataset), detections(dataset.records)

    def numbers(grids):
        codes = [segments.encode(grid) for grid in grids]
        results = coco.results([1], {**batch, "segments": [codes]}, dataset)
        return coco.score(truth, json.loads(json.dumps(results)), kind="segm")

    assert numbers(grids)["AP"] == ONE
    grids[1, :, 140:] = 0
    assert numbers(grids)["AP50"] == ONE and numbers(grids)["AP75"] == pytest.approx(51 / 101)
    assert coco.score(truth, listed(dataset))["AP"] == ONE


def pose(points):
    names = [f"point {index}" for index in range(points)]
    where = np.random.default_rng(1).uniform(20, 140, (1, points, 3)).astype(np.float32)
    where[..., 2] = 2
    return Dataset("pose", ("egg",), [record(1, [[10, 10, 150, 150]], [0], keypoints=where)], keypoints=names)


@pytest.mark.parametrize(("points", "sigmas"), [(17, None), (4, [0.05] * 4)])
def test_keypoints(points, sigmas):
    dataset = pose(points)
    batch = detections(dataset.records)
    batch["keypoints"] = np.zeros((1, 2, points, 3), np.float32)
    batch["keypoints"][:, :1] = dataset.records[0].keypoints
    truth = coco.ground_truth(dataset)
    results = coco.results([1], batch, dataset)
    assert coco.score(truth, results, "keypoints", sigmas=sigmas)["AP"] == ONE
    batch["keypoints"][..., 0] += 100
    moved = coco.results([1], batch, dataset)
    assert coco.score(truth, moved, "keypoints", sigmas=sigmas)["AP"] < 0.5


def test_keypoints_need_their_sigmas():
    with pytest.raises(ValueError, match="4 keypoints, but there are 17 sigmas"):
        coco.score(coco.ground_truth(pose(4)), [], "keypoints")


@pytest.mark.parametrize(("key", "what"), [("image_id", "image 99"), ("category_id", "category 99")])
def test_results_of_another_data_set_are_refused(key, what):
    stranger = {**listed(EGGS)[0], key: 99}
    with pytest.raises(ValueError, match=f"name {what}, which is not in the ground truth"):
        coco.score(coco.ground_truth(EGGS), [stranger])


def test_masks_that_the_ground_truth_lacks_are_named():
    with pytest.raises(ValueError, match="Annotation 1 has no 'segmentation'"):
        coco.score(coco.ground_truth(EGGS), [], "segm")


def crowd_of(count):
    """One image with so many objects in rows, and each found exactly."""
    corners = [[x, y] for y in range(0, 196, 10) for x in range(0, 296, 10)][:count]
    one = record(1, [[x, y, x + 8, y + 8] for x, y in corners], [0] * count)
    return Dataset("many", ("egg",), [one])


def test_more_detections_than_a_hundred_are_scored_by_name():
    """Of 150 objects a hundred detections find two thirds; at 300 all are found, and the numbers say at how many."""
    dataset = crowd_of(150)
    truth, results = coco.ground_truth(dataset), listed(dataset)
    numbers = coco.score(truth, results, max_dets=(1, 100, 300))
    assert numbers["AP"] == numbers["AP50"] == numbers["per_class"]["egg"] == pytest.approx(67 / 101)
    assert numbers["AP@300"] == numbers["AP50@300"] == numbers["per_class_AP50@300"]["egg"] == ONE
    assert numbers["AR1"] == pytest.approx(1 / 150) and numbers["AR100"] == pytest.approx(2 / 3)
    assert numbers["AR300"] == ONE and "AR10" not in numbers and "AR100@300" not in numbers
    assert not any("@" in name for name in coco.score(truth, results))
    words = coco.line(coco.evaluate(truth, results, max_dets=(1, 100, 300)))
    assert words == "AP 0.663  AP50 0.663  AP75 0.663  AP@300 1.000  AP50@300 1.000  AP75@300 1.000"


def test_bare_pycocotools_gives_the_same_at_three_hundred():
    """Its summary reads AP at 100 whatever it is told, and all others at the last number."""
    dataset = crowd_of(150)
    truth, results = coco.ground_truth(dataset), listed(dataset, shift=1)
    run = COCOeval(truth, truth.loadRes(coco.only(results, "bbox")), "bbox")
    run.params.maxDets = [1, 100, 300]
    run.evaluate()
    run.accumulate()
    run.summarize()
    numbers = coco.score(truth, results, max_dets=(1, 100, 300))
    others = ("AP50@300", "AP75@300", "APs@300", "APm@300", "APl@300", "AR1", "AR100", "AR300")
    assert [numbers[name] for name in ("AP", *others)] == list(run.stats[:9])
    assert [numbers[f"AR{size}@300"] for size in "sml"] == list(run.stats[9:])
    assert 0 < numbers["AP"] < numbers["AP@300"] < 1


@pytest.mark.parametrize("max_dets", [(1, 10), (100, 10), (1, 100, 100), (0, 100), (1.0, 100), ()])
def test_invalid_max_dets_are_refused(max_dets):
    with pytest.raises(ValueError, match="max_dets must be increasing positive integers that include 100"):
        coco.score(coco.ground_truth(EGGS), listed(EGGS), max_dets=max_dets)


def test_pasted_masks_are_those_of_the_picture():
    rng = np.random.default_rng(0)
    boxes = np.float32([[3, 5, 40, 30], [-9, -4, 20, 11], [30, 20, 90, 70], [5, 5, 5, 5]])
    masks = rng.uniform(size=(4, 28, 28)).astype(np.float32)
    codes = coco.pasted(masks, boxes, 50, 60)
    np.testing.assert_array_equal([segments.decode(code, 50, 60) for code in codes], paste(masks, boxes, 50, 60))
    assert coco.pasted(masks[:0], boxes[:0], 50, 60) == []


def test_one_sigma_stands_for_all():
    dataset = pose(4)
    batch = detections(dataset.records)
    batch["keypoints"] = np.zeros((1, 2, 4, 3), np.float32)
    batch["keypoints"][:, :1] = dataset.records[0].keypoints + [6, 0, 0]
    truth, results = coco.ground_truth(dataset), coco.results([1], batch, dataset)
    one, each = (coco.score(truth, results, "keypoints", sigmas=s) for s in (0.05, [0.05] * 4))
    assert one == each and 0 < one["AP"] < 1
