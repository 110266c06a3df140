"""RefineDet on a narrow ResNet-10 from random weights on the drawn shapes, which are small and square.

python -m tools.train --config=configs/refinedet/r10_shapes.py
"""

from kerasdet.configs import common
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "refinedet_shapes",
        "model": {
            "name": "RefineDet",
            "backbone": {"name": "resnet10", "width": 24},
            "norm": "batch",
            "l2_norm": (),
            "extras": ((128, 3, 2, 1),),
            "width": 64,
            "extra_norm": "batch",
            "sizes": ((16, 24), (32, 44), (64, 88), (128,)),
            "ratios": (1.0,),
            "resize": ("stretch", 192, 192),
        },
        "data": common.shapes(),
        "train": common.adamw(
            steps=2000, batch_size=16, learning_rate=2e-3, weight_decay=1e-4, warmup=200, ema=0.99,
            evaluate_every=500, transforms=(("flip", 0.5), ("flip_vertical", 0.5)),
        ),
    })  # fmt: skip
