"""SSD on MobileNetV1 0.75 for BCCD, blood cells under the microscope (360 photos), from the weights released for COCO.

python -m tools.import_weights ssd_mobilenet_v1_coco --out=presets/ssd_mobilenet_v1_coco
python -m tools.train --config=configs/ssd_mobilenet/bccd.py --config.data.folder=FOLDER \
    --init_from=presets/ssd_mobilenet_v1_coco
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

from kerasdet.detectors import ssd


def get_config():
    return ConfigDict({
        "name": "ssd_mobilenet_bccd",
        "model": {
            "name": "SSD",
            **ssd.mobilenet_v1(0.75),
            "extra_norm": None,
            "tensorflow_boxes": 0.075,
            "scales": (0.19, 0.3, 0.42, 0.56, 0.7, 0.85, 1.0),
            "ratios": ((0.75,), *((2, 3),) * 5),
            "resize": ("squeeze", 384, 512),
        },
        "data": common.bccd(),
        "train": common.adamw(
            steps=2500, batch_size=8, warmup=100, ema=0.99, evaluate_every=1250, init_from="ssd_mobilenet_v1_coco",
            transforms=(("flip", 0.5), ("flip_vertical", 0.5), ("zoom", 0.8, 1.4), ("color", 0.1, 0.2, 0.2, 0.02)),
        ),
    })  # fmt: skip
