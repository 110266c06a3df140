"""Drawing: which pixels change, and into what."""

import numpy as np
import pytest
from PIL import Image

from kerasdet import draw

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


def test_keypoints_that_are_seen():
    points = [[[150, 100, 2], [170, 150, 0]]]
    drawn = pixels(draw.boxes(gray(), [[100, 60, 200, 180]], [1], NAMES, keypoints=points))
    assert tuple(drawn[100, 150]) == draw.color(1)
    assert (drawn[150, 170] == 128).all()


def test_the_input_stays_as_it_is():
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
