"""IoU-Net on MobileNetV2-FPN for BCCD, blood cells under the microscope: Faster R-CNN's settings.

python -m tools.train --config=configs/iou_net/mobilenetv2_fpn_bccd.py --config.data.folder=FOLDER \
    --config.model.backbone_weights=FOLDER/mobilenet_v2_1.0_224_notop.h5
"""

from kerasdet.configs import common
from kerasdet.configs.faster_rcnn import mobilenetv2_fpn_bccd
from ml_collections import ConfigDict


def get_config():
    faster = mobilenetv2_fpn_bccd.get_config()
    return ConfigDict({
        "name": "iou_net_bccd",
        "model": {
            **faster.model,
            "name": "IoUNet",
            "iou_fc": (512, 512),
            "iou_batch": 128,
            "judged": 300,
        },
        "data": common.bccd(),
        "train": faster.train,
    })  # fmt: skip
