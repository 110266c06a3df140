"""Faster R-CNN on Pascal VOC by the release's recipe of joint training: 70k steps of two images.

The word after the colon is the backbone: vgg16, zf, or r50 and r101 in the C4 form. ZF starts from random weights, for
which the paper's schedule is too short. Here on 07+12 where the release takes 07. Published: AP50 73.2 on VOC07 test
with VGG16, by four alternating steps (the paper's table 3), 76.4 with ResNet-101 (ResNet's table 7). Not run here.
As in the release, biases learn at twice the rate; with VGG16 and ZF they decay as well, because its files for VOC do
not exempt them.

python -m tools.train --config=configs/faster_rcnn/voc.py:vgg16 --config.data.folder=VOC0712
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

from kerasdet.detectors import faster_rcnn

FORMS = {
    "vgg16": {**faster_rcnn.VGG16, "backbone_weights": "imagenet"},
    "zf": faster_rcnn.ZF,
    "r50": {**faster_rcnn.C4, "backbone": {"name": "resnet50_keras", "freeze": 2}, "backbone_weights": "imagenet"},
    "r101": {**faster_rcnn.C4, "backbone": {"name": "resnet101_keras", "freeze": 2}, "backbone_weights": "imagenet"},
}


def get_config(form="vgg16"):
    residual = form.startswith("r")
    return ConfigDict({
        "name": f"faster_rcnn_{form}_voc",
        "model": {"name": "FasterRCNN", **FORMS[form], "resize": ("shorter", 600, 1000)},
        "data": common.voc(),
        "train": common.sgd(
            steps=70_000, batch_size=2, learning_rate=1e-3, drops=(50_000,), weight_decay=1e-4 if residual else 5e-4,
            decay_biases=not residual, rates={"*bias": 2.0}, evaluate_every=10_000, transforms=(("flip", 0.5),),
        ),
        "evaluate": {"voc": True},
    })  # fmt: skip
