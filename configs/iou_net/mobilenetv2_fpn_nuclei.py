"""IoU-Net on MobileNetV2-FPN for nuclei under the microscope: Faster R-CNN's settings.

python -m tools.train --config=configs/iou_net/mobilenetv2_fpn_nuclei.py --config.data.folder=FOLDER \
    --config.model.backbone_weights=FOLDER/mobilenet_v2_1.0_224_notop.h5
"""

from kerasdet.configs import common
from kerasdet.configs.faster_rcnn import mobilenetv2_fpn_nuclei
from ml_collections import ConfigDict


def get_config():
    faster = mobilenetv2_fpn_nuclei.get_config()
    return ConfigDict({
        "name": "iou_net_nuclei",
        "model": {
            **faster.model,
            "name": "IoUNet",
            "iou_fc": (256, 256),
            "iou_batch": 256,
            "judged": 600,
        },
        "data": common.splits("data/nuclei"),
        "train": faster.train,
        "evaluate": faster.evaluate,
    })  # fmt: skip
