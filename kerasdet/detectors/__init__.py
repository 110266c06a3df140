"""One paper, one file."""

from kerasdet.detectors.centernet import CenterNet
from kerasdet.detectors.cornernet import CornerNet
from kerasdet.detectors.darknet import Darknet
from kerasdet.detectors.efficientdet import EfficientDet
from kerasdet.detectors.fast_rcnn import FastRCNN
from kerasdet.detectors.faster_rcnn import FasterRCNN
from kerasdet.detectors.mask_rcnn import MaskRCNN
from kerasdet.detectors.rcnn import RCNN
from kerasdet.detectors.refinedet import RefineDet
from kerasdet.detectors.retinanet import RetinaNet
from kerasdet.detectors.sppnet import SPPNet
from kerasdet.detectors.ssd import SSD
from kerasdet.detectors.yolov1 import YOLOv1
from kerasdet.detectors.yolov2 import YOLOv2
from kerasdet.detectors.yolov3 import YOLOv3

DETECTORS = {
    "CenterNet": CenterNet,
    "CornerNet": CornerNet,
    "Darknet": Darknet,
    "EfficientDet": EfficientDet,
    "FastRCNN": FastRCNN,
    "FasterRCNN": FasterRCNN,
    "MaskRCNN": MaskRCNN,
    "RCNN": RCNN,
    "RefineDet": RefineDet,
    "RetinaNet": RetinaNet,
    "SPPNet": SPPNet,
    "SSD": SSD,
    "YOLOv1": YOLOv1,
    "YOLOv2": YOLOv2,
    "YOLOv3": YOLOv3,
}
