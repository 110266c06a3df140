"""RetinaNet on a quarter-width ResNet-18 and the embedded `shapes`: what `make quickstart` trains."""

from kerasdet.configs import common
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "quickstart",
        "model": {
            "name": "RetinaNet",
            "backbone": {"name": "resnet18", "width": 24},
            "norm": "batch",
            "levels": (3, 6),
            "width": 64,
            "depth": 2,
            "head_norm": "group",
            "octaves": 3,
            "ratios": (1.0,),
            "box_loss": "giou",
            "box_weight": 2.0,
            "scale": 2.0,
            "resize": ("stretch", 192, 192),
        },
        "data": common.shapes(),
        "train": common.adamw(
            steps=1800, batch_size=8, learning_rate=2e-3, weight_decay=1e-4, warmup=100, ema=0.99,
            evaluate_every=900,
            transforms=(("flip", 0.5), ("flip_vertical", 0.5)),
        ),
    })  # fmt: skip
