"""RefineDet on MobileNetV2, from ImageNet weights, for your own photos: `kerasdet train FOLDER --model=refinedet`.

The number behind the colon is the side of what the network sees, pixels, a multiple of 64; photos are squeezed to a
square of it.

python -m tools.train FOLDER --config=configs/refinedet/own_data.py:320
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

SMALL = {
    "name": "RefineDet",
    "backbone": "mobilenet_v2",
    "backbone_weights": "imagenet",
    "norm": "frozen",
    "l2_norm": (),
    "extras": ((256, 3, 2, 1),),
    "width": 128,
    "extra_norm": "batch",
    "limit": 200,
}


def get_config(size=320):
    size = int(size)
    return ConfigDict({
        "name": "refinedet",
        "model": {**SMALL, "resize": ("squeeze", size, size)},
        "data": common.photos(),
        "train": common.adamw(
            minutes=30.0, batch_size=8, warmup=100, ema=0.99, evaluate_every=250,
            transforms=(("flip", 0.5), ("zoom", 0.7, 1.5), ("color",)),
        ),
    })  # fmt: skip
