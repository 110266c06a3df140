"""A small EfficientDet from random weights on the drawn shapes: half of B0's channels, two cells of the BiFPN.

Square anchors from two strides on, because the shapes are small and square.

python -m tools.train --config=configs/efficientdet/b0_shapes.py
"""

from kerasdet.configs import common
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "efficientdet_shapes",
        "model": {
            "name": "EfficientDet",
            "backbone": {"name": "efficientnet_b0", "width": 0.5, "depth": 0.6, "momentum": 0.9},
            "norm_momentum": 0.9,
            "levels": (3, 6),
            "width": 48,
            "cells": 2,
            "depth": 2,
            "ratios": (1.0,),
            "scale": 2.0,
            "resize": ("corner", 192, 192),
        },
        "data": common.shapes(),
        "train": common.adamw(
            steps=2000, batch_size=16, learning_rate=3e-3, weight_decay=1e-4, warmup=200, ema=0.99,
            evaluate_every=500, transforms=(("flip", 0.5), ("flip_vertical", 0.5)),
        ),
    })  # fmt: skip
