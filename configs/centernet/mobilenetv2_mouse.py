"""CenterNet with joints on MobileNetV2 for a mouse in an open field (116 photos): snout, ears and tail base.

python -m tools.train --config=configs/centernet/mobilenetv2_mouse.py --config.data.folder=FOLDER \
    --config.model.backbone_weights=FOLDER/mobilenet_v2_1.0_224_notop.h5
"""

from kerasdet.configs import common
from kerasdet.configs.centernet.own_data import RATES, SMALL
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "centernet_mouse",
        "model": {**SMALL, "keypoints": 4, "resize": ("centernet_fixed", 384, 384)},
        "data": common.splits("data/mouse_keypoints"),
        "train": common.adamw(
            minutes=30.0, batch_size=8, warmup=100, ema=0.995, evaluate_every=300,
            rates={**RATES, "heads/joint/*/predictor/*": 10.0},
            transforms=(("flip", 0.5), ("flip_vertical", 0.5), ("rotate",), ("zoom", 0.8, 1.25, 0.0), ("color",)),
        ),
        "evaluate": {"sigmas": 0.05},
    })  # fmt: skip
