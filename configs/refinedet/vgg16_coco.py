"""RefineDet on VGG16 on COCO, the release's recipe, which is SSD's: 400k steps of 32 images.

The number behind the colon is the side of what the network sees, 320 or 512. Published: AP 29.4 (AP50
49.2) and 33.0 (54.5) on test-dev (the release). Not run here.
As in the release, biases learn at twice the rate and do not decay.

python -m tools.train --config=configs/refinedet/vgg16_coco.py:320 --config.data.folder=coco
"""

from kerasdet.configs import common
from ml_collections import ConfigDict


def get_config(size=320):
    size = int(size)
    return ConfigDict({
        "name": f"refinedet{size}_coco",
        "model": {
            "name": "RefineDet",
            "backbone_weights": "imagenet",
            "empty_negatives": 0,
            "resize": ("stretch", size, size),
        },
        "data": common.coco(),
        "train": common.sgd(
            steps=400_000, batch_size=32, learning_rate=1e-3, drops=(280_000, 360_000), weight_decay=5e-4,
            rates={"*bias": 2.0}, evaluate_every=20_000,
            transforms=(("photometric",), ("expand",), ("sample_crop",), ("flip", 0.5)),
        ),
    })  # fmt: skip
