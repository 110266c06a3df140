"""Forms without available weights overfit one batch: every box reaches an IoU of 0.95.

python -m pytest -s -m slow tests/detectors/test_overfit.py
"""

import dataclasses

import keras
import numpy as np
import pytest

from kerasdet import data
from kerasdet.data import pipeline
from kerasdet.detectors import SSD, CenterNet, FasterRCNN, RefineDet, centernet, faster_rcnn
from kerasdet.evaluation.evaluator import Evaluator
from kerasdet.training import probe
from kerasdet.training.schedules import Schedule

SMALL = {"resize": ("shorter", 256, 256), "roi_batch": 64}
# Anchors are smaller than the papers' in proportion to the pictures. No dropout, because it works against overfitting.
SINGLE = {**SMALL, "sizes": ((54, 109, 218),), "dropout": 0.0}
# Batch statistics would differ between the few regions of a training step and all proposals at inference.
C4 = {**SMALL, "norm": "group", "roi_batch": 32, "after_nms": (2000, 200)}
# At 128 pixels a batch has few cells, whose statistics would differ from the running ones.
POINTS = {"norm": "group", "neck_norm": "group", "resize": ("centernet_fixed", 128, 128)}

# Class, arguments, pictures, smallest side of their objects in pixels, steps, learning rate. A single map of stride 16
# cannot locate small objects that precisely; CenterNet sees the pictures at half their size.
FORMS = {
    "SSD300 VGG16": (SSD, {}, 4, 0, 200, 1e-4),
    "RefineDet320 VGG16": (RefineDet, {}, 4, 0, 300, 1e-4),
    "CenterNet R18-DCN": (CenterNet, {**centernet.RESNET_DCN, **POINTS}, 2, 40, 400, 5e-4),
    "CenterNet DLA-34": (CenterNet, {**centernet.DLA, **POINTS}, 2, 40, 400, 5e-4),
    "CenterNet Hourglass-104": (CenterNet, {**centernet.HOURGLASS, **POINTS}, 2, 40, 300, 2.5e-4),
    "Faster VGG16": (FasterRCNN, {**faster_rcnn.VGG16, **SINGLE}, 2, 40, 1400, 1e-4),
    "Faster ZF": (FasterRCNN, {**faster_rcnn.ZF, **SINGLE}, 2, 40, 1400, 1e-4),
    "Faster R50-C4": (FasterRCNN, {**faster_rcnn.C4, **C4}, 2, 40, 500, 1e-4),
    "Faster R50-FPN": (FasterRCNN, {"norm": "batch", **SMALL}, 2, 0, 300, 1e-4),
}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_overfits_to_an_ap_of_one(form):
    kind, arguments, count, least, steps, rate = FORMS[form]
    shapes = data.read("shapes", "val")
    large = [one for one in shapes.records if np.min(one.boxes[:, 2:] - one.boxes[:, :2], initial=least) >= least]
    few = probe.some_pictures(dataclasses.replace(shapes, records=large), count)
    keras.utils.set_random_seed(0)
    model = kind(few.classes, **arguments)
    model.compile(keras.optimizers.Adam(Schedule(rate, steps=steps, warmup=20)), clip_norm=10.0)
    stream, score = pipeline.load(few, model.preprocess, count, training=True), Evaluator(model, few, count)
    reached = 0.0
    while reached < 0.9999 and model.optimizer.iterations < steps:
        loss = model.fit(stream, steps_per_epoch=20, verbose=0).history["loss"][0]
        reached = score()["AP"]
        print(f"{form}, step {int(model.optimizer.iterations)}: loss {loss:.3f}, AP {reached:.3f}", flush=True)
    assert reached == pytest.approx(1.0)
