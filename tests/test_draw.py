"""Drawing: which pixels change, and to which color."""

import os

import numpy as np
import pytest
from PIL import Image

from kerasdet import draw
from kerasdet.data import Dataset, segments, shapes

NAMES = ["egg", "crack", "fiber"]


def gray(height=240, width=320, value=128):
    return np.full((height, width, 3), value, np.uint8)


def pixels(image):
    return np.asarray(image).astype(int)


def changed(image, value=128):
    return np.argwhere(np.any(pixels(image) != value, axis=-1))


def test_the_line_surrounds_the_box_in_the_color_of_its_class():
    drawn = pixels(draw.boxes(gray(), [[100, 60, 200, 180]], [1], NAMES))
    width = draw.line_width(Image.fromarray(gray()))
    for y, x in ((120, 99), (120, 200), (180, 150), (120, 100 - width), (120, 199 + width)):
        assert tuple(drawn[y, x]) == draw.color(1)
    assert (drawn[60:180, 100:200] == 128).all(), "what the box holds stays visible"
    assert (drawn[120, : 100 - width] == 128).all()


def test_the_line_of_a_box_at_the_border_stays_visible():
    drawn = pixels(draw.boxes(gray(), [[0, 0, 320, 240]], [0], NAMES))
    for y, x in ((120, 0), (120, 319), (239, 30)):
        assert tuple(drawn[y, x]) == draw.color(0)


def test_the_line_grows_with_the_picture():
    assert [draw.line_width(Image.new("RGB", (side, side))) for side in (100, 500, 2000)] == [1, 2, 8]


@pytest.mark.parametrize("box", [[0, 0, 20, 20], [300, 0, 320, 20], [300, 220, 320, 240], [2, 2, 318, 238]])
def test_the_label_stays_inside_the_picture_and_names_class_and_score(box):
    """A label that ran out of the picture would lose ink; the ink is that of a label in the middle."""

    def ink(box):
        drawn = pixels(draw.boxes(gray(), [box], [2], NAMES, [0.87]))
        bare = pixels(draw.outline(gray(), [box], draw.color(2)))
        readable = draw._readable(draw.color(2))
        return (np.abs(drawn - readable).sum(axis=-1) < 60).sum(), (bare != drawn).any(axis=-1).sum()

    (text, chip), (text_in_the_middle, chip_in_the_middle) = ink(box), ink([150, 110, 170, 130])
    assert text == text_in_the_middle > 10
    assert abs(chip - chip_in_the_middle) < 0.2 * chip_in_the_middle


def test_scores_are_written_only_when_given():
    box = [[100, 100, 140, 140]]
    with_score, without = (draw.boxes(gray(), box, [0], NAMES, scores) for scores in ([0.5], None))
    assert len(changed(with_score)) > len(changed(without))


def test_a_small_object_is_not_hidden_by_a_large_one():
    """The large box's label would cover it in its usual place."""
    small, large = [100, 60, 108, 68], [100, 75, 300, 220]
    for boxes, classes in (([small, large], [0, 1]), ([large, small], [1, 0])):
        drawn = pixels(draw.boxes(gray(), boxes, classes, NAMES))
        assert (drawn[60:68, 100:108] == 128).all()
        assert tuple(drawn[64, 99]) == tuple(drawn[64, 108]) == draw.color(0)


def test_padding_is_not_drawn():
    assert len(changed(draw.boxes(gray(), np.zeros((3, 4)), [-1, -1, -1], NAMES, np.zeros(3)))) == 0


def test_visible_keypoints_are_drawn():
    points = [[[150, 100, 2], [170, 150, 0]]]
    drawn = pixels(draw.boxes(gray(), [[100, 60, 200, 180]], [1], NAMES, keypoints=points))
    assert tuple(drawn[100, 150]) == draw.color(1)
    assert (drawn[150, 170] == 128).all()


def test_masks_tint_what_they_cover_within_a_line_of_full_color():
    mask = np.zeros((240, 320), bool)
    mask[80:160, 110:190] = True
    drawn = pixels(draw.boxes(gray(), [[100, 60, 200, 180]], [1], NAMES, masks=[mask]))
    width = draw.line_width(Image.fromarray(gray()))
    tint = np.rint(0.6 * 128 + 0.4 * np.array(draw.color(1)))
    edge = mask.copy()
    edge[80 + width : 160 - width, 110 + width : 190 - width] = False
    assert (drawn[edge] == draw.color(1)).all() and (drawn[mask & ~edge] == tint).all()
    assert (drawn[60:180, 100:200][~mask[60:180, 100:200]] == 128).all()


def test_masks_at_the_border_empty_or_of_padding():
    corner, nothing = np.zeros((240, 320), np.uint8), np.zeros((240, 320), np.uint8)
    corner[200:, 300:] = 1
    boxes = [[300, 200, 320, 240], [10, 10, 40, 40], [0, 0, 0, 0]]
    drawn = draw.boxes(gray(), boxes, [1, 0, -1], NAMES, masks=[corner, nothing, corner])
    bare = draw.boxes(gray(), boxes, [1, 0, -1], NAMES)
    assert tuple(pixels(drawn)[200, 310]) == draw.color(1)
    assert (pixels(drawn)[:190] == pixels(bare)[:190]).all()
    assert tuple(pixels(drawn)[220, 310]) == tuple(np.rint(0.6 * 128 + 0.4 * np.array(draw.color(1))))


