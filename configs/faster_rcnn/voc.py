"""Faster R-CNN on Pascal VOC, trained jointly as the release does: 70k steps of two images, on VGG16, ZF or ResNet-C4.

The word after the colon is the backbone. ZF starts from random weights, for which the paper's schedule is too short.
Here on 07+12 where the release takes 07. Published: AP50 73.2 on VOC07 test with VGG16, by four alternating steps (the
paper's table 3), 76.4 with ResNet-101 (ResNet's table 7). Not run here.

python -m tools.train --config=configs/faster_rcnn/voc.py:vgg16 --config.data.folder=VOC0712
"""

from ml_collections import ConfigDict

from kerasdet.detectors import faster_rcnn

FORMS = {
    "vgg16": {**faster_rcnn.VGG16, "backbone_weights": "imagenet"},
    "zf": faster_rcnn.ZF,
    "r50": {**faster_rcnn.C4, "backbone": {"name": "resnet50_keras", "freeze": 2}, "backbone_weights": "imagenet"},
    "r101": {**faster_rcnn.C4, "backbone": {"name": "resnet101_keras", "freeze": 2}, "backbone_weights": "imagenet"},
}


def get_config(form="vgg16"):
    config = ConfigDict({
        "name": f"faster_rcnn_{form}_voc",
        "model": {"name": "FasterRCNN", **FORMS[form], "resize": ("shorter", 600, 1000)},
        "data": {"folder": "data/voc0712"},
        "train": {
            "steps": 70_000,
            "batch_size": 2,
            "optimizer": "sgd",
            "learning_rate": 1e-3,
            "momentum": 0.9,
            "weight_decay": 1e-4 if form.startswith("r") else 5e-4,
            "warmup": 0,
            "drops": (50_000,),
            "clip_norm": None,
            "ema": None,
            "evaluate_every": 10_000,
            "transforms": (("flip", 0.5),),
        },
    })  # fmt: skip
    folder = config.data.get_ref("folder")
    for part, split in (("train", "trainval"), ("validation", "test")):
        config.data[part] = {"path": folder, "split": split}
    return config
