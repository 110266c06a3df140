"""SPP-net on MobileNetV2 for raccoons (39 photos to train on), on proposals of selective search.

python -m tools.make_proposals --path=FOLDER --split=train --out=raccoon.npz
python -m tools.make_proposals --path=FOLDER --split=val --out=raccoon.npz
python -m tools.train --config=configs/sppnet/raccoon.py --config.data.folder=FOLDER \
    --config.data.proposals=raccoon.npz --config.model.backbone_weights=FOLDER/mobilenet_v2_1.0_224_notop.h5
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

# One scale, at which a region of 208 pixels has six or seven cells a side. Keras' MobileNet pads behind, so that its
# first cell sees pixel 32 in its middle; the slack is the share of the stride that the release takes.
MOBILENET = {
    "name": "SPPNet",
    "backbone": "mobilenet_v2",
    "backbone_weights": "imagenet",
    "norm": "frozen",
    "levels": (5, 5),
    "scales": (480,),
    "first": 32.0,
    "slack": 13.0,
    "bins": (3, 2, 1),
    "fc": (1024,),
    "dropout": 0.5,
    "roi_batch": 64,
}
# Only the fully connected layer learns by steps (section 4.1); then what is fitted, with the release's numbers.
STAGES = (
    {"freeze": ("backbone/*",)},
    {"solver": "svm", "batch_size": 1},
    {"solver": "ridge", "batch_size": 1, "strength": 4000.0, "overlap": 0.5},
)


def get_config():
    return ConfigDict({
        "name": "sppnet_raccoon",
        "model": MOBILENET,
        "data": common.splits("data/raccoon", proposals="raccoon.npz", max_proposals=1000),
        "train": common.adamw(
            steps=400, batch_size=4, warmup=50, ema=0.99, evaluate_every=400,
            transforms=(("flip", 0.5), ("zoom", 0.7, 1.4), ("color",)), stages=STAGES,
        ),
    })  # fmt: skip
