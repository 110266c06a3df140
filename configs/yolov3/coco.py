"""YOLOv3 on COCO, the release's recipe: 500,200 steps of 64 images at sizes of 320 to 608.

Behind the colon "full", "spp" or "tiny". Published: AP 33.0 at 608 on test-dev, AP50 51.5, 55.3 and 57.9 at 320, 416
and 608, 60.6 with SPP, 33.1 of the tiny network (the paper's table 3, the release). Not run here.

python -m tools.train --config=configs/yolov3/coco.py:full --config.data.folder=coco
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

from kerasdet.detectors import yolov3

FORMS = {
    "full": {"backbone_weights": "darknet53.conv.74"},
    "spp": {"spp": (5, 9, 13), "resize": ("darknet_letterbox", 608, 608), "backbone_weights": "darknet53.conv.74"},
    "tiny": {**yolov3.TINY, "backbone_weights": "yolov3-tiny.conv.15"},
}


def get_config(form="full"):
    return ConfigDict({
        "name": f"yolov3_{form}_coco",
        "model": {"name": "YOLOv3", "ignore": 0.7, **FORMS[form]},
        "data": common.coco(),
        "train": common.sgd(**common.DARKNET, steps=500_200, drops=(400_000, 450_000), evaluate_every=25_010),
    })  # fmt: skip
