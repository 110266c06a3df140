"""SSD on MobileNetV1, trained on COCO, for a folder of your own photos: `kerasdet train FOLDER --model ssd_mobilenet`.

The number behind the colon is the side of what the network sees, pixels; photos are squeezed to a square of it.

python -m tools.train FOLDER --config=configs/ssd_mobilenet/own_data.py:300 --weights=presets/ssd_mobilenet_v1_coco
"""

from ml_collections import ConfigDict

from kerasdet.detectors import ssd


def get_config(size=300):
    size = int(size)
    return ConfigDict({
        "name": "ssd_mobilenet",
        "model": {
            "name": "SSD",
            **ssd.mobilenet_v1(0.75),
            "backbone_weights": None,
            "extra_norm": None,
            "resize": ("squeeze", size, size),
        },
        # A folder without splits is split: this share of its photos is for validation.
        "data": {"folder": "photos", "share": 0.2, "seed": 0},
        "train": {
            "minutes": 30.0,
            "batch_size": 8,
            "optimizer": "adamw",
            "learning_rate": 1e-3,
            "weight_decay": 0.05,
            "warmup": 100,
            "clip_norm": 10.0,
            "ema": 0.99,
            "evaluate_every": 250,
            "init_from": "ssd_mobilenet_v1_coco",
            "transforms": (("flip", 0.5), ("zoom", 0.7, 1.5), ("color",)),
        },
    })  # fmt: skip
