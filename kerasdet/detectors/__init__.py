"""One paper, one file."""

from kerasdet.detectors.retinanet import RetinaNet
from kerasdet.detectors.ssd import SSD

DETECTORS = {"RetinaNet": RetinaNet, "SSD": SSD}
