"""A small YOLOv2 for the drawn shapes: the tiny network of half width, from random weights.

python -m tools.train --config=configs/yolov2/shapes.py
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

from kerasdet.detectors import yolov2


def get_config():
    return ConfigDict({
        "name": "yolov2_shapes",
        "model": {
            "name": "YOLOv2",
            **yolov2.TINY_COCO,
            "width": 0.5,
            "anchors": ((0.8, 0.8), (1.3, 1.3), (1.9, 1.9), (2.7, 2.7), (3.9, 3.9)),
            "resize": ("darknet_stretch", 256, 256),
        },
        "data": common.shapes(),
        "train": common.adamw(
            steps=2000, batch_size=16, learning_rate=2e-3, weight_decay=1e-4, warmup=100, ema=0.99,
            evaluate_every=500, transforms=(("flip", 0.5), ("flip_vertical", 0.5)),
        ),
    })  # fmt: skip
