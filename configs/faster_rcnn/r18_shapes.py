"""Faster R-CNN on a quarter-width ResNet-18 and the embedded `shapes`; the word behind the colon says how it trains.

`joint` trains all at once; `alternating` goes the paper's four steps (section 3.2): proposals, then regions on them,
each from the start, then proposals and regions again on the features of the second step, which stay.

python -m tools.train --config=configs/faster_rcnn/r18_shapes.py:alternating
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

RPN, REGIONS = ("rpn_class", "rpn_box"), ("class", "box")
FEATURES = ("backbone/*", "fpn/*")


def get_config(form="joint"):
    config = ConfigDict({
        "name": f"faster_rcnn_shapes_{form}",
        "model": {
            "name": "FasterRCNN",
            "backbone": {"name": "resnet18", "width": 24},
            "norm": "batch",
            "levels": (3, 5),
            "width": 64,
            "sizes": ((16, 24), (32, 48), (64, 96), (128, 160)),
            "ratios": (1.0,),
            "rpn_width": 64,
            "before_nms": (500, 300),
            "after_nms": (300, 100),
            "fc": (128, 128),
            "roi_batch": 64,
            "beta": 1.0,
            "resize": ("stretch", 192, 192),
        },
        "data": common.shapes(),
        "train": common.adamw(
            steps=800, batch_size=8, learning_rate=2e-3, weight_decay=1e-4, warmup=100, ema=0.99, evaluate_every=800,
            transforms=(("flip", 0.5), ("flip_vertical", 0.5)),
        ),
    })  # fmt: skip
    if form == "alternating":
        config.train.stages = (
            {"terms": RPN},
            {"terms": REGIONS, "proposals": "stage1", "init_from": "start"},
            {"terms": RPN, "freeze": FEATURES},
            {"terms": REGIONS, "proposals": "stage3", "freeze": FEATURES},
        )
    return config
