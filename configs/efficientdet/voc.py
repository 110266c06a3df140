"""EfficientDet-D0 on Pascal VOC 07+12, from weights trained on COCO: 50 epochs of batches of 64.

Behind the colon stands the form, d0 ... d7x or lite0 ... lite4. There is no published score.

python -m tools.train --config=configs/efficientdet/voc.py:d0 --config.data.folder=VOC0712 --init_from=presets/d0_coco
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

from kerasdet.detectors import efficientdet

EPOCH = 16_551 // 64


def get_config(form="d0"):
    arguments = efficientdet.FORMS[form]
    side = arguments["resize"][1]
    return ConfigDict({
        "name": f"efficientdet_{form}_voc",
        "model": {"name": "EfficientDet", "backbone_weights": "imagenet", **arguments},
        "data": common.voc(),
        "train": common.sgd(
            steps=50 * EPOCH, batch_size=64, learning_rate=0.08, drops=(), drop_factor=None, weight_decay=4e-5,
            warmup=EPOCH, warmup_from=0.1, clip_norm=10.0, ema=0.998, evaluate_every=10 * EPOCH,
            transforms=(("flip", 0.5), ("scale_jitter", side, 0.1, 2.0)),
        ),
        "evaluate": {"voc": True},
    })  # fmt: skip
