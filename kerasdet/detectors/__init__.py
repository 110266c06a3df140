"""One paper, one file."""

from kerasdet.detectors import cornernet, efficientdet, fast_rcnn, faster_rcnn, mask_rcnn
from kerasdet.detectors.centernet import CenterNet
from kerasdet.detectors.centernet_triplets import CenterNetTriplets
from kerasdet.detectors.cornernet import CornerNet
from kerasdet.detectors.cornernet_saccade import CornerNetSaccade
from kerasdet.detectors.darknet import Darknet
from kerasdet.detectors.efficientdet import EfficientDet
from kerasdet.detectors.extremenet import ExtremeNet
from kerasdet.detectors.fast_rcnn import FastRCNN
from kerasdet.detectors.faster_rcnn import FasterRCNN
from kerasdet.detectors.iou_net import IoUNet
from kerasdet.detectors.mask_rcnn import MaskRCNN
from kerasdet.detectors.rcnn import RCNN
from kerasdet.detectors.refinedet import RefineDet
from kerasdet.detectors.retinanet import RetinaNet
from kerasdet.detectors.rfcn import RFCN
from kerasdet.detectors.softer_nms import SofterNMS
from kerasdet.detectors.sppnet import SPPNet
from kerasdet.detectors.ssd import SSD
from kerasdet.detectors.yolov1 import YOLOv1
from kerasdet.detectors.yolov2 import YOLOv2
from kerasdet.detectors.yolov3 import YOLOv3

DETECTORS = {
    "CenterNet": CenterNet,
    "CenterNetTriplets": CenterNetTriplets,
    "CornerNet": CornerNet,
    "CornerNetSaccade": CornerNetSaccade,
    "Darknet": Darknet,
    "EfficientDet": EfficientDet,
    "ExtremeNet": ExtremeNet,
    "FastRCNN": FastRCNN,
    "FasterRCNN": FasterRCNN,
    "IoUNet": IoUNet,
    "MaskRCNN": MaskRCNN,
    "RCNN": RCNN,
    "RefineDet": RefineDet,
    "RFCN": RFCN,
    "RetinaNet": RetinaNet,
    "SPPNet": SPPNet,
    "SSD": SSD,
    "SofterNMS": SofterNMS,
    "YOLOv1": YOLOv1,
    "YOLOv2": YOLOv2,
    "YOLOv3": YOLOv3,
}

# Group Norm in the backbone, the pyramid and the heads (Wu & He, ECCV 2018, section 4.2).
_GROUP_NORM = {
    "norm": "group", "pyramid_norm": "group", "convs": 4, "fc": (1024,), "head_norm": "group", "mask_norm": "group",
}  # fmt: skip

# The line of papers in the order of its story, `docs/papers.md`: the name of the class, and its arguments.
PAPERS = {
    "R-CNN": ("RCNN", {}),
    "SPP-net": ("SPPNet", {}),
    "Fast R-CNN": ("FastRCNN", fast_rcnn.VGG16),
    "Faster R-CNN": ("FasterRCNN", faster_rcnn.VGG16),
    "R-FCN": ("RFCN", {}),
    "FPN": ("FasterRCNN", {}),
    "Mask R-CNN": ("MaskRCNN", {}),
    "Keypoint R-CNN": ("MaskRCNN", mask_rcnn.KEYPOINT),
    "Soft-NMS": ("FasterRCNN", {"nms": "soft"}),
    "IoU-Net": ("IoUNet", {}),
    "Softer-NMS": ("SofterNMS", {}),
    "GIoU": ("FasterRCNN", {"box_loss": "giou"}),
    "Group Norm": ("MaskRCNN", _GROUP_NORM),
    "YOLOv1": ("YOLOv1", {}),
    "SSD": ("SSD", {}),
    "YOLOv2": ("YOLOv2", {}),
    "RetinaNet": ("RetinaNet", {}),
    "YOLOv3": ("YOLOv3", {}),
    "RefineDet": ("RefineDet", {}),
    "EfficientDet": ("EfficientDet", efficientdet.FORMS["d0"]),
    "CornerNet": ("CornerNet", {}),
    "CornerNet-Squeeze": ("CornerNet", cornernet.SQUEEZE),
    "CornerNet-Saccade": ("CornerNetSaccade", {}),
    "ExtremeNet": ("ExtremeNet", {}),
    "CenterNet (Objects as Points)": ("CenterNet", {}),
    "CenterNet (Keypoint Triplets)": ("CenterNetTriplets", {}),
}
