"""R-CNN on MobileNetV2 for raccoons (39 photos to train on), on proposals of selective search.

python -m tools.make_proposals --path=FOLDER --split=train --out=raccoon.npz
python -m tools.make_proposals --path=FOLDER --split=val --out=raccoon.npz
python -m tools.train --config=configs/rcnn/raccoon.py --config.data.folder=FOLDER \
    --config.data.proposals=raccoon.npz --config.model.backbone_weights=FOLDER/mobilenet_v2_1.0_224_notop.h5
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

# The network on windows of 128 pixels, whose context is 16 of 227; the mean over its last map stands for pool5 and fc7.
MOBILENET = {
    "name": "RCNN",
    "backbone": {"name": "mobilenet_v2", "freeze": 3},
    "backbone_weights": "imagenet",
    "norm": "frozen",
    "levels": (5, 5),
    "side": 128,
    "context": 9,
    "pool": None,
    "fc": (),
    "dropout": 0.0,
    "roi_batch": 32,
}
# What follows the steps: the features of a picture need no others, so that none is padded.
SOLVERS = ({"solver": "svm", "batch_size": 1}, {"solver": "ridge", "batch_size": 1})


def get_config():
    return ConfigDict({
        "name": "rcnn_raccoon",
        "model": MOBILENET,
        "data": common.splits("data/raccoon", proposals="raccoon.npz", max_proposals=1000),
        "train": common.adamw(
            steps=200, batch_size=4, warmup=50, ema=0.99, evaluate_every=200,
            transforms=(("flip", 0.5), ("zoom", 0.7, 1.4), ("color",)), stages=({}, *SOLVERS),
        ),
    })  # fmt: skip
