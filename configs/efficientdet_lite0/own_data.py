"""EfficientDet-Lite0, what phones run, for your own photos: `kerasdet train FOLDER --model=efficientdet_lite0`.

Its ImageNet weights are an .npz file of the release's tensors, given by --weights. The number behind the colon is the
side of what the network sees, pixels:

python -m tools.train FOLDER --config=configs/efficientdet_lite0/own_data.py:320 --weights=efficientnet_lite0_224.npz
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

from kerasdet.detectors import efficientdet

LITE0 = {
    "name": "EfficientDet",
    **efficientdet.FORMS["lite0"],
    "backbone_weights": "imagenet",
    "norm": "frozen",
    "norm_momentum": 0.9,
    "above": 0.01,
}


def get_config(size=320):
    size = int(size)
    return ConfigDict({
        "name": "efficientdet_lite0",
        "model": {**LITE0, "resize": ("corner", size, size)},
        "data": common.photos(),
        "train": common.adamw(
            minutes=30.0, batch_size=8, warmup=100, ema=0.99, evaluate_every=250,
            transforms=(("flip", 0.5), ("zoom", 0.7, 1.5), ("color",)),
        ),
    })  # fmt: skip
