"""RetinaNet on MobileNetV2-FPN for BCCD, blood cells under the microscope (360 photos, three classes).

python -m tools.train --config=configs/retinanet/mobilenetv2_fpn_bccd.py --config.data.folder=FOLDER \
    --config.model.backbone_weights=FOLDER/mobilenet_v2_1.0_224_notop.h5
"""

from ml_collections import ConfigDict


def get_config():
    config = ConfigDict({
        "name": "mobilenetv2_fpn_bccd",
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
        "data": {"folder": "data/bccd"},
        "train": {
            "steps": 3000,
            "batch_size": 4,
            "optimizer": "adamw",
            "learning_rate": 1e-3,
            "weight_decay": 0.05,
            "warmup": 200,
            "clip_norm": 10.0,
            "ema": 0.998,
            "evaluate_every": 1000,
            "transforms": (("flip", 0.5), ("flip_vertical", 0.5), ("zoom", 0.8, 1.4), ("color", 0.1, 0.2, 0.2, 0.02)),
        },
    })  # fmt: skip
    folder = config.data.get_ref("folder")
    for part, split in (("train", "trainval"), ("validation", "val"), ("test", "test")):
        config.data[part] = {"path": folder, "split": split}
    return config
