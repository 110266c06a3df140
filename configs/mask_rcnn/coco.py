"""Mask R-CNN and Keypoint R-CNN on COCO by Detectron2's recipe: batches of 16, 90k steps (1x) or 270k (3x).

The word behind the colon is the form: r50_fpn, r101_fpn, r50_c4, r50_fpn_gn, r50_fpn_2021 or keypoint, and after a
comma 3x. Published box and mask AP (Detectron2): r50_fpn 38.6 and 35.2, 41.0 and 37.2 (3x), r101_fpn 42.9 and 38.6
(3x), r50_c4 36.8 and 32.2; box and keypoint AP of keypoint 53.6 and 64.0. Not run here; Detectron2 leaves out pictures
without labeled keypoints, which stay here and take a part of the steps, and draws a side for each picture, not batch.

python -m tools.train --config=configs/mask_rcnn/coco.py:r50_fpn,3x --config.data.folder=coco
"""

from kerasdet.configs import common
from kerasdet.configs.faster_rcnn import coco

from kerasdet.detectors import mask_rcnn

BRANCHES = {
    "r50_c4": mask_rcnn.MASK_C4,
    "r50_fpn_gn": {"mask_norm": "group"},
    "r50_fpn_2021": {"mask_norm": "sync"},
    "keypoint": {**mask_rcnn.KEYPOINT, "beta": 0.5, "after_nms": (1500, 1000)},
}


def get_config(form="r50_fpn"):
    form, _, schedule = form.partition(",")
    config = coco.get_config(f"{'r50_fpn' if form == 'keypoint' else form},{schedule or '1x'}")
    config.name = f"mask_rcnn_{form}_coco"
    config.model = {**config.model.to_dict(), "name": "MaskRCNN", **BRANCHES.get(form, {})}
    if form == "keypoint":
        config.data = common.coco_keypoints()
    return config
