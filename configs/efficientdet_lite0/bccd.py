"""EfficientDet-Lite0 for BCCD, blood cells under the microscope (360 photos, three classes), from ImageNet weights.

python -m tools.train --config=configs/efficientdet_lite0/bccd.py --config.data.folder=FOLDER \
    --config.model.backbone_weights=FOLDER/efficientnet_lite0_224.npz
"""

from kerasdet.configs import common
from kerasdet.configs.efficientdet_lite0.own_data import LITE0
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "efficientdet_lite0_bccd",
        "model": {**LITE0, "resize": ("squeeze", 384, 512)},
        "data": common.bccd(),
        "train": common.adamw(
            steps=1500, batch_size=8, warmup=100, ema=0.995, evaluate_every=500,
            transforms=(("flip", 0.5), ("flip_vertical", 0.5), ("zoom", 0.8, 1.4), ("color", 0.1, 0.2, 0.2, 0.02)),
        ),
    })  # fmt: skip
