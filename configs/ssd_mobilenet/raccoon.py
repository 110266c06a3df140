"""SSD on MobileNetV1 0.75 for 39 photos of raccoons, from the weights released for COCO.

python -m tools.train --config=configs/ssd_mobilenet/raccoon.py --config.data.folder=FOLDER \
    --init_from=presets/ssd_mobilenet_v1_coco --config.train.seed=1
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

from kerasdet.detectors import ssd


def get_config():
    return ConfigDict({
        "name": "ssd_mobilenet_raccoon",
        "model": {"name": "SSD", **ssd.mobilenet_v1(0.75), "extra_norm": None, "resize": ("squeeze", 300, 300)},
        "data": common.splits("data/raccoon"),
        "train": common.adamw(
            steps=400, batch_size=8, warmup=50, ema=0.99, evaluate_every=200, seed=0,
            init_from="ssd_mobilenet_v1_coco", transforms=(("flip", 0.5), ("zoom", 0.7, 1.6), ("color",)),
        ),
    })  # fmt: skip
