"""Fast R-CNN on VGG16 on Pascal VOC 07+12, the release's recipe: 60k steps of two images.

Published: AP50 70.0 on VOC07 test (the paper's table 1). Not run here. Biases learn at twice the rate (section 2.3)
and do not decay.

python -m tools.make_proposals --path=VOC0712 --split=trainval --out=voc.npz
python -m tools.make_proposals --path=VOC0712 --split=test --out=voc.npz
python -m tools.train --config=configs/fast_rcnn/vgg16_voc.py --config.data.folder=VOC0712
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

from kerasdet.detectors import fast_rcnn


def get_config():
    return ConfigDict({
        "name": "fast_rcnn_voc",
        "model": {"name": "FastRCNN", "backbone_weights": "imagenet", **fast_rcnn.VGG16},
        "data": common.voc(proposals="voc.npz", max_proposals=2000),
        "train": common.sgd(
            steps=60_000, batch_size=2, learning_rate=1e-3, drops=(40_000,), weight_decay=5e-4,
            rates={"*bias": 2.0}, evaluate_every=10_000, transforms=(("flip", 0.5),),
        ),
        "evaluate": {"voc": True},
    })  # fmt: skip
