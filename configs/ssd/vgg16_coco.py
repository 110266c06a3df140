"""SSD on VGG16 on COCO, the release's recipe: 400k steps of 32 images, with smaller default boxes than on VOC.

The number behind the colon is the side of what the network sees, 300 or 512. Published: AP 25.1 (AP50 43.1) and 28.8
(48.5) on test-dev (the release, section 3.6). Not run here. As in the release, biases learn at twice the rate and do
not decay.

python -m tools.train --config=configs/ssd/vgg16_coco.py:300 --config.data.folder=coco
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

from kerasdet.detectors import ssd

SCALES = {300: (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05), 512: (0.04, 0.1, 0.26, 0.42, 0.58, 0.74, 0.9, 1.06)}


def get_config(size=300):
    size = int(size)
    form = {**{300: {}, 512: ssd.SSD512}[size], "scales": SCALES[size]}
    return ConfigDict({
        "name": f"ssd{size}_coco",
        "model": {"name": "SSD", "backbone_weights": "imagenet", **form},
        "data": common.coco(),
        "train": common.sgd(
            steps=400_000, batch_size=32, learning_rate=1e-3, drops=(280_000, 360_000), weight_decay=5e-4,
            rates={"*bias": 2.0}, evaluate_every=20_000,
            transforms=(("photometric",), ("expand",), ("sample_crop",), ("flip", 0.5)),
        ),
    })  # fmt: skip
