"""Anchors of a pyramid: counts, positions, sizes, order, images of dynamic size."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import anchors

# Of RetinaNet on P3 to P7, nine a cell.
STRIDES = (8, 16, 32, 64, 128)
COUNTS = {(512, 512): 49_104, (800, 800): 120_087, (800, 1216): 182_403, (800, 1344): 201_600}


def retinanet(**options):
    return anchors.Anchors(anchors.shapes(anchors.octaves(STRIDES)), STRIDES, **options)


@pytest.mark.parametrize("size, count", COUNTS.items())
def test_counts(size, count):
    pyramid = retinanet()
    assert sum(pyramid.counts(size)) == count == len(pyramid(size))


def test_octaves():
    """RetinaNet, section 4: 32 to 512 pixels on P3 to P7, at 2^0, 2^(1/3) and 2^(2/3)."""
    sizes = anchors.octaves(STRIDES)
    np.testing.assert_allclose([level[0] for level in sizes], [32, 64, 128, 256, 512])
    np.testing.assert_allclose([np.divide(level, level[0]) for level in sizes], [[1, 2 ** (1 / 3), 2 ** (2 / 3)]] * 5)


def test_positions_sizes_and_order():
    """Level, row, column, ratio, size; ratios are heights over widths, areas sizes squared, centers half a cell in."""
    sizes, ratios = ((8, 12), (16, 24)), (0.5, 1.0, 2.0)
    pyramid = anchors.Anchors(anchors.shapes(sizes, ratios), (8, 16))
    expected = []
    for level, stride in enumerate((8, 16)):
        for row in range(-(-40 // stride)):
            for column in range(-(-24 // stride)):
                for ratio in ratios:
                    for size in sizes[level]:
                        width, height = size / np.sqrt(ratio), size * np.sqrt(ratio)
                        x, y = (column + 0.5) * stride, (row + 0.5) * stride
                        expected.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    np.testing.assert_allclose(pyramid((40, 24)), expected, atol=1e-3)
    assert pyramid.grids((40, 24)) == [(5, 3), (3, 2)] and pyramid.per_cell == [6, 6]


@pytest.mark.parametrize("options", [{}, anchors.TORCHVISION, {"fitted": "exact"}])
def test_dynamic_sizes(options):
    pyramid = retinanet(**options)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3])])
    def lay(pixels):
        size = tf.unstack(tf.shape(pixels)[1:3])
        return pyramid(size), pyramid.counts(size)

    for size in ((128, 160), (100, 333)):
        boxes, counts = lay(tf.zeros([1, *size, 3]))
        np.testing.assert_array_equal(boxes, pyramid(size))
        np.testing.assert_array_equal(counts, pyramid.counts(size))


def test_wrong_number_of_shapes():
    with pytest.raises(ValueError, match="anchors need shapes for each of 5 levels, got 4"):
        anchors.Anchors(anchors.shapes([(32,)] * 4), STRIDES)


def test_pairs_of_width_and_height():
    """Levels may hold different numbers of pairs, and two maps may have one stride, as with a dilated conv5."""
    laid = anchors.Anchors([[(10, 13), (16, 30)], [(33, 23)]], (16, 16))
    found = laid((32, 16)).numpy()
    assert laid.counts((32, 16)) == [4, 2]
    np.testing.assert_allclose(found[:, 2:] - found[:, :2], [[10, 13], [16, 30]] * 2 + [[33, 23]] * 2)
    np.testing.assert_allclose((found[:, :2] + found[:, 2:])[:, 1] / 2, [8, 8, 24, 24, 8, 24])


def test_exact_distances():
    """At 320 pixels three cells of stride 128 lie 320 / 3 apart."""
    found = anchors.Anchors([[(2, 2)]], (128,), fitted="exact")((320, 320)).numpy()
    np.testing.assert_allclose((found[:3, 0] + found[:3, 2]) / 2, [320 / 6, 320 / 2, 320 * 5 / 6], rtol=1e-6)


def test_default_boxes():
    """SSD, section 2.2: centers (i + 0.5) / |f_k|; s, sqrt(s s'), and s sqrt(r) by s / sqrt(r) and its mirror."""
    shapes = anchors.default_shapes((0.2, 0.45, 0.8), ((2,), (4,)))
    np.testing.assert_allclose(
        shapes[0], [(0.2, 0.2), (0.3, 0.3), (0.282843, 0.141421), (0.141421, 0.282843)], atol=1e-6
    )
    np.testing.assert_allclose(shapes[1], [(0.45, 0.45), (0.6, 0.6), (0.9, 0.225), (0.225, 0.9)], atol=1e-6)
    boxes = anchors.DefaultBoxes(lambda side: [side // 100, side // 200], shapes)
    found = boxes((200, 400)).numpy()
    assert boxes.grids((200, 400)) == [(2, 4), (1, 2)] and boxes.counts((200, 400)) == [32, 8] and len(found) == 40
    np.testing.assert_allclose(found[4 * 5], [150 - 40, 150 - 20, 150 + 40, 150 + 20], rtol=1e-6)
    np.testing.assert_allclose(found[-1], [300 - 45, 100 - 90, 300 + 45, 100 + 90], rtol=1e-6)
    stepped = anchors.DefaultBoxes(boxes.cells, shapes, steps=(90, 200))((200, 400)).numpy()
    np.testing.assert_allclose(stepped[4 * 5, :2], [135 - 40, 135 - 20], rtol=1e-6)


def test_default_shapes_are_clipped():
    (shapes,) = anchors.default_shapes((0.9, 1.1), ((4,),), clip=True)
    np.testing.assert_allclose(shapes[1:], [(0.994987, 0.994987), (1, 0.45), (0.45, 1)], atol=1e-6)


def test_default_boxes_of_tensorflow():
    """Three on the first map, whose square has scale 0.1; on the others the square of the mean scale is the last."""
    first, second = anchors.default_shapes_tf((0.2, 0.35, 0.5), ((2,), (2, 3)))
    np.testing.assert_allclose(first, [(0.1, 0.1), (0.282843, 0.141421), (0.141421, 0.282843)], atol=1e-6)
    np.testing.assert_allclose(second[[0, -1]], [(0.35, 0.35), (0.41833, 0.41833)], atol=1e-6)
    np.testing.assert_allclose(second[3], [0.35 * 3**0.5, 0.35 / 3**0.5])
    smaller, same = anchors.default_shapes_tf((0.2, 0.35, 0.5), ((2,), (2, 3)), least=0.07)
    np.testing.assert_allclose(smaller, [(0.07, 0.07), *first[1:]])
    np.testing.assert_allclose(same, second)


def test_default_boxes_on_a_grid():
    """Centers and sides in whole eighths of the image."""
    shapes = anchors.default_shapes((0.3, 0.4), ((2,),))
    found = anchors.DefaultBoxes(lambda side: [3], shapes, grid=1 / 8)((80, 160)).numpy()
    sides, centers = (found[:, 2:] - found[:, :2]) / [20, 10], (found[:, 2:] + found[:, :2]) / 2 / [20, 10]
    np.testing.assert_allclose(sides, np.round(sides), atol=1e-5)
    np.testing.assert_allclose(centers, np.round(centers), atol=1e-5)
    np.testing.assert_allclose(np.unique(np.round(centers)), [1, 4, 7])
    np.testing.assert_allclose(sides[0], [2, 2])
