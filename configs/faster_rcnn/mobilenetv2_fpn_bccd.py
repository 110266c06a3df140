"""Faster R-CNN on MobileNetV2-FPN for BCCD, blood cells under the microscope (360 photos, three classes).

python -m tools.train --config=configs/faster_rcnn/mobilenetv2_fpn_bccd.py --config.data.folder=FOLDER \
    --config.model.backbone_weights=FOLDER/mobilenet_v2_1.0_224_notop.h5
"""

from kerasdet.configs import common
from kerasdet.configs.faster_rcnn.own_data import SMALL
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "faster_rcnn_bccd",
        "model": {**SMALL, "resize": ("shorter", 384, 512)},
        "data": common.bccd(),
        "train": common.adamw(
            steps=2000, batch_size=4, warmup=200, ema=0.995, evaluate_every=500,
            transforms=(("flip", 0.5), ("flip_vertical", 0.5), ("zoom", 0.8, 1.4), ("color", 0.1, 0.2, 0.2, 0.02)),
        ),
    })  # fmt: skip
