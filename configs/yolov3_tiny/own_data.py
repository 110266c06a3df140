"""YOLOv3-tiny, trained on COCO, for a folder of your own photos: `kerasdet train FOLDER --model=yolov3_tiny`.

The number behind the colon is the side of what the network sees, pixels, a multiple of 32:

python -m tools.train FOLDER --config=configs/yolov3_tiny/own_data.py:416 --weights=presets/yolov3_tiny_coco
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

from kerasdet.detectors import yolov3


def get_config(size=416):
    size = int(size)
    return ConfigDict({
        "name": "yolov3_tiny",
        "model": {
            "name": "YOLOv3",
            **yolov3.TINY,
            "norm": "batch",
            "backbone_weights": None,
            "resize": ("darknet_letterbox", size, size),
        },
        "data": common.photos(),
        "train": common.adamw(
            minutes=30.0, batch_size=8, warmup=100, ema=0.99, evaluate_every=250, init_from="yolov3_tiny_coco",
            transforms=(("flip", 0.5), ("jitter", 0.2), ("distort", 0.05, 1.3, 1.3)),
        ),
    })  # fmt: skip
