"""EfficientDet-Lite0 for 39 photos of raccoons, from ImageNet weights: BCCD's settings with fewer steps.

python -m tools.train --config=configs/efficientdet_lite0/raccoon.py --config.data.folder=FOLDER \
    --config.model.backbone_weights=FOLDER/efficientnet_lite0_224.npz --config.train.seed=1
"""

from kerasdet.configs import common
from kerasdet.configs.efficientdet_lite0.own_data import LITE0
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "efficientdet_lite0_raccoon",
        "model": {**LITE0, "resize": ("corner", 320, 320)},
        "data": common.splits("data/raccoon"),
        "train": common.adamw(
            steps=400, batch_size=8, warmup=50, ema=0.99, evaluate_every=200, seed=0,
            transforms=(("flip", 0.5), ("zoom", 0.7, 1.6), ("color",)),
        ),
    })  # fmt: skip
