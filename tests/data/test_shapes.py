"""The synthetic set: its counts, sizes, overlaps, ground truth and colors, measured on its pictures."""

import itertools

import numpy as np
import pytest
from pycocotools import mask as rle

from kerasdet.data import shapes


@pytest.fixture(scope="module")
def dataset():
    return shapes.read("val")


@pytest.fixture(scope="module")
def objects(dataset):
    """Every object as (record, its number, its mask)."""
    return [
        (record, i, rle.decode(record.segments[i]).astype(bool))
        for record in dataset.records
        for i in range(len(record.boxes))
    ]


def test_counts_sizes_and_names(dataset):
    assert len(dataset) == 200 and shapes.COUNTS["train"] == 2000
    assert len(dataset.classes) == 6 and dataset.keypoints == ("center", "tip") and dataset.notes == []
    assert [record.id for record in dataset.records] == list(range(200))
    counts = [len(record.boxes) for record in dataset.records]
    assert min(counts) == 1 and max(counts) == 8 and 4 < np.mean(counts) < 5
    for record in dataset.records:
        assert record.image.shape == (256, 256, 3) and record.image.dtype == np.uint8
        assert (record.height, record.width) == (256, 256)
        assert record.boxes.dtype == record.areas.dtype == record.keypoints.dtype == np.float32
        assert record.classes.dtype == np.int32 and not record.crowds.any()
        assert record.keypoints.shape == (len(record.boxes), 2, 3)


def test_a_picture_depends_on_seed_split_and_index_alone(dataset):
    alone = shapes.picture("val", 17)
    np.testing.assert_array_equal(alone.image, dataset.records[17].image)
    np.testing.assert_array_equal(alone.boxes, dataset.records[17].boxes)
    for other in (shapes.picture("train", 17), shapes.picture("val", 18), shapes.picture("val", 17, seed=1)):
        assert np.abs(other.image.astype(int) - alone.image).mean() > 5


def test_unknown_split_is_refused():
    with pytest.raises(ValueError, match=r"\('train', 'val'\), not 'test'"):
        shapes.read("test")


def test_boxes_and_areas_are_exactly_those_of_the_masks(objects):
    for record, i, mask in objects:
        rows, columns = np.nonzero(mask)
        tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert record.boxes[i].tolist() == tight and record.areas[i] == mask.sum()


def test_sizes_cover_their_range(objects):
    sides = np.array([(record.boxes[i, 2:] - record.boxes[i, :2]).max() for record, i, _ in objects])
    assert sides.min() >= 20 and sides.max() <= 160
    assert sides.min() < 23 and sides.max() > 140 and 35 < np.median(sides) < 70


def test_overlap_is_limited_and_occurs(dataset):
    overlaps = []
    for record in dataset.records:
        corners = np.concatenate([record.boxes[:, :2], record.boxes[:, 2:] - record.boxes[:, :2]], 1).astype(float)
        ious = rle.iou(corners, corners, [0] * len(corners))
        overlaps += [ious[pair] for pair in itertools.combinations(range(len(corners)), 2)]
    assert 0.25 < max(overlaps) <= 0.3


def test_classes_are_balanced(dataset):
    counts = np.bincount(np.concatenate([record.classes for record in dataset.records]), minlength=6)
    assert counts.min() > 0.8 * counts.mean() and counts.max() < 1.2 * counts.mean()


def test_shapes_fill_their_circles_as_their_names_say(objects):
    """Area over the square of the distance from center to tip: pi for a circle, 2 for a square..."""
    ratios = {name: [] for name in shapes.CLASSES}
    for record, i, mask in objects:
        reach = np.hypot(*(record.keypoints[i, 1, :2] - record.keypoints[i, 0, :2]))
        if reach > 20:
            ratios[shapes.CLASSES[record.classes[i]]].append(mask.sum() / reach**2)
    arm = 0.36
    expected = {
        "circle": np.pi,
        "square": 2,
        "triangle": 0.75 * 3**0.5,
        "star": 10 * 0.5 * 0.45 * np.sin(np.pi / 5),
        "cross": (8 * arm - 4 * arm**2) / (1 + arm**2),
    }
    for name, ratio in expected.items():
        assert len(ratios[name]) > 30
        np.testing.assert_allclose(ratios[name], ratio, rtol=0.06, err_msg=name)


def test_the_tip_is_the_topmost_of_the_points_farthest_from_the_center(objects):
    for record, i, mask in objects:
        center, tip = record.keypoints[i, :, :2]
        assert mask[int(center[1]), int(center[0])]
        points = np.argwhere(mask)[:, ::-1] + 0.5
        assert np.hypot(*(points - tip).T).min() < 3
        distance, reach = np.hypot(*(points - center).T), np.hypot(*(tip - center))
        assert abs(distance.max() - reach) < 3
        assert points[distance > distance.max() - 1, 1].min() > tip[1] - 3 - 0.2 * reach


def test_smaller_objects_lie_in_front(dataset):
    assert all((np.diff(record.areas) <= 0).all() for record in dataset.records)


def test_every_object_stands_out_from_its_surroundings(dataset):
    """Objects without neighbors: mean color inside against that of the rest of the picture."""
    for record in dataset.records:
        if len(record.boxes) == 1:
            mask = rle.decode(record.segments[0]).astype(bool)
            rest = record.image[~mask].mean(0)
            assert np.abs(record.image[mask].mean(0) - rest).max() > 25


def test_hidden_points_are_marked(dataset):
    """A later object is in front, so a point has visibility 1 exactly where a later mask covers it."""
    seen = set()
    for record in dataset.records:
        masks = rle.decode(record.segments)
        for i, points in enumerate(record.keypoints):
            for x, y, visibility in points:
                row, column = min(int(y), 255), min(int(x), 255)
                covered = masks[row, column, i + 1 :].any()
                assert visibility == (1 if covered else 2)
                seen.add(float(visibility))
    assert seen == {1.0, 2.0}


def test_color_says_nothing_of_the_class(objects):
    colors = np.array([record.image[mask].mean(0) for record, _, mask in objects])
    classes = np.array([record.classes[i] for record, i, _ in objects])
    means = np.stack([colors[classes == number].mean(0) for number in range(6)])
    errors = colors.std(0) / np.sqrt(np.bincount(classes).min())
    assert (np.abs(means - colors.mean(0)) < 4 * errors).all()
    assert (colors.std(0) > 40).all()
