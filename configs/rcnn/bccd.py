"""R-CNN on MobileNetV2 for BCCD, blood cells under the microscope (360 photos, three classes).

python -m tools.make_proposals --path=FOLDER --split=trainval --out=bccd.npz
python -m tools.make_proposals --path=FOLDER --split=test --out=bccd.npz
python -m tools.train --config=configs/rcnn/bccd.py --config.data.folder=FOLDER --config.data.proposals=bccd.npz \
    --config.model.backbone_weights=FOLDER/mobilenet_v2_1.0_224_notop.h5
"""

from kerasdet.configs import common
from kerasdet.configs.rcnn.raccoon import MOBILENET, SOLVERS
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "rcnn_bccd",
        # 13 cells a photo, and a window shows one of them: half the side is enough.
        "model": {**MOBILENET, "side": 96, "context": 7},
        "data": common.splits("data/bccd", "trainval", "val", "test", proposals="bccd.npz", max_proposals=1000),
        "train": common.adamw(
            steps=600, batch_size=4, warmup=50, ema=0.99, evaluate_every=600,
            transforms=(("flip", 0.5), ("flip_vertical", 0.5), ("zoom", 0.8, 1.4), ("color", 0.1, 0.2, 0.2, 0.02)),
            stages=({}, *SOLVERS),
        ),
    })  # fmt: skip
