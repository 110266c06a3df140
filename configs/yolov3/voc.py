"""YOLOv3 on Pascal VOC 07+12, the release's recipe: 50,200 steps of 64 images at sizes of 320 to 608.

The paper and the release publish no result on VOC. Not run here.

python -m tools.train --config=configs/yolov3/voc.py --config.data.folder=VOC0712
"""

from kerasdet.configs import common
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "yolov3_voc",
        "model": {"name": "YOLOv3", "ignore": 0.5, "backbone_weights": "darknet53.conv.74"},
        "data": common.voc(),
        "train": common.sgd(**common.DARKNET, steps=50_200, drops=(40_000, 45_000), evaluate_every=5020),
        "evaluate": {"voc": True},
    })  # fmt: skip
