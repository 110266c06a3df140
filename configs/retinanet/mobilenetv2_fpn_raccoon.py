"""RetinaNet on MobileNetV2-FPN for 39 photos of raccoons: BCCD's settings with fewer steps.

python -m tools.train --config=configs/retinanet/mobilenetv2_fpn_raccoon.py --config.data.folder=FOLDER \
    --config.model.backbone_weights=FOLDER/mobilenet_v2_1.0_224_notop.h5 --config.train.seed=1
"""

from kerasdet.configs import common
from kerasdet.configs.retinanet.own_data import SMALL
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "mobilenetv2_fpn_raccoon",
        "model": {**SMALL, "resize": ("letterbox", 320, 320)},
        "data": common.splits("data/raccoon"),
        "train": common.adamw(
            steps=300, batch_size=4, warmup=50, ema=0.99, evaluate_every=300, seed=0,
            transforms=(("flip", 0.5), ("zoom", 0.7, 1.6), ("color",)),
        ),
    })  # fmt: skip
