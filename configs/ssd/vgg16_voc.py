"""SSD on VGG16 on Pascal VOC 07+12, the release's recipe: 120k steps of 32 images.

The number behind the colon is the side of what the network sees, 300 or 512. Published: AP50 77.2 and 79.8 on VOC07
test (the release, with the expanding augmentation of section 3.6). Not run here. As in the release, difficult objects
are learned like all others, and biases learn at twice the rate and do not decay.

python -m tools.train --config=configs/ssd/vgg16_voc.py:300 --config.data.folder=VOC0712
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

from kerasdet.detectors import ssd


def get_config(size=300):
    form = {300: {}, 512: ssd.SSD512}[int(size)]
    config = ConfigDict({
        "name": f"ssd{size}_voc",
        "model": {"name": "SSD", "backbone_weights": "imagenet", **form},
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
