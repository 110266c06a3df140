"""ExtremeNet with one small hourglass for nuclei under the microscope, whose masks have the extreme points.

python -m tools.train --config=configs/extremenet/nuclei.py --config.data.folder=FOLDER
"""

from kerasdet.configs import common
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "extremenet_nuclei",
        "model": {
            "name": "ExtremeNet",
            "backbone": {
                "name": "hourglass104",
                "stacks": 1,
                "widths": (64, 64, 96, 128),
                "blocks": (1, 1, 1, 2),
                "stem": 32,
            },
            "head_width": 64,
            "max_objects": 200,
            "extremes": 60,
            "octagons": 28,
            "limit": 300,
            "resize": ("stretch", 319, 319),
        },
        "data": common.splits("data/nuclei"),
        "train": common.adamw(
            minutes=20.0, batch_size=4, learning_rate=2e-3, weight_decay=1e-4, warmup=100, ema=0.99,
            evaluate_every=500,
            transforms=(("flip", 0.5), ("flip_vertical", 0.5), ("color", 0.1, 0.2, 0.2, 0.02)),
        ),
        "evaluate": {"max_dets": (1, 100, 300)},
    })  # fmt: skip
