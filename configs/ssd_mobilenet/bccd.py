"""SSD on MobileNetV1 0.75 for BCCD, blood cells under the microscope (360 photos), from the weights released for COCO.

python -m tools.import_weights ssd_mobilenet_v1_coco --out=presets/ssd_mobilenet_v1_coco
python -m tools.train --config=configs/ssd_mobilenet/bccd.py --config.data.folder=FOLDER \
    --init_from=presets/ssd_mobilenet_v1_coco
"""

from ml_collections import ConfigDict

from kerasdet.detectors import ssd


def get_config():
    config = ConfigDict({
        "name": "ssd_mobilenet_bccd",
        "model": {
            "name": "SSD",
            **ssd.mobilenet_v1(0.75),
            "extra_norm": None,
            "tensorflow_boxes": 0.075,
            "scales": (0.19, 0.3, 0.42, 0.56, 0.7, 0.85, 1.0),
            "ratios": ((0.75,), *((2, 3),) * 5),
            "resize": ("squeeze", 384, 512),
        },
        "data": {"folder": "data/bccd"},
        "train": {
            "steps": 2500,
            "batch_size": 8,
            "optimizer": "adamw",
            "learning_rate": 1e-3,
            "weight_decay": 0.05,
            "warmup": 100,
            "clip_norm": 10.0,
            "ema": 0.99,
            "evaluate_every": 1250,
            "init_from": "ssd_mobilenet_v1_coco",
            "transforms": (("flip", 0.5), ("flip_vertical", 0.5), ("zoom", 0.8, 1.4), ("color", 0.1, 0.2, 0.2, 0.02)),
        },
    })  # fmt: skip
    folder = config.data.get_ref("folder")
    for part, split in (("train", "trainval"), ("validation", "val"), ("test", "test")):
        config.data[part] = {"path": folder, "split": split}
    return config
