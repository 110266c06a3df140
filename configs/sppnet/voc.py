"""SPP-net on ZF-5 on Pascal VOC 07+12, the release's recipe: 90k steps of 128 regions, then SVMs and ridge regression.

The word after the colon is how many scales a picture is seen at, five or one. ZF-5 stays as it starts, since only the
fully connected layers learn: name a model that has learned by --init_from. Here on 07+12 where the release takes 07.
Published: AP50 59.2 on VOC07 test with five scales, 58.0 with one. Not run here. A step draws the 128 regions of the
release from two pictures. Biases learn at twice the rate and do not decay.

python -m tools.make_proposals --path=VOC0712 --split=trainval --out=voc.npz
python -m tools.make_proposals --path=VOC0712 --split=test --out=voc.npz
python -m tools.train --config=configs/sppnet/voc.py:five --config.data.folder=VOC0712 --init_from=runs/zf5
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

FORMS = {"five": {}, "one": {"scales": (688,)}}


def get_config(form="five"):
    return ConfigDict({
        "name": f"sppnet_{form}_voc",
        "model": {"name": "SPPNet", **FORMS[form], "roi_batch": 64},
        "data": common.voc(proposals="voc.npz", max_proposals=2000),
        "train": common.sgd(
            steps=90_000, batch_size=2, learning_rate=1e-3, drops=(30_000, 60_000), weight_decay=5e-4,
            rates={"*bias": 2.0}, evaluate_every=90_000, transforms=(("flip", 0.5),),
            stages=(
                {"freeze": ("backbone/*",)},
                {
                    "solver": "svm", "batch_size": 1, "c": 1e-3, "positive_weight": 2.0, "norm": 20.0, "negative": 0.3,
                    "least": -1.0001, "evicted": -1.2, "every": 2000, "passes": 1,
                },
                {"solver": "ridge", "batch_size": 1, "strength": 4000.0, "overlap": 0.5, "norm": 20.0},
            ),
        ),
        "evaluate": {"voc": True},
    })  # fmt: skip
