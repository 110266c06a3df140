"""CenterNet on MobileNetV2 for 39 photos of raccoons, which are large: 224 pixels show enough of them.

python -m tools.train --config=configs/centernet/mobilenetv2_raccoon.py --config.data.folder=FOLDER \
    --config.model.backbone_weights=FOLDER/mobilenet_v2_1.0_224_notop.h5 --config.train.seed=1
"""

from kerasdet.configs import common
from kerasdet.configs.centernet.own_data import RATES, SMALL
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "centernet_mobilenetv2_raccoon",
        "model": {**SMALL, "resize": ("centernet_fixed", 224, 224)},
        "data": common.splits("data/raccoon"),
        "train": common.adamw(
            steps=800, batch_size=4, warmup=50, ema=0.99, evaluate_every=400, rates=RATES, seed=0,
            transforms=(("flip", 0.5), ("zoom", 0.7, 1.6, 0.0), ("color",)),
        ),
    })  # fmt: skip
