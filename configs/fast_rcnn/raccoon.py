"""Fast R-CNN on MobileNetV2-FPN for raccoons (39 photos to train on), on proposals of selective search.

python -m tools.make_proposals --path=FOLDER --split=train --out=raccoon.npz
python -m tools.make_proposals --path=FOLDER --split=val --out=raccoon.npz
python -m tools.train --config=configs/fast_rcnn/raccoon.py --config.data.folder=FOLDER \
    --config.data.proposals=raccoon.npz --config.model.backbone_weights=FOLDER/mobilenet_v2_1.0_224_notop.h5
"""

from kerasdet.configs import common
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "fast_rcnn_raccoon",
        "model": {
            "name": "FastRCNN",
            "backbone": {"name": "mobilenet_v2", "freeze": 2},
            "backbone_weights": "imagenet",
            "norm": "frozen",
            "levels": (3, 5),
            "width": 128,
            "fc": (256, 256),
            "negative": 0.1,
            "roi_batch": 64,
            "beta": 1.0,
            "resize": ("shorter", 320, 480),
        },
        "data": common.splits("data/raccoon", proposals="raccoon.npz", max_proposals=1000),
        "train": common.adamw(
            steps=400, batch_size=4, warmup=50, ema=0.99, evaluate_every=200,
            transforms=(("flip", 0.5), ("zoom", 0.7, 1.4), ("color",)),
        ),
    })  # fmt: skip
