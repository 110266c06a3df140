"""RefineDet on MobileNetV2 for BCCD, blood cells under the microscope (360 photos), from ImageNet weights.

python -m tools.train --config=configs/refinedet/mobilenetv2_bccd.py --config.data.folder=FOLDER \
    --config.model.backbone_weights=FOLDER/mobilenet_v2_1.0_224_notop.h5
"""

from kerasdet.configs import common
from kerasdet.configs.refinedet.own_data import SMALL
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "refinedet_bccd",
        "model": {**SMALL, "resize": ("squeeze", 384, 512)},
        "data": common.bccd(),
        "train": common.adamw(
            steps=1500, batch_size=8, warmup=100, ema=0.99, evaluate_every=500,
            transforms=(("flip", 0.5), ("flip_vertical", 0.5), ("zoom", 0.8, 1.4), ("color", 0.1, 0.2, 0.2, 0.02)),
        ),
    })  # fmt: skip
