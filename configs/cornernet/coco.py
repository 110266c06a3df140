"""CornerNet on COCO, the release's recipe: 500,000 steps of 49 crops of 511 x 511.

Pictures get a longer side of 0.6 to 1.4 times the crop's; the release scales each by its own size instead.

Behind the colon "hourglass104" or "squeeze", CornerNet-Squeeze with 55 crops. Published on test-dev: AP 40.5 and 34.4,
with a flip of the first. Pictures are tested at their own size, as the model's `resize` says; the crops have the size
that it leaves as it is. Not run here.

python -m tools.train --config=configs/cornernet/coco.py:hourglass104 --config.data.folder=coco
"""

from kerasdet.configs import common
from ml_collections import ConfigDict

from kerasdet.detectors import cornernet

FORMS = {"hourglass104": ({"backbone": "hourglass104"}, 49), "squeeze": (cornernet.SQUEEZE, 55)}


def get_config(form="hourglass104"):
    model, batch = FORMS[form]
    return ConfigDict({
        "name": f"cornernet_{form}_coco",
        "model": {"name": "CornerNet", **model, "resize": ("cornernet_keep", 128)},
        "data": common.coco(),
        "train": common.sgd(
            steps=500_000, batch_size=batch, learning_rate=2.5e-4, drops=(450_000,), weight_decay=0.0,
            evaluate_every=25_000, optimizer="adam",
            transforms=(("scale_jitter", 511, 0.6, 1.4, 0.0), ("flip", 0.5), ("color",)),
        ),
    })  # fmt: skip
