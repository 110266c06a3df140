"""YOLOv1 on Pascal VOC 07+12, the release's recipe: 40k steps of 64 images.

Behind the colon "full" or "fast". Published: AP50 63.4 and 52.7 on VOC07 test (the paper's table 1). Not run here. The
network is the release's, with batch norm and a local layer. The rate climbs from 0.0005 by factors of 2.5, 2 and 2.
`backbone_weights` are the release's classifiers.

python -m tools.train --config=configs/yolov1/voc.py:full --config.data.folder=VOC0712
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

from kerasdet.detectors import yolov1

FORMS = {
    "full": {**yolov1.RELEASE, "backbone_weights": "extraction.conv.weights"},
    "fast": {"network": "fast", "norm": "batch", "hidden": None, "backbone_weights": "darknet.conv.weights"},
}


def get_config(form="full"):
    return ConfigDict({
        "name": f"yolov1_{form}_voc",
        "model": {"name": "YOLOv1", **FORMS[form]},
        "data": common.voc(),
        "train": common.sgd(
            steps=40_000, batch_size=64, learning_rate=5e-4, drops=(200, 400, 600, 20_000, 30_000),
            drop_factor=(2.5, 2.0, 2.0, 0.1, 0.1), weight_decay=5e-4, evaluate_every=4000,
            transforms=(("jitter_sides", 0.2), ("distort", 0.1, 1.5, 1.5), ("flip", 0.5)),
        ),
        "evaluate": {"voc": True},
    })  # fmt: skip
