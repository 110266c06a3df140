"""Faster R-CNN on MobileNetV2-FPN for a folder of your own photos: `kerasdet train FOLDER --model faster_rcnn`.

The number behind the colon is the shorter side of what the network sees, pixels:

python -m tools.train FOLDER --config=configs/faster_rcnn/own_data.py:320 --config.train.batch_size=8
"""

from ml_collections import ConfigDict


def get_config(size=384):
    size = int(size)
    return ConfigDict({
        "name": "own_data",
        "model": {
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
            "resize": ("shorter", size, size * 4 // 3),
        },
        # A folder without splits is split: this share of its photos is for validation.
        "data": {"folder": "photos", "share": 0.2, "seed": 0},
        "train": {
            "minutes": 60.0,
            "batch_size": 4,
            "optimizer": "adamw",
            "learning_rate": 1e-3,
            "weight_decay": 0.05,
            "warmup": 200,
            "clip_norm": 10.0,
            "ema": 0.995,
            "evaluate_every": 500,
            "transforms": (("flip", 0.5), ("zoom", 0.7, 1.5), ("color",)),
        },
    })  # fmt: skip
