"""RefineDet on VGG16 on Pascal VOC 07+12, the release's recipe, which is SSD's: 120k steps of 32 images.

The number behind the colon is the side of what the network sees, 320 or 512. Published: AP50 80.0 and
81.8 on VOC07 test (the release). Not run here.
As in the release, difficult objects are learned like all others, and biases learn at twice the rate and do not decay.

python -m tools.train --config=configs/refinedet/vgg16_voc.py:320 --config.data.folder=VOC0712
"""

from kerasdet.configs import common
from ml_collections import ConfigDict


def get_config(size=320):
    size = int(size)
    config = ConfigDict({
        "name": f"refinedet{size}_voc",
        "model": {
            "name": "RefineDet",
            "backbone_weights": "imagenet",
            "empty_negatives": 0,
            "resize": ("stretch", size, size),
        },
        "data": common.voc(),
        "train": common.sgd(
            steps=120_000, batch_size=32, learning_rate=1e-3, drops=(80_000, 100_000), weight_decay=5e-4,
            rates={"*bias": 2.0}, evaluate_every=10_000,
            transforms=(("photometric",), ("expand",), ("sample_crop",), ("flip", 0.5)),
        ),
        "evaluate": {"voc": True},
    })  # fmt: skip
    config.data.train.difficult = "object"
    return config
