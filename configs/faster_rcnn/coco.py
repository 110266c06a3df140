"""Faster R-CNN on COCO by Detectron2's recipe: batches of 16 at sides 640 to 800, 90k steps (1x) or 270k (3x).

The word behind the colon is the form: r50_fpn, r101_fpn, r50_c4, r50_fpn_gn or r50_fpn_2021, and after a comma 3x.
Published box AP (Detectron2): r50_fpn 37.9 and 40.2 (3x), r101_fpn 42.0 (3x), r50_c4 35.7. Not run here; what differs:
pictures without objects stay, and a side is drawn for each batch, in Detectron2 for each picture.

python -m tools.train --config=configs/faster_rcnn/coco.py:r50_fpn,3x --config.data.folder=coco
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

from kerasdet.detectors import faster_rcnn

R50 = {"backbone": {"name": "resnet50_keras", "freeze": 2}, "backbone_weights": "imagenet"}
R101 = {"backbone": {"name": "resnet101_keras", "freeze": 2}, "backbone_weights": "imagenet"}
L1 = {"beta": 0.0, "rpn_beta": 0.0, "sampling_ratio": 0}

FORMS = {
    "r50_fpn": {**R50, **L1, "after_nms": (1000, 1000)},
    "r101_fpn": {**R101, **L1, "after_nms": (1000, 1000)},
    "r50_c4": {**R50, **faster_rcnn.C4, **L1},
    # Group Normalization (ECCV 2018, section 4.2.2), from random numbers.
    "r50_fpn_gn": {"norm": "group", "pyramid_norm": "group", "convs": 4, "fc": (1024,), "head_norm": "group"},
    # The heads of 2021 (arXiv:2111.11429, section 3), from random numbers.
    "r50_fpn_2021": {
        "norm": "sync", "pyramid_norm": "sync", "rpn_depth": 2, "convs": 4, "fc": (1024,), "head_norm": "sync",
    },
}  # fmt: skip
STEPS = {"1x": 90_000, "3x": 270_000}


def get_config(form="r50_fpn"):
    form, _, schedule = form.partition(",")
    steps = STEPS[schedule or "1x"]
    return ConfigDict({
        "name": f"faster_rcnn_{form}_coco",
        "model": {"name": "FasterRCNN", **FORMS[form]},
        "data": common.coco(),
        "train": common.sgd(
            steps=steps, batch_size=16, learning_rate=0.02, weight_decay=1e-4, decay_biases=True, warmup=1000,
            drops=(steps - 60_000, steps - 20_000) if schedule == "3x" else (60_000, 80_000),
            sizes=(640, 672, 704, 736, 768, 800), sizes_every=1, evaluate_every=10_000, transforms=(("flip", 0.5),),
        ),
    })  # fmt: skip
