"""Keypoint R-CNN on MobileNetV2-FPN for a mouse in an open field (116 photos): snout, ears and tail base.

python -m tools.train --config=configs/mask_rcnn/mobilenetv2_fpn_mouse.py --config.data.folder=FOLDER \
    --config.model.backbone_weights=FOLDER/mobilenet_v2_1.0_224_notop.h5
"""

from kerasdet.configs import common
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "keypoint_rcnn_mouse",
        "model": {
            "name": "MaskRCNN",
            "masks": False,
            "keypoints": 4,
            "backbone": "mobilenet_v2",
            "backbone_weights": "imagenet",
            "norm": "frozen",
            "levels": (3, 5),
            "width": 128,
            "sizes": ((32,), (64,), (128,), (256,)),
            "rpn_width": 128,
            "before_nms": (500, 200),
            "after_nms": (200, 50),
            "fc": (256, 256),
            "roi_batch": 64,
            "beta": 1.0,
            "keypoint_convs": 4,
            "keypoint_width": 128,
            "resize": ("shorter", 320, 427),
        },
        "data": common.splits("data/mouse_keypoints"),
        "train": common.adamw(
            steps=1200, batch_size=4, warmup=100, ema=0.995, evaluate_every=400,
            transforms=(("flip", 0.5), ("flip_vertical", 0.5), ("rotate",), ("zoom", 0.8, 1.25), ("color",)),
        ),
        "evaluate": {"sigmas": 0.05},
    })  # fmt: skip
