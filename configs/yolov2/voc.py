"""YOLOv2 on Pascal VOC 07+12, the release's recipe: 80,200 steps of 64 images at sizes of 320 to 608.

Behind the colon "full" or "tiny". Published: AP50 76.8 at 416 and 78.6 at 544 on VOC07 test (the paper's table 3). Not
run here. `backbone_weights` is the release's classifier, which was trained last at 448 pixels.

python -m tools.train --config=configs/yolov2/voc.py:full --config.data.folder=VOC0712
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

from kerasdet.detectors import yolov2

FORMS = {
    "full": {"anchors": yolov2.VOC, "backbone_weights": "darknet19_448.conv.23"},
    "tiny": {**yolov2.TINY_VOC, "backbone_weights": "yolov2-tiny.conv.13"},
}


def get_config(form="full"):
    return ConfigDict({
        "name": f"yolov2_{form}_voc",
        "model": {"name": "YOLOv2", **FORMS[form]},
        "data": common.voc(),
        "train": common.sgd(**common.DARKNET, steps=80_200, drops=(40_000, 60_000), evaluate_every=8020),
        "evaluate": {"voc": True},
    })  # fmt: skip
