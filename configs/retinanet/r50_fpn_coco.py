"""RetinaNet R50-FPN on COCO, the paper's recipe: 90k steps of 16 images at side 800.

Published: AP 35.7 (the paper's table 1e, and Detectron). Not run here.

python -m tools.train --config=configs/retinanet/r50_fpn_coco.py --config.data.folder=coco
"""

from ml_collections import ConfigDict


def get_config():
    config = ConfigDict({
        "name": "retinanet_r50_fpn_coco",
        "model": {
            "name": "RetinaNet",
            "backbone": {"name": "resnet50_keras", "freeze": 2},
            "backbone_weights": "imagenet",
            "norm": "frozen",
            "resize": ("shorter", 800, 1333),
        },
        "data": {"folder": "data/coco"},
        "train": {
            "steps": 90_000,
            "batch_size": 16,
            "optimizer": "sgd",
            "learning_rate": 0.01,
            "momentum": 0.9,
            "weight_decay": 1e-4,
            "warmup": 500,
            "drops": (60_000, 80_000),
            "clip_norm": None,
            "ema": None,
            "evaluate_every": 10_000,
            "transforms": (("flip", 0.5),),
        },
    })  # fmt: skip
    folder = config.data.get_ref("folder")
    config.data.train = {"path": folder, "split": "train2017"}
    config.data.validation = {"path": folder, "split": "val2017"}
    return config
