"""YOLOv3-tiny from its COCO weights on BCCD, blood cells under the microscope (360 photos, three classes).

python -m tools.train --config=configs/yolov3_tiny/bccd.py --config.data.folder=FOLDER \
    --weights=presets/yolov3_tiny_coco
"""

from kerasdet.configs import common
from kerasdet.configs.yolov3_tiny import own_data
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "yolov3_tiny_bccd",
        "model": own_data.get_config(416).model,
        "data": common.bccd(),
        "train": common.adamw(
            steps=2000, batch_size=8, warmup=100, ema=0.99, evaluate_every=250, init_from="yolov3_tiny_coco", seed=0,
            transforms=(("flip", 0.5), ("flip_vertical", 0.5), ("zoom", 0.8, 1.4), ("distort", 0.02, 1.2, 1.2)),
        ),
    })  # fmt: skip
