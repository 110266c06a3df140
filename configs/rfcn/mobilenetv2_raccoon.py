"""R-FCN on MobileNetV2 for 39 photos of raccoons: BCCD's settings with fewer steps.

python -m tools.train --config=configs/rfcn/mobilenetv2_raccoon.py --config.data.folder=FOLDER \
    --config.model.backbone_weights=FOLDER/mobilenet_v2_1.0_224_notop.h5 --config.train.seed=1
"""

from kerasdet.configs import common
from kerasdet.configs.rfcn.mobilenetv2_bccd import SMALL
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "rfcn_raccoon",
        "model": {**SMALL, "sizes": ((64, 96, 144, 216, 324),), "resize": ("shorter", 320, 480)},
        "data": common.splits("data/raccoon"),
        "train": common.adamw(
            steps=400, batch_size=4, warmup=50, ema=0.99, evaluate_every=200, seed=0,
            transforms=(("flip", 0.5), ("zoom", 0.7, 1.4), ("color",)),
        ),
    })  # fmt: skip
