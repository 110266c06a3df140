"""CenterNet on a quarter-width ResNet-18 for the drawn shapes, from random weights.

python -m tools.train --config=configs/centernet/r18_shapes.py
"""

from kerasdet.configs import common
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "centernet_shapes",
        "model": {
            "name": "CenterNet",
            "backbone": {"name": "resnet18", "width": 24},
            "norm": "batch",
            "deconvs": (96, 64, 48),
            "laterals": True,
            "head_width": 48,
            "resize": ("stretch", 192, 192),
        },
        "data": common.shapes(),
        "train": common.adamw(
            minutes=15.0, batch_size=16, learning_rate=2e-3, weight_decay=1e-4, warmup=100, ema=0.99,
            evaluate_every=500, rates={"heads/size/*/predictor/*": 10.0},
            transforms=(("flip", 0.5), ("flip_vertical", 0.5)),
        ),
    })  # fmt: skip
