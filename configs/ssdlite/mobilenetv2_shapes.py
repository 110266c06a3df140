"""SSDLite on MobileNetV2, half as wide, from scratch on the drawn shapes: a start without any download.

python -m tools.train --config=configs/ssdlite/mobilenetv2_shapes.py
"""

from ml_collections import ConfigDict

from kerasdet.detectors import ssd


def get_config():
    return ConfigDict({
        "name": "ssdlite_shapes",
        "model": {
            "name": "SSD",
            **ssd.SSDLITE_V2,
            "backbone": {"name": "mobilenet_v2", "alpha": 0.5},
            "norm": "batch",
            "scores": "softmax",
            "resize": ("stretch", 160, 160),
        },
        "data": {"train": {"path": "shapes", "split": "train"}, "validation": {"path": "shapes", "split": "val"}},
        "train": {
            "steps": 2000,
            "batch_size": 16,
            "optimizer": "adamw",
            "learning_rate": 2e-3,
            "weight_decay": 0.05,
            "warmup": 200,
            "clip_norm": 10.0,
            "ema": 0.99,
            "evaluate_every": 500,
            "transforms": (("flip", 0.5),),
        },
    })  # fmt: skip
