"""SSDLite on MobileNetV2, from ImageNet weights, for your own photos: `kerasdet train FOLDER --model ssdlite`.

The number behind the colon is the side of what the network sees, pixels; photos are squeezed to a square of it.

python -m tools.train FOLDER --config=configs/ssdlite/own_data.py:300
"""

from kerasdet.configs import common
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
        "data": common.photos(),
        "train": common.adamw(
            minutes=30.0, batch_size=8, warmup=100, ema=0.99, evaluate_every=250,
            transforms=(("flip", 0.5), ("zoom", 0.7, 1.5), ("color",)),
        ),
    })  # fmt: skip
