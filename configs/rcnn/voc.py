"""R-CNN on Pascal VOC 07+12, the release's recipe: 70k steps of 128 windows, then SVMs and ridge regression.

The word after the colon is the network: caffenet, which starts from random weights here, for which the schedule is too
short, or vgg16, from ImageNet's. Here on 07+12 where the release takes 07. Published: AP50 58.5 on VOC07 test with
CaffeNet, 66.0 with VGG16. Not run here. A step draws 2 positive and 6 background windows of each of 16 pictures, where
the release draws 32 and 96 from all pictures. Biases learn at twice the rate and do not decay; the new layer learns at
ten times the rate. The features of 16,551 pictures fill 540 GB.

python -m tools.make_proposals --path=VOC0712 --split=trainval --out=voc.npz
python -m tools.make_proposals --path=VOC0712 --split=test --out=voc.npz
python -m tools.train --config=configs/rcnn/voc.py:vgg16 --config.data.folder=VOC0712
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

from kerasdet.detectors import rcnn

FORMS = {"caffenet": {}, "vgg16": {**rcnn.VGG16, "backbone_weights": "imagenet"}}


def get_config(form="caffenet"):
    return ConfigDict({
        "name": f"rcnn_{form}_voc",
        "model": {"name": "RCNN", **FORMS[form], "roi_batch": 8},
        "data": common.voc(proposals="voc.npz", max_proposals=2000),
        "train": common.sgd(
            steps=70_000, batch_size=16, learning_rate=1e-3, drops=(20_000, 40_000, 60_000), weight_decay=5e-4,
            rates={"predictor/bias": 20.0, "predictor/kernel": 10.0, "b*bias": 2.0}, evaluate_every=70_000,
            transforms=(("flip", 0.5),),
            stages=(
                {},
                {
                    "solver": "svm", "batch_size": 1, "c": 1e-3, "positive_weight": 2.0, "norm": 20.0, "negative": 0.3,
                    "least": -1.0001, "evicted": -1.2, "every": 2000, "passes": 1,
                },
                {"solver": "ridge", "batch_size": 1, "strength": 1000.0, "overlap": 0.6, "norm": 20.0},
            ),
        ),
        "evaluate": {"voc": True},
    })  # fmt: skip
