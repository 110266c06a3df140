"""SSDLite on MobileNetV2, from ImageNet weights, for your own photos: `kerasdet train FOLDER --model ssdlite`.

The number behind the colon is the side of what the network sees, pixels; photos are squeezed to a square of it.

python -m tools.train FOLDER --config=configs/ssdlite/own_data.py:300
"""

from ml_collections import ConfigDict

from kerasdet.detectors import ssd


def get_config(size=300):
    size = int(size)
    return ConfigDict({
        "name": "ssdlite",
        "model": {
            "name": "SSD",
            **ssd.SSDLITE_V2,
            "backbone_weights": "imagenet",
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
            "transforms": (("flip", 0.5), ("zoom", 0.7, 1.5), ("color",)),
        },
    })  # fmt: skip
