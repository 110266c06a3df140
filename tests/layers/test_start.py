"""How new layers start: the deviations of Detectron2's and torchvision's, computed from the kernels' shapes."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdet.detectors.mask_rcnn import KeypointHead, MaskHead
from kerasdet.layers import FPN, BoxHead, RegionPredictor


def xavier(kernel):
    """Uniform in +- sqrt(3 / inputs): its deviation, and its greatest value."""
    inputs = np.prod(kernel.shape[:-1])
    return np.sqrt(1 / inputs), np.sqrt(3 / inputs)


def msra(outputs):
    """Normal, of variance 2 / outputs, cells of the kernel included."""
    return np.sqrt(2 / outputs)


def test_pyramid():
    fpn = FPN(64, (3, 7), "c")
    fpn([tf.zeros([1, 8 // 2**i, 8 // 2**i, 32]) for i in range(3)])
    for layer in (*fpn.laterals, *fpn.outputs, *fpn.extras):
        deviation, greatest = xavier(layer.kernel)
        np.testing.assert_allclose(np.std(layer.kernel), deviation, rtol=0.05)
        assert 0.98 * greatest < np.abs(layer.kernel).max() <= greatest
        assert not np.any(layer.bias)


def test_region_head():
    head = BoxHead(convs=1, width=64, fc=(128, 128))
    head(tf.zeros([1, 4, 4, 32]))
    np.testing.assert_allclose(np.std(head.convs[0].kernel), msra(9 * 64), rtol=0.05)
    for fc in head.fc:
        deviation, greatest = xavier(fc.kernel)
        np.testing.assert_allclose(np.std(fc.kernel), deviation, rtol=0.05)
        assert np.abs(fc.kernel).max() <= greatest
    predictor = RegionPredictor(21)
    predictor(tf.zeros([1, 2, 128]))
    np.testing.assert_allclose(np.std(predictor.classes.kernel), 0.01, rtol=0.05)
    np.testing.assert_allclose(np.std(predictor.boxes.kernel), 0.001, rtol=0.05)


@pytest.mark.parametrize("std", [0.001, np.sqrt(2 / 81)])
def test_mask_head(std):
    head = MaskHead(2, 64, 81, std=std)
    head(tf.zeros([1, 4, 4, 32]))
    for conv in head.convs:
        np.testing.assert_allclose(np.std(conv.kernel), msra(9 * 64), rtol=0.05)
    np.testing.assert_allclose(np.std(head.deconv.kernel), msra(4 * 64), rtol=0.05)
    np.testing.assert_allclose(np.std(head.predictor.kernel), std, rtol=0.05)


def test_keypoint_head():
    """In both releases the deconvolution counts its inputs: sqrt(2 / (64 * 16))."""
    head = KeypointHead(2, 64, 17)
    head(tf.zeros([1, 4, 4, 32]))
    for conv in head.convs:
        np.testing.assert_allclose(np.std(conv.kernel), msra(9 * 64), rtol=0.05)
    np.testing.assert_allclose(np.std(head.deconv.kernel), msra(16 * 64), rtol=0.05)
