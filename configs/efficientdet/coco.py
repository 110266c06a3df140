"""EfficientDet on COCO, the release's recipe: 300 epochs of batches of 128, large-scale jitter, averaged weights.

Behind the colon stands the form, d0 ... d7x or lite0 ... lite4. Published on test-dev (the release): AP 34.6, 40.5,
43.9, 47.2, 49.7, 51.5, 52.6, 53.7 and 55.1 for D0 ... D7x. Not run here. The rate is that of the release for a batch of
128; its cosine starts with the warm-up, ours after it. D7 and D7x take 600 epochs. A jittered picture is the upper left
of its square, and the rest has the gray of the mean color.

python -m tools.train --config=configs/efficientdet/coco.py:d0 --config.data.folder=coco
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

from kerasdet.detectors import efficientdet

EPOCH = 118_287 // 128


def get_config(form="d0"):
    arguments = efficientdet.FORMS[form]
    side = arguments["resize"][1]
    return ConfigDict({
        "name": f"efficientdet_{form}_coco",
        "model": {"name": "EfficientDet", "backbone_weights": "imagenet", **arguments},
        "data": common.coco(),
        "train": common.sgd(
            steps=(600 if form in ("d7", "d7x") else 300) * EPOCH, batch_size=128, learning_rate=0.16, drops=(),
            drop_factor=None, weight_decay=4e-5, warmup=EPOCH, warmup_from=0.05, clip_norm=10.0, ema=0.9998,
            evaluate_every=10 * EPOCH, transforms=(("flip", 0.5), ("scale_jitter", side, 0.1, 2.0)),
        ),
    })  # fmt: skip
