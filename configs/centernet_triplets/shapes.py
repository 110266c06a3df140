"""CenterNet of keypoint triplets with one small hourglass for the drawn shapes, from random weights.

`--config.model.checked=False` leaves out the check of central regions, which changes what is detected, not what is
learned.

python -m tools.train --config=configs/centernet_triplets/shapes.py
"""

from kerasdet.configs import common
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "centernet_triplets_shapes",
        "model": {
            "name": "CenterNetTriplets",
            "backbone": {
                "name": "hourglass104",
                "stacks": 1,
                "widths": (64, 64, 96, 128),
                "blocks": (1, 1, 1, 2),
                "stem": 32,
            },
            "pool_width": 32,
            "head_width": 64,
            "checked": True,
            "resize": ("stretch", 127, 127),
        },
        "data": common.shapes(),
        "train": common.adamw(
            minutes=20.0, batch_size=16, learning_rate=2e-3, weight_decay=1e-4, warmup=100, ema=0.99,
            evaluate_every=500, transforms=(("flip", 0.5), ("flip_vertical", 0.5)),
        ),
    })  # fmt: skip
