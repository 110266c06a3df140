"""One paper, one file."""

from kerasdet.detectors.retinanet import RetinaNet

DETECTORS = {"RetinaNet": RetinaNet}
