"""RetinaNet on MobileNetV2-FPN for a folder of your own photos, COCO or Pascal VOC: some hundred photos, one laptop.

python -m tools.train --config=configs/retinanet/own_data.py --config.data.folder=FOLDER --run=runs/mine
"""

from ml_collections import ConfigDict


def get_config():
    config = ConfigDict({
        "name": "own_data",
        "model": {
            "name": "RetinaNet",
            "backbone": "mobilenet_v2",
            "backbone_weights": "imagenet",
            "norm": "frozen",
            "levels": (3, 6),
            "extra_from": "p",
            "width": 128,
            "depth": 2,
            "head_norm": "group",
            "box_loss": "giou",
            "box_weight": 2.0,
            "resize": ("shorter", 384, 512),
        },
        "data": {"folder": "data"},
        "train": {
            "steps": 2000,
            "batch_size": 4,
            "optimizer": "adamw",
            "learning_rate": 1e-3,
            "weight_decay": 0.05,
            "warmup": 200,
            "clip_norm": 10.0,
            "ema": 0.998,
            "evaluate_every": 500,
            "transforms": (("flip", 0.5), ("zoom", 0.7, 1.5), ("color",)),
        },
    })  # fmt: skip
    folder = config.data.get_ref("folder")
    config.data.train = {"path": folder, "split": "train"}
    config.data.validation = {"path": folder, "split": "val"}
    return config
