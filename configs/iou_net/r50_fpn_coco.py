"""IoU-Net on ResNet-50-FPN on COCO by the paper's recipe: 160k steps of 16 images.

Published on val2017: AP 38.0 with IoU-guided NMS and refinement, 36.4 by Faster R-CNN with greedy suppression (the
paper's tables 2 and 3). Not run here. The paper does not say how many boxes the IoU branch learns from; here as many as
there are regions.

python -m tools.train --config=configs/iou_net/r50_fpn_coco.py --config.data.folder=coco
"""

from kerasdet.configs import common
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "name": "iou_net_coco",
        "model": {
            "name": "IoUNet",
            "backbone": {"name": "resnet50_keras", "freeze": 2},
            "backbone_weights": "imagenet",
            "roi_batch": 512,
            "iou_batch": 512,
            "resize": ("shorter", 800, 1200),
        },
        "data": common.coco(),
        "train": common.sgd(
            steps=160_000, batch_size=16, learning_rate=0.01, drops=(120_000,), weight_decay=1e-4, warmup=10_000,
            warmup_from=0.4, evaluate_every=10_000, transforms=(("flip", 0.5),),
        ),
    })  # fmt: skip
