"""Anchors of a pyramid: counts, places, sizes, order, images whose size only the graph knows."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import anchors

# Of RetinaNet on P3 to P7, nine a cell.
COUNTS = {(512, 512): 49_104, (800, 800): 120_087, (800, 1216): 182_403, (800, 1344): 201_600}


def retinanet(**options):
    return anchors.Pyramid((3, 7), anchors.octaves((3, 7)), **options)


@pytest.mark.parametrize("size, count", COUNTS.items())
def test_counts(size, count):
    pyramid = retinanet()
    assert sum(pyramid.counts(size)) == count == len(pyramid(size))


def test_octaves():
    """RetinaNet, section 4: 32 to 512 pixels on P3 to P7, at 2^0, 2^(1/3) and 2^(2/3)."""
    sizes = anchors.octaves((3, 7))
    np.testing.assert_allclose([level[0] for level in sizes], [32, 64, 128, 256, 512])
    np.testing.assert_allclose([np.divide(level, level[0]) for level in sizes], [[1, 2 ** (1 / 3), 2 ** (2 / 3)]] * 5)


def test_places_sizes_and_order():
    """Level, row, column, ratio, size; ratios are heights over widths, areas sizes squared, centers half a cell in."""
    sizes, ratios = ((8, 12), (16, 24)), (0.5, 1.0, 2.0)
    pyramid = anchors.Pyramid((3, 4), sizes, ratios)
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
    assert pyramid.grids((40, 24)) == [(5, 3), (3, 2)] and pyramid.per_cell == 6


@pytest.mark.parametrize("options", [{}, {"rounded": True, "fitted": True, "offset": 0.0}])
def test_sizes_that_only_the_graph_knows(options):
    pyramid = retinanet(**options)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3])])
    def lay(pixels):
        size = tf.unstack(tf.shape(pixels)[1:3])
        return pyramid(size), pyramid.counts(size)

    for size in ((128, 160), (100, 333)):
        boxes, counts = lay(tf.zeros([1, *size, 3]))
        np.testing.assert_array_equal(boxes, pyramid(size))
        np.testing.assert_array_equal(counts, pyramid.counts(size))


def test_wrong_number_of_sizes():
    with pytest.raises(ValueError, match=r"sizes must hold one tuple for each of the levels \(3, 7\), got 4"):
        anchors.Pyramid((3, 7), [(32,)] * 4)
