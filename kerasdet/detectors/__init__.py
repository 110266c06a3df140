"""One paper, one file."""

from kerasdet.detectors.fast_rcnn import FastRCNN
from kerasdet.detectors.faster_rcnn import FasterRCNN
from kerasdet.detectors.mask_rcnn import MaskRCNN
from kerasdet.detectors.retinanet import RetinaNet
from kerasdet.detectors.ssd import SSD

DETECTORS = {
    "FastRCNN": FastRCNN,
    "FasterRCNN": FasterRCNN,
    "MaskRCNN": MaskRCNN,
    "RetinaNet": RetinaNet,
    "SSD": SSD,
}
