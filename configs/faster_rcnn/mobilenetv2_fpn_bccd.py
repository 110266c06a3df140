"""Faster R-CNN on MobileNetV2-FPN for BCCD, blood cells under the microscope (360 photos, three classes).

python -m tools.train --config=configs/faster_rcnn/mobilenetv2_fpn_bccd.py --config.data.folder=FOLDER \
    --config.model.backbone_weights=FOLDER/mobilenet_v2_1.0_224_notop.h5
"""

from ml_collections import ConfigDict


def get_config():
    config = ConfigDict({
        "name": "faster_rcnn_bccd",
        "model": {
            "name": "FasterRCNN",
            "backbone": {"name": "mobilenet_v2", "freeze": 2},
            "backbone_weights": "imagenet",
            "norm": "frozen",
            "levels": (3, 5),
            "width": 128,
            "sizes": ((24, 34), (48, 68), (96, 136), (192, 272)),
            "rpn_width": 128,
            "before_nms": (1000, 500),
            "after_nms": (500, 300),
            "fc": (512, 512),
            "roi_batch": 128,
            "beta": 1.0,
            "resize": ("shorter", 384, 512),
        },
        "data": {"folder": "data/bccd"},
        "train": {
            "steps": 2000,
            "batch_size": 4,
            "optimizer": "adamw",
            "learning_rate": 1e-3,
            "weight_decay": 0.05,
            "warmup": 200,
            "clip_norm": 10.0,
            "ema": 0.995,
            "evaluate_every": 500,
            "transforms": (("flip", 0.5), ("flip_vertical", 0.5), ("zoom", 0.8, 1.4), ("color", 0.1, 0.2, 0.2, 0.02)),
        },
    })  # fmt: skip
    folder = config.data.get_ref("folder")
    for part, split in (("train", "trainval"), ("validation", "val"), ("test", "test")):
        config.data[part] = {"path": folder, "split": split}
    return config
