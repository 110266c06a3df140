"""RetinaNet on MobileNetV2-FPN for a folder of your own photos, some hundred on one laptop: `kerasdet train FOLDER`.

The number behind the colon is the shorter side of what the network sees, pixels:

python -m tools.train FOLDER --config=configs/retinanet/own_data.py:320 --config.train.batch_size=8
"""

from ml_collections import ConfigDict


def get_config(size=384):
    size = int(size)
    return ConfigDict({
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
            "resize": ("shorter", size, size * 4 // 3),
        },
        # A folder without splits is split: this share of its photos is for validation.
        "data": {"folder": "photos", "share": 0.2, "seed": 0},
        "train": {
            "minutes": 60.0,
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
