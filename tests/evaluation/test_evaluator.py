"""Boxes, masks and keypoints of a detector that knows the answers, scored together."""

import dataclasses
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kerasdet import data, training
from kerasdet.data import segments
from kerasdet.evaluation import coco, report
from kerasdet.evaluation.evaluator import Evaluator
from tests.evaluation.oracle import Oracle, scenes
from tests.training import micro

SIGMAS = (0.05, 0.1)


@pytest.fixture(scope="module")
def dataset():
    return scenes()


@pytest.fixture(scope="module")
def evaluator(dataset):
    """Boxes are right, a third of every mask is missing, points lie 4 pixels off."""
    evaluator = Evaluator(Oracle(dataset.classes).learn(dataset, points=4, erase=37), dataset, 4, sigmas=SIGMAS)
    return evaluator, evaluator()


def test_right_answers_score_1(dataset):
    numbers = Evaluator(Oracle(dataset.classes).learn(dataset), dataset, 4, sigmas=0.05)()
    assert numbers["AP"] == numbers["keypoints/AP"] == pytest.approx(1)
    assert numbers["segm/AP50"] == pytest.approx(1) and numbers["segm/AP"] > 0.95
    assert numbers["segm/per_class"].keys() == numbers["per_class"].keys() == set(dataset.classes)


def test_each_kind_is_scored_separately(evaluator):
    _, numbers = evaluator
    assert numbers["AP"] == pytest.approx(1)
    assert numbers["segm/AP75"] < 0.5 < numbers["segm/AP50"] and 0.3 < numbers["segm/AP"] < 0.6
    assert 0.1 < numbers["keypoints/AP"] < 0.95


def test_keypoints_by_hand(dataset, evaluator):
    """Four pixels off in the picture, whatever the network saw: the mean of exp(-d^2 / 2 area k^2), k = 2 sigma."""
    _, numbers = evaluator
    similar = []
    for record in dataset.records:
        for area in record.areas:
            spread = 2 * np.square(2 * np.array(SIGMAS)) * area
            similar.append((record.classes[list(record.areas).index(area)], np.mean(np.exp(-16 / spread))))
    recalls = {}
    for kind, value in similar:
        recalls.setdefault(kind, []).append(value)
    expected = np.mean([[np.mean(np.array(v) >= t) for t in np.linspace(0.5, 0.95, 10)] for v in recalls.values()])
    assert numbers["keypoints/AR"] == pytest.approx(expected, abs=1e-6)


def test_the_files_of_a_report_score_the_same_in_bare_pycocotools(dataset, evaluator, tmp_path):
    evaluator, numbers = evaluator
    report.write(evaluator, numbers, tmp_path)
    (tmp_path / "truth.json").write_text(json.dumps(evaluator.truth.dataset))
    bare = COCO(tmp_path / "truth.json")
    for kind, name in (("bbox", "results"), ("segm", "results_segm"), ("keypoints", "results_keypoints")):
        run = COCOeval(bare, bare.loadRes(str(tmp_path / f"{name}.json")), kind)
        if kind == "keypoints":
            run.params.kpt_oks_sigmas = np.array(SIGMAS)
        run.evaluate()
        run.accumulate()
        run.summarize()
        prefix = "" if kind == "bbox" else f"{kind}/"
        assert [numbers[prefix + key] for key in coco.NUMBERS[kind]] == list(run.stats), kind
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["segm/AP50"] == numbers["segm/AP50"]


def test_results_contain_all_detections(dataset, evaluator):
    """In pixels of the picture: boxes and points as learned, masks as wide as two thirds of their boxes."""
    evaluator, _ = evaluator
    assert len(evaluator.results) == sum(len(record.boxes) for record in dataset.records) > 5
    for record in dataset.records:
        found = evaluator.found(record.id)
        for index, one in enumerate(found):
            x1, y1, x2, y2 = record.boxes[index]
            np.testing.assert_allclose(one["bbox"], [x1, y1, x2 - x1, y2 - y1], atol=1e-3)
            points = np.reshape(one["keypoints"], (-1, 3))
            wanted = record.keypoints[index][:, :2] + [4, 0] - 0.5  # COCO counts pixels
            np.testing.assert_allclose(points[:, :2], wanted, atol=1e-3)
            mask = segments.decode(one["segmentation"], record.height, record.width)
            true = segments.decode(record.segments[index], record.height, record.width)
            assert mask.shape == (record.height, record.width)
            edge = x1 + (x2 - x1) * 75 / 112
            left = np.s_[:, : int(edge) - 1]
            assert np.sum(mask[left] & true[left]) > 0.8 * np.sum(mask[left] | true[left])
            assert mask[:, int(edge) + 2 :].sum() == 0


