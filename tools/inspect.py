"""Shows what the network will be trained on and what would keep it from learning.

    python -m tools.inspect --config=configs/retinanet/r18_shapes.py --out=runs/inspect
    python -m tools.inspect --config=configs/retinanet/own_data.py --config.data.folder=photos --check --clean=c.json
    python -m tools.inspect --batch=runs/mine/nonfinite.npz

The first form prints the pre-flight and draws a batch after its transforms: anchors that match an object are green,
objects that no anchor reaches are red. --check opens every picture and checks every annotation; it exits with 1 if
something is wrong. --batch draws a batch that a run saved when its loss was not finite.
"""

import os
import sys

from absl import flags
from ml_collections import config_flags

from kerasdet import command

CONFIG = config_flags.DEFINE_config_file("config", None, "File with `get_config()`.")
OUT = flags.DEFINE_string("out", "inspection", "Folder for the pictures.")
IMAGES = flags.DEFINE_integer("images", 200, "Pictures that the pre-flight checks as the network gets them.")
CHECK = flags.DEFINE_bool("check", False, "Open every picture and check every annotation instead.")
CLEAN = flags.DEFINE_string("clean", None, "With --check: COCO file to write, without the faulty parts.")
BATCH = flags.DEFINE_string("batch", None, "Draw a saved batch instead, a .npz file.")


def main(_):
    if BATCH.value:
        return show(BATCH.value)
    if CONFIG.value is None:
        raise ValueError("give a --config, or a --batch.")
    return check(CONFIG.value) if CHECK.value else inspect(CONFIG.value)


def show(path):
    from kerasdet.training import look

    images, objects = look.load_batch(path)
    print("\n".join(look.describe_batch(images, objects)))
    names = [f"class {i}" for i in range(objects["classes"].max(initial=0) + 1)]
    print(f"{len(look.draw_batch(images, objects, names, OUT.value))} pictures written to {OUT.value}")


def check(config):
    from kerasdet import runs
    from kerasdet.data import faults, validate

    with faults.listed() as refused:
        datasets = runs.datasets(config, OUT.value)
    wrong = False
    for dataset, part in zip(datasets, ("", "_validation"), strict=True):
        findings = validate.check(dataset, refused if not part else ())
        print(findings.text(), flush=True)
        wrong |= bool(findings.faults)
        if CLEAN.value:
            path = part.join(os.path.splitext(CLEAN.value))
            root = validate.write(findings.clean, path)
            print(f"{len(findings.clean)} pictures written to {path}; read it with images={root!r}")
    sys.exit(int(wrong))


def inspect(config):
    from kerasdet import runs
    from kerasdet.data import pipeline
    from kerasdet.load import build
    from kerasdet.training import look
    from kerasdet.training.preflight import preflight

    train, validation = runs.datasets(config, OUT.value)
    if "backbone_weights" in config.model:
        config.model.backbone_weights = None
    model = build(config.model, train.classes)
    transforms = config.train.get("transforms", ())
    print("\n".join(train.notes + validation.notes))
    print(preflight(model, train, validation, transforms, IMAGES.value))
    stream = pipeline.load(
        train, model.preprocess, config.train.batch_size, training=True, transforms=transforms, masks=model.needs_masks
    )
    images, objects = next(iter(stream))
    paths = look.draw_batch(images, objects, train.classes, OUT.value, model, train.skeleton)
    print(f"{len(paths)} pictures written to {OUT.value}")


if __name__ == "__main__":
    command.script(main)
