"""SSDLite on MobileNetV2, half as wide, from scratch on the drawn shapes: a start without any download.

A map of stride 8 and square default boxes from a tenth of the picture on, because the shapes are small and square.

python -m tools.train --config=configs/ssdlite/mobilenetv2_shapes.py
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

from kerasdet.detectors import ssd


def get_config():
    form = ssd.SSDLITE_V2
    return ConfigDict({
        "name": "ssdlite_shapes",
        "model": {
            "name": "SSD",
            **form,
            "backbone": {"name": "mobilenet_v2", "alpha": 0.5},
            "norm": "batch",
            "levels": (3, 5),
            "extras": form["extras"][:3],
            "tensorflow_boxes": None,
            "scales": (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95),
            "ratios": ((), (), (2,), (2,), (2,), (2,)),
            "scores": "softmax",
            "resize": ("stretch", 192, 192),
        },
        "data": common.shapes(),
        "train": common.adamw(
            steps=2000, batch_size=16, learning_rate=2e-3, warmup=200, ema=0.99, evaluate_every=500,
            transforms=(("flip", 0.5),),
        ),
    })  # fmt: skip
