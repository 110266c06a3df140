"""RetinaNet R50-FPN on COCO, the paper's recipe: 90k steps of 16 images at side 800.

Published: AP 35.7 (the paper's table 1e, and Detectron). Not run here. What the paper leaves open is as in Detectron:
the warm-up starts at a third of the rate, biases learn at twice the rate and do not decay.

python -m tools.train --config=configs/retinanet/r50_fpn_coco.py --config.data.folder=coco
"""

from kerasdet.configs import common
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "retinanet_r50_fpn_coco",
        "model": {
            "name": "RetinaNet",
            "backbone": {"name": "resnet50_keras", "freeze": 2},
            "backbone_weights": "imagenet",
            "norm": "frozen",
            "resize": ("shorter", 800, 1333),
        },
        "data": common.coco(),
        "train": common.sgd(
            steps=90_000, batch_size=16, learning_rate=0.01, drops=(60_000, 80_000), weight_decay=1e-4,
            rates={"*bias": 2.0}, warmup=500, warmup_from=1 / 3, evaluate_every=10_000, transforms=(("flip", 0.5),),
        ),
    })  # fmt: skip
