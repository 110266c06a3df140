"""CenterNet of keypoint triplets on COCO, the release's recipe: 480,000 steps of 48 crops of 511 x 511 with Adam.

Behind the colon "hourglass104" or "hourglass52". Published on test-dev: AP 44.9 and 41.6, with a flip; 47.0 and 43.5 at
several sizes. Pictures are tested at their own size. Not run here.

python -m tools.train --config=configs/centernet_triplets/coco.py:hourglass52 --config.data.folder=coco
"""

from kerasdet.configs import common
from ml_collections import ConfigDict


def get_config(form="hourglass104"):
    return ConfigDict({
        "name": f"centernet_triplets_{form}_coco",
        "model": {"name": "CenterNetTriplets", "backbone": form, "resize": ("cornernet_keep", 128)},
        "data": common.coco(),
        "train": common.sgd(
            steps=480_000, batch_size=48, learning_rate=2.5e-4, drops=(450_000,), weight_decay=0.0,
            evaluate_every=25_000, optimizer="adam",
            transforms=(("scale_jitter", 511, 0.6, 1.4, 0.0), ("flip", 0.5), ("color",)),
        ),
    })  # fmt: skip
