"""RetinaNet R101-FPN on COCO, the recipe behind 39.1: scale jitter and 1.5 times as long (table 2 of the paper).

Published: AP 39.1 on test-dev (the paper's table 2). Not run here.

python -m tools.train --config=configs/retinanet/r101_fpn_coco.py --config.data.folder=coco
"""

from ml_collections import ConfigDict


def get_config():
    config = ConfigDict({
        "name": "retinanet_r101_fpn_coco",
        "model": {
            "name": "RetinaNet",
            "backbone": {"name": "resnet101_keras", "freeze": 2},
            "backbone_weights": "imagenet",
            "norm": "frozen",
            "resize": ("shorter", 800, 1333),
        },
        "data": {"folder": "data/coco"},
        "train": {
            "steps": 135_000,
            "batch_size": 16,
            "optimizer": "sgd",
            "learning_rate": 0.01,
            "momentum": 0.9,
            "weight_decay": 1e-4,
            "warmup": 500,
            "drops": (90_000, 120_000),
            "clip_norm": None,
            "ema": None,
            "evaluate_every": 15_000,
            "transforms": (("flip", 0.5), ("zoom", 0.8, 1.25)),
        },
    })  # fmt: skip
    folder = config.data.get_ref("folder")
    config.data.train = {"path": folder, "split": "train2017"}
    config.data.validation = {"path": folder, "split": "val2017"}
    return config
