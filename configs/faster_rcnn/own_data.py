"""Faster R-CNN on MobileNetV2-FPN for a folder of your own photos: `kerasdet train FOLDER --model faster_rcnn`.

The number behind the colon is the shorter side of what the network sees, pixels:

python -m tools.train FOLDER --config=configs/faster_rcnn/own_data.py:320 --config.train.batch_size=8
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

SMALL = {
    "name": "FasterRCNN",
    "backbone": {"name": "mobilenet_v2", "freeze": 2},
    "backbone_weights": "imagenet",
    "norm": "frozen",
    "levels": (3, 5),
    "width": 128,
    "sizes": ((24, 34), (48, 68), (96, 136), (192, 272)),
    "rpn_width": 128,
    "before_nms": (1000, 500),
    "after_nms": (500, 300),
    "fc": (512, 512),
    "roi_batch": 128,
    "beta": 1.0,
}


def get_config(size=384):
    size = int(size)
    return ConfigDict({
        "name": "own_data",
        "model": {**SMALL, "resize": ("shorter", size, size * 4 // 3)},
        "data": common.photos(),
        "train": common.adamw(
            minutes=60.0, batch_size=4, warmup=200, ema=0.995, evaluate_every=500,
            transforms=(("flip", 0.5), ("zoom", 0.7, 1.5), ("color",)),
        ),
    })  # fmt: skip
