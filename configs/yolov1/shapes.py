"""A small YOLOv1 for the drawn shapes: the fast network of a quarter of the width, from random weights.

A cell holds one object, so the pictures are enlarged to seven cells a side.

python -m tools.train --config=configs/yolov1/shapes.py
"""

from kerasdet.configs import common
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "yolov1_shapes",
        "model": {
            "name": "YOLOv1",
            "network": "fast",
            "norm": "batch",
            "width": 0.25,
            "hidden": ("local", 128),
            "dropout": 0.2,
            "resize": ("darknet_stretch", 448, 448),
        },
        "data": common.shapes(),
        "train": common.adamw(
            steps=2000, batch_size=16, learning_rate=1e-3, weight_decay=1e-4, warmup=100, ema=0.99,
            evaluate_every=500, transforms=(("flip", 0.5), ("flip_vertical", 0.5)),
        ),
    })  # fmt: skip