def test_without_masks_in_the_data_boxes_and_keypoints_are_scored(dataset):
    """A detector that finds masks without learning from them, such as one of another framework."""
    model = Oracle(dataset.classes).learn(dataset)
    model.needs_masks = False
    bare = dataclasses.replace(dataset, records=[dataclasses.replace(r, segments=None) for r in dataset.records])
    evaluator = Evaluator(model, bare, 4, sigmas=0.05)
    numbers = evaluator()
    assert list(evaluator.evaluations) == ["bbox", "keypoints"] and "segm/AP" not in numbers
    assert numbers["AP"] == pytest.approx(1)


def test_no_detections_and_no_objects(dataset):
    model = Oracle(dataset.classes).learn(dataset)
    model.answers["counts"][:] = 0
    evaluator = Evaluator(model, dataset, 4, sigmas=0.05)
    numbers = evaluator()
    assert evaluator.results == [] and numbers["segm/AP"] == numbers["keypoints/AP"] == numbers["AP"] == 0
    empty = dataclasses.replace(dataset, records=dataset.records[:1])
    numbers = Evaluator(Oracle(dataset.classes).learn(empty), empty, 4, sigmas=0.05)()
    assert numbers["segm/AP"] == numbers["AP"] == -1


def test_through_tiles(dataset):
    """The detector gives every window what the windows' data set holds: points and masks come back to the picture."""
    from kerasdet.data import tiles as windowed

    size, overlap = 200, 160
    model = Oracle(dataset.classes).learn(windowed.dataset(dataset, size, overlap))
    evaluator = Evaluator(model, dataset, 4, tiles=(size, overlap), sigmas=0.05)
    evaluator()
    near = 0
    for record in dataset.records:
        for one in evaluator.found(record.id):
            x, y, width, height = one["bbox"]
            same = np.abs(record.boxes - [x, y, x + width, y + height]).max(1, initial=0) < 0.01
            if same.any():
                near += 1
                index = int(np.argmax(same))
                points = np.reshape(one["keypoints"], (-1, 3))
                np.testing.assert_allclose(points[:, :2], record.keypoints[index][:, :2] - 0.5, atol=1e-3)
                mask = segments.decode(one["segmentation"], record.height, record.width)
                true = segments.decode(record.segments[index], record.height, record.width)
                assert np.sum(mask & true) > 0.8 * np.sum(mask | true)
    assert near > 5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": ("egg",)}, "scenes has .'egg',."),
        ({"segments": None}, "Oracle learns masks, but scenes has images without"),
        ({"keypoints": ()}, "Oracle has 2 keypoints, but scenes has 0"),
        ({"keypoints": ("a", "b", "c")}, "Oracle has 2 keypoints, but scenes has 3: .'a'"),
    ],
)
def test_data_that_lacks_what_the_model_needs_is_refused(dataset, changes, words):
    if "segments" in changes:
        changes = {"records": [dataclasses.replace(r, segments=None) for r in dataset.records]}
    with pytest.raises(ValueError, match=words) as error:
        Evaluator(Oracle(dataset.classes), dataclasses.replace(dataset, **changes), sigmas=0.05)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("sigmas", [None, (0.05,) * 3, 0.0])
def test_keypoints_need_their_sigmas(dataset, sigmas):
    with pytest.raises(ValueError, match="sigmas"):
        Evaluator(Oracle(dataset.classes), dataset, sigmas=sigmas)


