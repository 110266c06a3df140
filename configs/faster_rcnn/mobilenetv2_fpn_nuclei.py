"""Faster R-CNN on MobileNetV2-FPN for nuclei under the microscope (130 photos, up to 198 objects a photo).

Mask R-CNN's settings for these photos, without masks.

python -m tools.train --config=configs/faster_rcnn/mobilenetv2_fpn_nuclei.py --config.data.folder=FOLDER \
    --config.model.backbone_weights=FOLDER/mobilenet_v2_1.0_224_notop.h5
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

MODEL = {
    "name": "FasterRCNN",
    "backbone": "mobilenet_v2",
    "backbone_weights": "imagenet",
    "norm": "frozen",
    "levels": (2, 4),
    "width": 64,
    "sizes": ((16, 24), (32, 48), (64, 96), (128, 192)),
    "rpn_width": 64,
    "before_nms": (1000, 1000),
    "after_nms": (600, 600),
    "fc": (256, 256),
    "roi_batch": 256,
    "beta": 1.0,
    "limit": 300,
    "resize": ("shorter", 448, 640),
}


def get_config():
    return ConfigDict({
        "name": "faster_rcnn_nuclei",
        "model": MODEL,
        "data": common.splits("data/nuclei"),
        "train": common.adamw(
            steps=1000, batch_size=2, warmup=200, ema=0.995, evaluate_every=500, seed=0,
            transforms=(("flip", 0.5), ("flip_vertical", 0.5), ("color", 0.1, 0.2, 0.2, 0.02)),
        ),
        "evaluate": {"max_dets": (1, 100, 300)},
    })  # fmt: skip
