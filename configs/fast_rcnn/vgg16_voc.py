"""Fast R-CNN on VGG16 on Pascal VOC 07+12, the release's recipe: 60k steps of two images.

Published: AP50 70.0 on VOC07 test (the paper's table 1). Not run here.

python -m tools.make_proposals --path=VOC0712 --split=trainval --out=voc.npz
python -m tools.make_proposals --path=VOC0712 --split=test --out=voc.npz
python -m tools.train --config=configs/fast_rcnn/vgg16_voc.py --config.data.folder=VOC0712
"""

from ml_collections import ConfigDict

from kerasdet.detectors import fast_rcnn


def get_config():
    config = ConfigDict({
        "name": "fast_rcnn_voc",
        "model": {"name": "FastRCNN", "backbone_weights": "imagenet", **fast_rcnn.VGG16},
        "data": {"folder": "data/voc0712", "proposals": "voc.npz"},
        "train": {
            "steps": 60_000,
            "batch_size": 2,
            "optimizer": "sgd",
            "learning_rate": 1e-3,
            "momentum": 0.9,
            "weight_decay": 5e-4,
            "warmup": 0,
            "drops": (40_000,),
            "clip_norm": None,
            "ema": None,
            "evaluate_every": 10_000,
            "transforms": (("flip", 0.5),),
        },
    })  # fmt: skip
    folder, proposals = config.data.get_ref("folder"), config.data.get_ref("proposals")
    for part, split in (("train", "trainval"), ("validation", "test")):
        config.data[part] = {"path": folder, "split": split, "proposals": proposals, "max_proposals": 2000}
    return config
