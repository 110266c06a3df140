"""Softer-NMS on MobileNetV2-FPN for nuclei under the microscope: Faster R-CNN's settings.

python -m tools.train --config=configs/softer_nms/mobilenetv2_fpn_nuclei.py --config.data.folder=FOLDER \
    --config.model.backbone_weights=FOLDER/mobilenet_v2_1.0_224_notop.h5
"""

from kerasdet.configs import common
from kerasdet.configs.faster_rcnn import mobilenetv2_fpn_nuclei
from ml_collections import ConfigDict


def get_config():
    faster = mobilenetv2_fpn_nuclei.get_config()
    return ConfigDict({
        "name": "softer_nms_nuclei",
        "model": {
            **faster.model,
            "name": "SofterNMS",
            # What Soft-NMS lowers may fall to 0.001, as in the release.
            "nms": {"name": "soft_voting", "sigma": 0.5, "floor": 0.001, "sigma_t": 0.02},
        },
        "data": common.splits("data/nuclei"),
        "train": faster.train,
        "evaluate": faster.evaluate,
    })  # fmt: skip
