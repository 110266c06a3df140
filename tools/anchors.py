"""Fits anchors to the objects of a data set, at network size, by k-means under 1 - IoU.

    python -m tools.anchors --config=configs/retinanet/own_data.py --config.data.folder=photos

Prints the line for the config's `model`, with the share of objects reached before and after, and k priors (YOLOv2,
section 2) for detectors whose anchors are widths and heights.
"""

import numpy as np
from absl import flags
from ml_collections import config_flags

from kerasdet import command

CONFIG = config_flags.DEFINE_config_file("config", None, "File with `get_config()`.")
RUN = flags.DEFINE_string("run", "inspection", "Run folder, in case the split is made automatically.")
IMAGES = flags.DEFINE_integer("images", 1000, "Number of pictures to use.")
PRIORS = flags.DEFINE_integer("priors", 9, "Number of priors.")
SEED = flags.DEFINE_integer("seed", 0, "Seed for choosing pictures and for k-means.")
flags.mark_flag_as_required("config")


def main(_):
    from kerasdet import clusters, runs
    from kerasdet.load import build
    from kerasdet.training import reach

    config = CONFIG.value
    if "backbone_weights" in config.model:
        config.model.backbone_weights = None
    train, _ = runs.datasets(config, RUN.value)
    model = build(config.model, train.classes)
    seen = reach.targets(model, train, config.train.get("transforms", ()), IMAGES.value, SEED.value)
    boxes, _ = reach.real_objects(seen)
    if not len(boxes):
        raise ValueError(f"{train.name} has no objects.")
    best = reach.overlaps(model, seen)
    if best is not None:
        share = np.mean(best >= model.positive_iou)
        print(f"the model's anchors reach {share:.3f} of {len(boxes)} objects (IoU of {model.positive_iou} or more)")
        print(reach.advice(model, seen, best) or "no other anchors of their kind reach more")
    centers, mean = clusters.kmeans(boxes[:, 2:] - boxes[:, :2], PRIORS.value, SEED.value)
    print(f"{len(centers)} priors, width x height in network pixels, mean IoU {mean:.3f}:")
    print(", ".join(f"({width:.1f}, {height:.1f})" for width, height in centers))


if __name__ == "__main__":
    command.script(main)
