"""R-FCN on MobileNetV2 for BCCD, blood cells under the microscope (360 photos, three classes).

Its last stage is dilated, so that maps keep stride 16. The photos are seen at their own size, where a platelet is two
cells wide.

python -m tools.train --config=configs/rfcn/mobilenetv2_bccd.py --config.data.folder=FOLDER \
    --config.model.backbone_weights=FOLDER/mobilenet_v2_1.0_224_notop.h5
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

SMALL = {
    "name": "RFCN",
    "backbone": {"name": "mobilenet_v2", "freeze": 2, "output_stride": 16},
    "backbone_weights": "imagenet",
    "norm": "frozen",
    "width": 256,
    "bins": 3,
    "roi_layer": "align",
    "rpn_width": 128,
    "rpn_side": 1.0,
    "crossing": True,
    "before_nms": (1000, 500),
    "after_nms": (300, 300),
    "roi_batch": 128,
    "suppression": 0.5,
}


def get_config():
    return ConfigDict({
        "name": "rfcn_bccd",
        "model": {**SMALL, "sizes": ((32, 48, 72, 108, 162, 243),), "resize": ("shorter", 480, 640)},
        "data": common.bccd(),
        "train": common.adamw(
            steps=2000, batch_size=4, warmup=200, ema=0.995, evaluate_every=500, seed=0,
            transforms=(("flip", 0.5), ("flip_vertical", 0.5), ("zoom", 0.8, 1.4), ("color", 0.1, 0.2, 0.2, 0.02)),
        ),
    })  # fmt: skip
