"""RetinaNet on MobileNetV2-FPN for 39 photos of raccoons: the recipe of BCCD with fewer steps.

python -m tools.train --config=configs/retinanet/mobilenetv2_fpn_raccoon.py --config.data.folder=FOLDER \
    --config.model.backbone_weights=FOLDER/mobilenet_v2_1.0_224_notop.h5 --config.train.seed=1
"""

from ml_collections import ConfigDict


def get_config():
    config = ConfigDict({
        "name": "mobilenetv2_fpn_raccoon",
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
            "resize": ("letterbox", 320, 320),
        },
        "data": {"folder": "data/raccoon"},
        "train": {
            "steps": 300,
            "batch_size": 4,
            "optimizer": "adamw",
            "learning_rate": 1e-3,
            "weight_decay": 0.05,
            "warmup": 50,
            "clip_norm": 10.0,
            "ema": 0.99,
            "evaluate_every": 300,
            "transforms": (("flip", 0.5), ("zoom", 0.7, 1.6), ("color",)),
            "seed": 0,
        },
    })  # fmt: skip
    folder = config.data.get_ref("folder")
    config.data.train = {"path": folder, "split": "train"}
    config.data.validation = {"path": folder, "split": "val"}
    return config