def test_skeleton_joins_points_that_are_seen():
    points = [[[110, 100, 2], [180, 100, 1], [110, 160, 0]]]
    joined = pixels(draw.boxes(gray(), [[100, 60, 200, 180]], [1], NAMES, keypoints=points, skeleton=[(0, 1), (0, 2)]))
    assert tuple(joined[100, 145]) == draw.color(1)
    assert (joined[130, 110] == 128).all()


def test_labels_that_would_hide_a_full_picture_are_not_drawn():
    corners = [(x, y) for x in range(5, 310, 20) for y in range(5, 230, 20)]
    boxes = [[x, y, x + 10, y + 10] for x, y in corners]
    crowded = draw.boxes(gray(), boxes, [0] * len(boxes), NAMES)
    assert (pixels(crowded) == pixels(draw.outline(gray(), boxes, draw.color(0)))).all()
    few = draw.boxes(gray(), boxes[:4], [0] * 4, NAMES)
    assert len(changed(few)) > len(changed(draw.outline(gray(), boxes[:4], draw.color(0))))


def test_truth_and_found_draw_masks_and_points():
    record = shapes.picture("val", 3)
    dataset = Dataset("one", shapes.CLASSES, [record], keypoints=shapes.KEYPOINTS, skeleton=((0, 1),))
    masks = [segments.decode(segment, 256, 256) for segment in record.segments]
    seen = draw.truth(record, dataset)
    more = {"keypoints": record.keypoints, "masks": masks, "skeleton": ((0, 1),)}
    assert seen == draw.boxes(record.image, record.boxes, record.classes, shapes.CLASSES, **more)
    found = {
        "boxes": record.boxes, "classes": record.classes, "names": [shapes.CLASSES[k] for k in record.classes],
        "scores": np.ones(len(record.boxes)), "masks": masks, "keypoints": record.keypoints,
    }  # fmt: skip
    scored = draw.boxes(record.image, record.boxes, record.classes, shapes.CLASSES, found["scores"], **more)
    assert draw.found(record.image, found, ((0, 1),)) == scored
    without = draw.found(record.image, {k: found[k] for k in ("boxes", "classes", "names", "scores")})
    assert without == draw.boxes(record.image, record.boxes, record.classes, shapes.CLASSES, found["scores"])


def test_the_input_is_not_modified():
    array, image = gray(), Image.fromarray(gray())
    for one in (array, image):
        draw.boxes(one, [[10, 10, 50, 50]], [0], NAMES)
        draw.outline(one, [[10, 10, 50, 50]], "red")
        assert (np.asarray(one) == 128).all()


def test_float_pixels_are_rounded_and_clipped():
    shades = np.array([[[-3.0, 127.6, 300.0]]], np.float32)
    assert list(pixels(draw.picture(shades))[0, 0]) == [0, 128, 255]


def test_colors_of_eighty_classes_are_stable_and_distinct():
    colors = np.array([draw.color(index) for index in range(80)])
    distances = np.linalg.norm(colors[:, None] - colors[None], axis=-1) + 999 * np.eye(80)
    assert distances.min() > 14 and distances[:10, :10].min() > 65
    assert draw.color(3) == tuple(colors[3])


def test_labels_are_readable_on_every_color():
    for index in range(80):
        light = np.dot(draw.color(index), (0.299, 0.587, 0.114))
        assert abs(np.dot(draw._readable(draw.color(index)), (0.299, 0.587, 0.114)) - light) > 95


def test_outline():
    drawn = draw.outline(gray(), [[100, 60, 200, 180], [10, 10, 20, 20]], (255, 0, 0), width=1)
    assert len(changed(drawn)) == 2 * (102 + 120) + 2 * (12 + 10)
    assert tuple(pixels(drawn)[120, 99]) == (255, 0, 0)


def test_beside_and_sheet_keep_the_pictures():
    left, right = gray(100, 150, 10), gray(80, 120, 200)
    pair = pixels(draw.beside(left, right, ["ground truth", "detections"]))
    assert (pair == 10).all(axis=-1).sum() >= 100 * 150 and (pair == 200).all(axis=-1).sum() >= 80 * 120
    columns_of_left = np.argwhere((pair == 10).all(axis=-1))[:, 1]
    columns_of_right = np.argwhere((pair == 200).all(axis=-1))[:, 1]
    assert np.median(columns_of_left) < np.median(columns_of_right)

    bare = pixels(draw.sheet([gray(100, 150, shade) for shade in (10, 20, 30)], 2))
    counts = [(bare == shade).all(axis=-1).sum() for shade in (10, 20, 30)]
    assert counts == [100 * 150] * 3 and (bare[:5] == 255).all()


def test_copies_of_pictures_of_one_name():
    paths = draw.copies(["a/1.jpg", "b/1.png", "b/2.png"], "seen")
    assert [os.path.basename(path) for path in paths] == ["1.png", "1-2.png", "2.png"]
