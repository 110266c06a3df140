"""Shows what the network will be trained on: a batch after its transforms, with the anchors that take each object.

    python -m tools.inspect --config=configs/retinanet/r18_shapes.py --out=runs/inspect

Anchors that are matched to an object are green, objects that no anchor reaches are red. Prints counts, sizes in network
pixels and the share of objects that an anchor overlaps by the positive threshold.
"""

import os

import numpy as np
from absl import flags
from ml_collections import config_flags

from kerasdet import boxes, data, draw, runs
from kerasdet.data import pipeline
from kerasdet.targets import assign

CONFIG = config_flags.DEFINE_config_file("config", None, "File with `get_config()`.")
OUT = flags.DEFINE_string("out", "inspection", "Folder for the pictures.")
BATCHES = flags.DEFINE_integer("batches", 25, "Batches to count over; the first is drawn.")
GREEN, RED = (0, 170, 60), (230, 30, 30)
flags.mark_flag_as_required("config")


def main(_):
    config = CONFIG.value
    dataset = data.read(**config.data.train)
    model = runs.build(config.model, dataset.classes)
    transforms = config.train.get("transforms", ())
    batches = pipeline.load(dataset, model.preprocess, config.train.batch_size, training=True, transforms=transforms)
    os.makedirs(OUT.value, exist_ok=True)
    sizes, kinds, reached = [], [], []
    for number, (images, objects) in enumerate(batches.take(BATCHES.value)):
        anchors = model.anchors(images["pixels"].shape[1:3])
        best = np.array([np.max(boxes.iou(one, anchors), axis=1, initial=0) for one in objects["boxes"]])
        real = (objects["classes"].numpy() >= 0) & ~objects["crowds"].numpy()
        low, high = np.split(objects["boxes"].numpy()[real], 2, axis=-1)
        sizes += np.sqrt(np.prod(high - low, axis=-1)).tolist()
        kinds += objects["classes"].numpy()[real].tolist()
        reached += (best[real] >= model.positive).tolist()
        if number == 0:
            match = assign.by_iou(anchors, objects, model.positive, model.negative)
            missed = real & (best < model.positive)
            _draw(images, objects, anchors.numpy(), match.positive.numpy(), missed, dataset.classes)
    for note in dataset.notes:
        print(note)
    print(f"{dataset.name}: {len(kinds)} objects in {BATCHES.value} batches")
    for kind, name in enumerate(dataset.classes):
        print(f"  {name:24s} {kinds.count(kind)}")
    if sizes:
        marks = np.percentile(sizes, (0, 10, 50, 90, 100))
        print("square root of area, network pixels (0, 10, 50, 90, 100 %): " + ", ".join(f"{m:.0f}" for m in marks))
        print(f"share of objects that an anchor overlaps by {model.positive}: {np.mean(reached):.3f}")
    print(f"pictures written to {OUT.value}")


def _draw(images, objects, anchors, matched, missed, names):
    for i, pixels in enumerate(images["pixels"].numpy()):
        picture = draw.outline(pixels, anchors[matched[i]], GREEN, width=1)
        picture = draw.boxes(picture, objects["boxes"][i].numpy(), objects["classes"][i].numpy(), names)
        picture = draw.outline(picture, objects["boxes"][i].numpy()[missed[i]], RED, width=3)
        picture.save(os.path.join(OUT.value, f"{int(images['ids'][i]):06d}_{i}.png"))


if __name__ == "__main__":
    runs.script(main)
