"""SPP-net on MobileNetV2 for BCCD, blood cells under the microscope (360 photos, three classes).

python -m tools.make_proposals --path=FOLDER --split=trainval --out=bccd.npz
python -m tools.make_proposals --path=FOLDER --split=test --out=bccd.npz
python -m tools.train --config=configs/sppnet/bccd.py --config.data.folder=FOLDER --config.data.proposals=bccd.npz \
    --config.model.backbone_weights=FOLDER/mobilenet_v2_1.0_224_notop.h5
"""

from kerasdet.configs import common
from kerasdet.configs.sppnet.raccoon import MOBILENET, STAGES
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "sppnet_bccd",
        # Cells of 100 pixels, platelets of 40: a finer map, of stride 16.
        "model": {**MOBILENET, "levels": (4, 4), "first": 16.0, "slack": 6.5},
        "data": common.splits("data/bccd", "trainval", "val", "test", proposals="bccd.npz", max_proposals=1000),
        "train": common.adamw(
            steps=1000, batch_size=4, warmup=50, ema=0.99, evaluate_every=1000,
            transforms=(("flip", 0.5), ("flip_vertical", 0.5), ("zoom", 0.8, 1.4), ("color", 0.1, 0.2, 0.2, 0.02)),
            stages=STAGES,
        ),
    })  # fmt: skip
