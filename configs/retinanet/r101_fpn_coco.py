"""RetinaNet R101-FPN on COCO, the recipe behind 39.1: scale jitter and 1.5 times as long (table 2 of the paper).

Published: AP 39.1 on test-dev (the paper's table 2). Not run here. The paper does not say how the scale is drawn: here
the shorter side is one of 640...800, as in Detectron2, but for each batch, in Detectron2 for each picture. The rest is
as in `r50_fpn_coco`.

python -m tools.train --config=configs/retinanet/r101_fpn_coco.py --config.data.folder=coco
"""

from kerasdet.configs import common
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "retinanet_r101_fpn_coco",
        "model": {
            "name": "RetinaNet",
            "backbone": {"name": "resnet101_keras", "freeze": 2},
            "backbone_weights": "imagenet",
            "norm": "frozen",
            "resize": ("shorter", 800, 1333),
        },
        "data": common.coco(),
        "train": common.sgd(
            steps=135_000, batch_size=16, learning_rate=0.01, drops=(90_000, 120_000), weight_decay=1e-4,
            rates={"*bias": 2.0}, warmup=500, warmup_from=1 / 3, evaluate_every=15_000, transforms=(("flip", 0.5),),
            sizes=(640, 672, 704, 736, 768, 800), sizes_every=1,
        ),
    })  # fmt: skip
