"""YOLOv2 on COCO, the release's recipe: 500,200 steps of 64 images at sizes of 320 to 608.

Behind the colon "full" or "tiny". Published: AP 21.6 (AP50 44.0) on test-dev (the paper's table 5), AP50 48.1 at 608
and 23.7 of the tiny network (the release). Not run here.

python -m tools.train --config=configs/yolov2/coco.py:full --config.data.folder=coco
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

from kerasdet.detectors import yolov2

FORMS = {
    "full": {"anchors": yolov2.COCO, "backbone_weights": "darknet19_448.conv.23"},
    "tiny": {**yolov2.TINY_COCO, "backbone_weights": "yolov2-tiny.conv.13"},
}


def get_config(form="full"):
    return ConfigDict({
        "name": f"yolov2_{form}_coco",
        "model": {"name": "YOLOv2", **FORMS[form]},
        "data": common.coco(),
        "train": common.sgd(**common.DARKNET, steps=500_200, drops=(400_000, 450_000), evaluate_every=25_010),
    })  # fmt: skip
