"""What `models.py` reads of a folder, and which answers it takes for the same."""

import json

import numpy as np
import pytest

from tests.golden import models


def test_the_image_file_is_found_by_its_pictures(tmp_path):
    sizes = [(4, 6), (5, 3)]
    wanted = [np.full([*size, 3], i, np.uint8) for i, size in enumerate(sizes)]
    np.savez(tmp_path / "images_B.npz", **{f"image.{i}": one for i, one in enumerate(wanted[::-1])})
    np.savez(tmp_path / "images_of_others.npz", **{"4x6.0": wanted[0]})
    assert models.pictures(tmp_path, sizes) == []
    np.savez(tmp_path / "images_some.npz", **{f"image.{i}": one for i, one in enumerate(wanted)})
    (found,) = models.pictures(tmp_path, sizes)
    for one, expected in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, expected)


def test_arguments_are_those_of_the_json():
    info = {
        "model": "retinanet_resnet50_fpn",
        "kwargs": {"min_size": 99, "num_classes": 7, "score_thresh": 0.2},
        "attrs": {"detections_per_img": 5, "topk_candidates": 40},
        "frozen_bn_eps": 0.25,
        "tensors": {"cls_logits.0": {"shape": [2, 10, 7]}},
    }
    assert models.arguments(info) == {
        "name": "retinanet_resnet50_fpn", "min_size": 99, "above": 0.2, "limit": 5, "per_level": 40, "classes": 7,
        "norm": "frozen", "backbone": {"name": "resnet50", "epsilon": 0.25},
    }  # fmt: skip
    assert models.arguments({**info, "frozen_bn_eps": None})["norm"] == "batch"
    ssd = {**info, "model": "ssd300_vgg16", "kwargs": {}, "frozen_bn_eps": None}
    assert models.arguments(ssd) == {"name": "ssd300_vgg16", "limit": 5, "per_class": 40, "classes": 6}
    regions = {"box_nms_thresh": 0.4, "rpn_batch_size_per_image": 8, "rpn_post_nms_top_n_test": 50}
    two_stage = {**info, "model": "fasterrcnn_resnet50_fpn", "kwargs": regions, "attrs": {}}
    two_stage["tensors"] = {"roi.class_logits": {"shape": [9, 7]}}
    given = models.arguments(two_stage)
    assert (given["suppression"], given["rpn_batch"], given["rpn_post_nms_top_n_test"]) == (0.4, 8, 50)
    assert given["classes"] == 6


BOXES = np.float32([[0, 0, 9, 9], [5, 5, 30, 20], [5, 5, 30, 20], [1, 2, 3, 4]])
SCORES = np.float32([0.9, 0.50001, 0.5, 0.2])
LABELS = np.array([3, 1, 2, 0])


def test_near_ties_may_swap_and_nothing_else():
    def found(order, scores=SCORES, moved=0.0):
        return {"boxes": BOXES[order] + np.float32(moved), "scores": scores, "classes": LABELS[order]}

    expected = BOXES, SCORES, LABELS, 1e-4
    models.same_detections(found([0, 1, 2, 3]), *expected)
    models.same_detections(found([0, 2, 1, 3]), *expected)
    models.same_detections(found([0, 1, 2, 3], moved=0.01), *expected)
    for wrong in (
        found([0, 1, 3, 2]),  # their scores differ
        found([1, 0, 2, 3]),
        found([0, 1, 1, 3]),  # a label of another's
        found([0, 1, 2, 3], moved=0.03),
        found([0, 1, 2, 3], SCORES * np.float32([1, 1, 1, 1.001])),
        found([0, 1, 2], SCORES[:3]),
        found([0, 2, 1, 3], SCORES[[0, 2, 1, 3]]),  # scores rise
    ):
        with pytest.raises(AssertionError):
            models.same_detections(wrong, *expected)


def test_scores_that_fall_but_for_rounding():
    assert models.falling(SCORES, 0.0) and models.falling(SCORES[[0, 2, 1, 3]], 1e-4)
    assert not models.falling(SCORES[[0, 2, 1, 3]], 1e-6)
    assert not models.falling(np.array([1.0, 1.00006, 1.00012]), 1e-4)  # no climbing by small steps


def test_slices_are_read_as_the_json_says(tmp_path):
    whole = np.arange(24.0).reshape(2, 12)
    np.savez(tmp_path / "some.npz", **{"a.slice": whole[:, ::5], "b": whole})
    golden = models.Golden.__new__(models.Golden)
    golden.values = np.load(tmp_path / "some.npz")
    golden.info = json.loads('{"tensors": {"a": {"shape": [2, 12], "slice": "[:, ::5]"}, "b": {"shape": [2, 12]}}}')
    for name in ("a", "b"):
        got, expected = golden.recorded(name, whole)
        np.testing.assert_array_equal(got, expected)
