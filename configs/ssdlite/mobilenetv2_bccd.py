"""SSDLite on MobileNetV2 for BCCD, blood cells under the microscope (360 photos), from ImageNet weights.

python -m tools.train --config=configs/ssdlite/mobilenetv2_bccd.py --config.data.folder=FOLDER \
    --config.model.backbone_weights=FOLDER/mobilenet_v2_1.0_224_notop.h5
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

from kerasdet.detectors import ssd


def get_config():
    return ConfigDict({
        "name": "ssdlite_mobilenetv2_bccd",
        "model": {
            "name": "SSD",
            **ssd.SSDLITE_V2,
            "backbone_weights": "imagenet",
            "tensorflow_boxes": 0.075,
            "scales": (0.19, 0.3, 0.42, 0.56, 0.7, 0.85, 1.0),
            "ratios": ((0.75,), *((2, 3),) * 5),
            "resize": ("squeeze", 300, 300),
        },
        "data": common.bccd(),
        "train": common.adamw(
            steps=1200, batch_size=8, warmup=100, ema=0.99, evaluate_every=600,
            transforms=(("flip", 0.5), ("flip_vertical", 0.5), ("zoom", 0.8, 1.4), ("color", 0.1, 0.2, 0.2, 0.02)),
        ),
    })  # fmt: skip
