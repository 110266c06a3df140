"""R-FCN on Pascal VOC 07+12 by the release's recipe for one GPU: 110k steps of two images, with OHEM.

The word after the colon is the backbone: r101 or r50. Published: AP50 79.5 on VOC07 test with ResNet-101 (the paper's
table 4), 77.4 with ResNet-50 (the release). Not run here. Biases learn at twice the rate; the release's files do not
exempt them from decay. `--config.model.box_values=8 --config.model.box_count=256` is the release's own form.

python -m tools.train --config=configs/rfcn/voc.py:r101 --config.data.folder=VOC0712
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

BACKBONES = {"r50": "resnet50_keras", "r101": "resnet101_keras"}


def get_config(form="r101"):
    return ConfigDict({
        "name": f"rfcn_{form}_voc",
        "model": {
            "name": "RFCN",
            "backbone": {"name": BACKBONES[form], "freeze": 2},
            "backbone_weights": "imagenet",
            "resize": ("shorter", 600, 1000),
        },
        "data": common.voc(),
        "train": common.sgd(
            steps=110_000, batch_size=2, learning_rate=1e-3, drops=(80_000,), weight_decay=5e-4, decay_biases=True,
            rates={"*bias": 2.0}, evaluate_every=10_000, transforms=(("flip", 0.5),),
        ),
        "evaluate": {"voc": True},
    })  # fmt: skip