def test_pictures_show_masks_and_points_beside_the_truth(dataset, evaluator):
    """Left the truth; right two thirds of every mask, the rest as in the photo."""
    evaluator, _ = evaluator
    record = dataset.records[2]
    pair = np.asarray(report.beside_truth(evaluator, record, above=0.0)).astype(int)
    bare = dataclasses.replace(record, segments=None, keypoints=None)
    results = evaluator.results
    evaluator.results = [{k: v for k, v in one.items() if k not in ("segmentation", "keypoints")} for one in results]
    plain = np.asarray(report.beside_truth(evaluator, bare, above=0.0)).astype(int)
    evaluator.results = results
    touched = (pair != plain).any(-1)
    middle = touched.shape[1] // 2
    area = sum(segments.decode(s, record.height, record.width).sum() for s in record.segments)
    assert 0.6 * area < touched[:, :middle].sum() < 1.2 * area
    assert 0.35 * area < touched[:, middle:].sum() < 0.85 * area


def test_pictures_of_empty_images(dataset, evaluator):
    evaluator, _ = evaluator
    assert report.beside_truth(evaluator, dataset.records[0], above=0.0).width > 2 * dataset.records[0].width


def test_voc_numbers_of_a_small_data_set():
    """Of three objects of a class the first, with the highest score, is difficult and counts for nothing; of the two
    others the picture's second answer is right, the third lies off. By hand: precision 1, 1/2 at recall 1/2, 1/2."""
    objects = np.float32([[10, 10, 40, 40], [60, 10, 90, 40], [10, 60, 40, 90]])
    record = data.Record(
        id=7, image=np.zeros([100, 100, 3], np.uint8), height=100, width=100, boxes=objects,
        classes=np.int32([0, 0, 0]), crowds=np.array([True, False, False]), areas=np.float32([900] * 3),
    )  # fmt: skip
    dataset = data.Dataset("three", ("egg", "crack"), [record])
    model = Oracle(dataset.classes, masks=False, keypoints=0, resize=("keep",)).learn(dataset)
    model.answers["boxes"][0, 2] += np.float32([20, 0, 20, 0])  # an IoU of 1/5
    evaluator = Evaluator(model, dataset, 1, voc=True)
    numbers = evaluator()
    assert numbers["voc/AP2007"] == pytest.approx(6 / 11) and numbers["voc/AP2010"] == pytest.approx(1 / 2)
    assert numbers["voc/per_class_AP2007"] == {"egg": pytest.approx(6 / 11), "crack": -1}
    assert numbers["voc/per_class_AP2010"] == {"egg": pytest.approx(1 / 2), "crack": -1}
    assert numbers["AP50"] == pytest.approx(51 / 101)
    assert not any(key.startswith("voc/") for key in Evaluator(model, dataset, 1)())
    record.crowds[0] = False  # as an object: two of three are found before the first error
    assert Evaluator(model, dataset, 1, voc=True)()["voc/AP2007"] == pytest.approx(7 / 11)


def test_voc_numbers_are_printed_and_written(tmp_path, capsys):
    photos = micro.photos()
    options = {"steps": 2, "batch_size": 4, "evaluate_every": 2, "warmup": 0, "transforms": ()}
    metrics = training.fit(micro.make(), photos, photos, tmp_path, evaluate={"voc": True}, **options)
    found = [f"val_{kind} {metrics[kind]:.4f}" for kind in ("voc/AP2007", "voc/AP2010")]
    assert "  ".join(found) in capsys.readouterr().out
    dataset = scenes()
    evaluator = Evaluator(Oracle(dataset.classes).learn(dataset), dataset, 4, sigmas=0.05, voc=True)
    report.write(evaluator, evaluator(), tmp_path)
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["voc/AP2007"] == written["voc/AP2010"] == pytest.approx(1)
    assert set(written["voc/per_class_AP2007"]) == set(dataset.classes)


def test_a_setting_counts_in_the_next_evaluation():
    """Also where the evaluator was made, and had run, before it was set."""
    model, photos = micro.make(), micro.photos(6)
    evaluator = Evaluator(model, photos)
    before = evaluator()["loss"]
    model.resize = ("stretch", 16, 16)
    after = Evaluator(model, photos)()["loss"]
    assert evaluator()["loss"] == pytest.approx(after, rel=1e-6) != pytest.approx(before, rel=1e-3)
