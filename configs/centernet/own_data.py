"""CenterNet on MobileNetV2 for a folder of your own photos: `kerasdet train FOLDER --model=centernet`.

The number behind the colon is the longer side of what the network sees, pixels, a multiple of 32:

python -m tools.train FOLDER --config=configs/centernet/own_data.py:320
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

SMALL = {
    "name": "CenterNet",
    "backbone": "mobilenet_v2",
    "backbone_weights": "imagenet",
    "norm": "frozen",
    "deconvs": (128, 96, 64),
    "laterals": True,
    "head_width": 64,
}

# At the rate of new layers, a pretrained backbone soon overfits a few photos. Sizes are predicted in cells, numbers of
# several tens, and Adam changes a weight by about the learning rate per step at most: short runs would end too early.
RATES = {"backbone/*": 0.1, "heads/size/*/predictor/*": 10.0}


def get_config(size=384):
    size = int(size)
    return ConfigDict({
        "name": "own_data",
        "model": {**SMALL, "resize": ("centernet_fixed", size, size)},
        "data": common.photos(),
        "train": common.adamw(
            minutes=60.0, batch_size=8, warmup=200, ema=0.998, evaluate_every=500, rates=RATES,
            transforms=(("flip", 0.5), ("zoom", 0.7, 1.5, 0.0), ("color",)),
        ),
    })  # fmt: skip
