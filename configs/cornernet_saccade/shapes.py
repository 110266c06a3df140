"""CornerNet-Saccade with one small hourglass and views of 127 pixels for the drawn shapes, from random weights.

python -m tools.train --config=configs/cornernet_saccade/shapes.py
"""

from kerasdet.configs import common
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "cornernet_saccade_shapes",
        "model": {
            "name": "CornerNetSaccade",
            "backbone": {
                "name": "hourglass54",
                "stacks": 1,
                "widths": (64, 64, 96, 128),
                "stem": 32,
            },
            "pool_width": 32,
            "head_width": 64,
            "side": 127,
            "looks": (96, 127),
            "crops": 12,
            "resize": ("keep",),
        },
        "data": common.shapes(),
        "train": common.adamw(
            minutes=20.0, batch_size=16, learning_rate=2e-3, weight_decay=1e-4, warmup=100, ema=0.99,
            evaluate_every=1000,
            transforms=(("scale_jitter", 127, 0.7, 4.0, 0.0), ("flip", 0.5), ("flip_vertical", 0.5)),
        ),
    })  # fmt: skip
