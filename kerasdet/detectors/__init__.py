"""One paper, one file."""

from kerasdet.detectors.faster_rcnn import FasterRCNN
from kerasdet.detectors.mask_rcnn import MaskRCNN
from kerasdet.detectors.retinanet import RetinaNet
from kerasdet.detectors.ssd import SSD

DETECTORS = {"FasterRCNN": FasterRCNN, "MaskRCNN": MaskRCNN, "RetinaNet": RetinaNet, "SSD": SSD}
