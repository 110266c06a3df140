"""RetinaNet on MobileNetV2-FPN for a folder of your own photos, some hundred on one laptop: `kerasdet train FOLDER`.

The number behind the colon is the shorter side of what the network sees, pixels:

python -m tools.train FOLDER --config=configs/retinanet/own_data.py:320 --config.train.batch_size=8
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

SMALL = {
    "name": "RetinaNet",
    "backbone": "mobilenet_v2",
    "backbone_weights": "imagenet",
    "norm": "frozen",
    "levels": (3, 6),
    "extra_from": "p",
    "width": 128,
    "depth": 2,
    "head_norm": "group",
    "box_loss": "giou",
    "box_weight": 2.0,
}


def get_config(size=384):
    size = int(size)
    return ConfigDict({
        "name": "own_data",
        "model": {**SMALL, "resize": ("shorter", size, size * 4 // 3)},
        "data": common.photos(),
        "train": common.adamw(
            minutes=60.0, batch_size=4, warmup=200, ema=0.998, evaluate_every=500,
            transforms=(("flip", 0.5), ("zoom", 0.7, 1.5), ("color",)),
        ),
    })  # fmt: skip
