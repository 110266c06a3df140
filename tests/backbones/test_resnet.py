"""ResNets: published sizes, Keras' weights and values, dilation, levels."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet import anchors, backbones
from kerasdet.backbones.resnet import ResNet, load_keras
from kerasdet.detectors import RetinaNet
from kerasdet.layers import FPN, ConvHead, Pixels

# Weights in all and trainable ones, without classifier; torchvision's models, summed.
SIZES = {
    "resnet18": (11_186_112, 11_176_512),
    "resnet34": (21_301_696, 21_284_672),
    "resnet50": (23_561_152, 23_508_032),
    "resnet101": (42_605_504, 42_500_160),
    "resnet152": (58_295_232, 58_143_808),
    "resnext50_32x4d": (23_048_128, 22_979_904),
    "resnext101_32x8d": (86_945_216, 86_742_336),
    "resnext101_64x4d": (81_609_152, 81_406_272),
}

# Weights in all of RetinaNet on each backbone, for 20, 80, 90 and 91 classes; torchvision's model, summed.
CLASSES = (20, 80, 90, 91)
RETINANETS = {
    ("resnet50", "c"): (36_777_112, 38_021_812, 38_229_262, 38_250_007),
    ("resnet50", "p"): (32_648_344, 33_893_044, 34_100_494, 34_121_239),
    ("resnet101", "c"): (55_821_464, 57_066_164, 57_273_614, 57_294_359),
    ("resnet101", "p"): (51_692_696, 52_937_396, 53_144_846, 53_165_591),
    ("resnext101_32x8d", "c"): (100_161_176, 101_405_876, 101_613_326, 101_634_071),
    ("resnext101_32x8d", "p"): (96_032_408, 97_277_108, 97_484_558, 97_505_303),
    ("resnext101_64x4d", "c"): (94_825_112, 96_069_812, 96_277_262, 96_298_007),
    ("resnext101_64x4d", "p"): (90_696_344, 91_941_044, 92_148_494, 92_169_239),
}


def weights(variables):
    return sum(int(np.prod(variable.shape)) for variable in variables)


@functools.cache
def count(name):
    """Weights of a backbone in all, and trainable ones."""
    with keras.StatelessScope(initialize_variables=False):  # shapes without values
        backbone = backbones.build(name, levels=(3, 5))
        backbone(tf.zeros([1, 32, 32, 3]))
        return weights(backbone.variables), weights(backbone.trainable_variables)


@pytest.mark.parametrize("name", SIZES)
def test_published_sizes(name):
    assert count(name) == SIZES[name]
