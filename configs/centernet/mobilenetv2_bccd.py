"""CenterNet on MobileNetV2 for BCCD, blood cells under the microscope (360 photos, three classes).

python -m tools.train --config=configs/centernet/mobilenetv2_bccd.py --config.data.folder=FOLDER \
    --config.model.backbone_weights=FOLDER/mobilenet_v2_1.0_224_notop.h5
"""

from kerasdet.configs import common
from kerasdet.configs.centernet.own_data import RATES, SMALL
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "centernet_mobilenetv2_bccd",
        "model": {**SMALL, "resize": ("centernet_fixed", 320, 320)},
        "data": common.bccd(),
        "train": common.adamw(
            minutes=55.0, batch_size=8, warmup=100, ema=0.998, evaluate_every=500, rates=RATES, seed=0,
            transforms=(("flip", 0.5), ("flip_vertical", 0.5), ("zoom", 0.8, 1.4, 0.0), ("color",)),
        ),
    })  # fmt: skip
