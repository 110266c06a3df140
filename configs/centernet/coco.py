"""CenterNet on COCO, the release's recipe: Adam at 512 x 512, random crops at 0.6 to 1.4 times the size, mirrored.

Behind the colon a key of `FORMS`. Published on val2017, plain and with a flip: AP 28.1 and 30.0 ("r18_dcn"), 34.6 and
36.2 ("r101_dcn"), 37.4 and 39.2 ("dla34" after 230 epochs), 40.3 and 42.2 ("hourglass104", which starts from
ExtremeNet's weights). The release tests pictures at their own size: `--config.model.resize="('centernet_keep',32)"`,
128 for the hourglass. "r18" and "r101" have plain deconvolutions; "dla34_pose" learns persons with their joints. Not
run here.

python -m tools.train --config=configs/centernet/coco.py:dla34 --config.data.folder=coco
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

from kerasdet.detectors import centernet

# Pictures of train2017, from which the release counts its epochs.
PICTURES = 118_287


def resnet(depth):
    return {"backbone": {"name": f"resnet{depth}", "normalization": "centernet"}}


# Model, batch size, learning rate, epochs, and after which of them the rate falls to a tenth.
FORMS = {
    "r18": ({**resnet(18), **centernet.RESNET}, 114, 5e-4, 140, (90, 120)),
    "r101": ({**resnet(101), **centernet.RESNET}, 96, 3.75e-4, 140, (90, 120)),
    "r18_dcn": ({**resnet(18), **centernet.RESNET_DCN}, 114, 5e-4, 140, (90, 120)),
    "r101_dcn": ({**resnet(101), **centernet.RESNET_DCN}, 96, 3.75e-4, 140, (90, 120)),
    "dla34": (centernet.DLA, 128, 5e-4, 230, (180, 210)),
    "dla34_pose": ({**centernet.DLA, **centernet.POSE}, 128, 5e-4, 320, (270, 300)),
    "hourglass104": (centernet.HOURGLASS, 24, 2.5e-4, 50, (40,)),
}


def get_config(form="r18_dcn"):
    model, batch, rate, epochs, drops = FORMS[form]
    steps = PICTURES // batch
    return ConfigDict({
        "name": f"centernet_{form}_coco",
        "model": {"name": "CenterNet", **model, "resize": ("centernet_fixed", 512, 512)},
        "data": common.coco_keypoints() if "pose" in form else common.coco(),
        "train": common.sgd(
            steps=steps * epochs, batch_size=batch, learning_rate=rate, drops=tuple(steps * drop for drop in drops),
            weight_decay=0.0, evaluate_every=5 * steps, optimizer="adam",
            transforms=(("zoom", 1 / 1.4, 1 / 0.6, 0.0), ("flip", 0.5), ("color",)),
        ),
    })  # fmt: skip
