"""CornerNet-Saccade on COCO, the release's recipe: 500,000 steps of 48 crops of 255 x 255 with Adam.

Pictures get a longer side of 0.75 to 2.8 times the crop's, which covers what the views of a test show of them.
Published on test-dev: AP 43.2. Pictures are tested at their own size, by two views of the whole and up to 30 crops. Not
run here.

python -m tools.train --config=configs/cornernet_saccade/coco.py --config.data.folder=coco
"""

from kerasdet.configs import common
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "cornernet_saccade_coco",
        "model": {"name": "CornerNetSaccade", "backbone": "hourglass54", "resize": ("keep",)},
        "data": common.coco(),
        "train": common.sgd(
            steps=500_000, batch_size=48, learning_rate=2.5e-4, drops=(450_000,), weight_decay=0.0,
            evaluate_every=25_000, optimizer="adam",
            transforms=(("scale_jitter", 255, 0.75, 2.8, 0.0), ("flip", 0.5), ("color",)),
        ),
    })  # fmt: skip
