"""ExtremeNet on COCO, the release's recipe: from CornerNet's weights, 250,000 steps of 24 crops of 511 x 511, Adam.

`--init_from` names a CornerNet of this library, of which the backbone is taken. Extreme points come from the masks.
Published on test-dev: AP 40.2; masks, by DEXTR on the extreme points, on val2017: AP 34.6. Not run here.

python -m tools.train --config=configs/extremenet/coco.py --config.data.folder=coco
"""

from kerasdet.configs import common
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "extremenet_coco",
        "model": {"name": "ExtremeNet", "backbone": "hourglass104", "resize": ("cornernet_keep", 128)},
        "data": common.coco(),
        "train": common.sgd(
            steps=250_000, batch_size=24, learning_rate=2.5e-4, drops=(200_000,), weight_decay=0.0,
            evaluate_every=25_000, optimizer="adam",
            transforms=(("scale_jitter", 511, 0.6, 1.4, 0.0), ("flip", 0.5), ("color",)),
        ),
    })  # fmt: skip
