"""R-FCN on ResNet-101 on COCO by the paper's recipe: 120k steps of eight images, with OHEM.

Published: AP 29.2, AP50 51.5 on test-dev (the paper's table 6). Not run here; train2017 where the paper has trainval.

python -m tools.train --config=configs/rfcn/coco.py --config.data.folder=coco
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

from kerasdet.detectors import rfcn


def get_config():
    return ConfigDict({
        "name": "rfcn_coco",
        "model": {
            "name": "RFCN",
            "backbone": {"name": "resnet101_keras", "freeze": 2},
            "backbone_weights": "imagenet",
            **rfcn.COCO,
            "resize": ("shorter", 600, 1000),
        },
        "data": common.coco(),
        "train": common.sgd(
            steps=120_000, batch_size=8, learning_rate=1e-3, drops=(90_000,), weight_decay=5e-4, decay_biases=True,
            rates={"*bias": 2.0}, evaluate_every=10_000, transforms=(("flip", 0.5),),
        ),
    })  # fmt: skip
