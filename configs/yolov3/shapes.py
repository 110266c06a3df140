"""A small YOLOv3 for the drawn shapes: the tiny network of half width, from random weights.

python -m tools.train --config=configs/yolov3/shapes.py
"""

from kerasdet.configs import common
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "yolov3_shapes",
        "model": {
            "name": "YOLOv3",
            "backbone": "darknet_tiny",
            "width": 0.5,
            "anchors": ((18, 18), (27, 27), (39, 39), (54, 54), (73, 73), (98, 98)),
            "masks": ((3, 4, 5), (0, 1, 2)),
            "resize": ("darknet_stretch", 192, 192),
        },
        "data": common.shapes(),
        "train": common.adamw(
            steps=3000, batch_size=16, learning_rate=2e-3, weight_decay=1e-4, warmup=100, ema=0.99,
            evaluate_every=500, transforms=(("flip", 0.5), ("flip_vertical", 0.5)),
        ),
    })  # fmt: skip
