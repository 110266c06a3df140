"""YOLOv3-tiny from its COCO weights on 39 photos of raccoons.

python -m tools.train --config=configs/yolov3_tiny/raccoon.py --config.data.folder=FOLDER \
    --weights=presets/yolov3_tiny_coco --config.train.seed=1
"""

from kerasdet.configs import common
from kerasdet.configs.yolov3_tiny import own_data
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "yolov3_tiny_raccoon",
        "model": own_data.get_config(416).model,
        "data": common.splits("data/raccoon"),
        "train": common.adamw(
            steps=400, batch_size=8, warmup=50, ema=0.98, evaluate_every=400, init_from="yolov3_tiny_coco", seed=0,
            transforms=(("flip", 0.5), ("zoom", 0.7, 1.6), ("color",)),
        ),
    })  # fmt: skip
