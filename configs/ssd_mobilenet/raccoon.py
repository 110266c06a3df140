"""SSD on MobileNetV1 0.75 for 39 photos of raccoons, from the weights released for COCO.

python -m tools.train --config=configs/ssd_mobilenet/raccoon.py --config.data.folder=FOLDER \
    --init_from=presets/ssd_mobilenet_v1_coco --config.train.seed=1
"""

from ml_collections import ConfigDict

from kerasdet.detectors import ssd


def get_config():
    config = ConfigDict({
        "name": "ssd_mobilenet_raccoon",
        "model": {"name": "SSD", **ssd.mobilenet_v1(0.75), "extra_norm": None, "resize": ("squeeze", 300, 300)},
        "data": {"folder": "data/raccoon"},
        "train": {
            "steps": 400,
            "batch_size": 8,
            "optimizer": "adamw",
            "learning_rate": 1e-3,
            "weight_decay": 0.05,
            "warmup": 50,
            "clip_norm": 10.0,
            "ema": 0.99,
            "evaluate_every": 200,
            "init_from": "ssd_mobilenet_v1_coco",
            "transforms": (("flip", 0.5), ("zoom", 0.7, 1.6), ("color",)),
            "seed": 0,
        },
    })  # fmt: skip
    folder = config.data.get_ref("folder")
    for part, split in (("train", "train"), ("validation", "val")):
        config.data[part] = {"path": folder, "split": split}
    return config
