"""Trains the detector of a config.

    python -m tools.train photos --minutes=60 --run=runs/mine
    python -m tools.train photos --model=ssd_mobilenet --config.train.batch_size=8
    python -m tools.train --config=configs/retinanet/r18_shapes.py --run=runs/shapes --config.train.steps=500

docs/training.md explains resuming, fine-tuning and stages; docs/scale.md explains several devices and machines.
"""

import os
import sys

from absl import flags
from ml_collections import config_flags

from kerasdet import command

CONFIG = config_flags.DEFINE_config_file("config", None, "File with `get_config()`.")
MODEL = flags.DEFINE_string("model", "retinanet", "For a folder: the detector, a folder of configs with own_data.py.")
SIZE = flags.DEFINE_integer("size", None, "For a folder: shorter side of what the network sees, pixels.")
WEIGHTS = flags.DEFINE_string("weights", None, "Preset, or Keras weights file of the backbone, to start from, or none.")
RUN = flags.DEFINE_string("run", None, "Folder of the run; by default runs/ and the config's name.")
RESUME = flags.DEFINE_bool("resume", False, "Continue from the run's newest checkpoint.")
INIT = flags.DEFINE_string("init_from", None, "Run folder, .keras or .weights.h5 file whose weights to start from.")
BATCH = flags.DEFINE_integer("batch_size", None, "Images per step; the config's learning rate is scaled to it.")
MINUTES = flags.DEFINE_float("minutes", None, "Stretch the config's schedule to this time.")
STEPS = flags.DEFINE_integer("steps", None, "Train for this many steps, regardless of the minutes.")
STRATEGY = flags.DEFINE_enum("strategy", "auto", ("auto", "one", "mirrored", "workers", "tpu"), "Devices to train on.")
TPU = flags.DEFINE_string("tpu", "", "Name or address of the TPU, for --strategy=tpu.")
SERVICE = flags.DEFINE_string("data_service", "", "Address grpc://host:port of a tf.data service.")
BOARD = flags.DEFINE_bool("tensorboard", False, "Write events for TensorBoard.")
PREFLIGHT = flags.DEFINE_bool("preflight", True, "Look for what would keep AP at 0 before the first step.")
PROBE = flags.DEFINE_bool("probe", False, "Only try to overfit eight pictures, and name the cause if that fails.")
DETERMINISTIC = flags.DEFINE_bool("deterministic", False, "Make runs bit-for-bit reproducible; somewhat slower.")
FORMAT = flags.DEFINE_string("format", None, "How a table writes boxes, xyxy, xywh or cxcywh; or the folder's format.")
IMAGES = flags.DEFINE_string("images", None, "Folder of the photos, if it is unclear.")
ANNOTATIONS = flags.DEFINE_string("annotations", None, "File or folder of the annotations, if they lie elsewhere.")
CLASSES = flags.DEFINE_list("classes", None, "Names of the classes in their order, if no file has them.")
flags.DEFINE_alias("out", "run")


def default_config():
    """What --config.train.batch_size=8 and the like change if there is no --config: the recipe of --model."""
    from kerasdet import recipes

    return recipes.file(MODEL.value, SIZE.value)


def main(arguments):
    import keras
    import tensorflow as tf

    from kerasdet import recipes, runs, training
    from kerasdet.data import shrink
    from kerasdet.load import build
    from kerasdet.training import probe, strategy
    from kerasdet.training.preflight import preflight

    layout = strategy.make(STRATEGY.value, TPU.value)
    config = recipes.config(CONFIG.value, *arguments[1:], model=MODEL.value, size=SIZE.value, weights=WEIGHTS.value)
    config.data.update(command.given(format=FORMAT, images=IMAGES, annotations=ANNOTATIONS, classes=CLASSES))
    run = RUN.value or os.path.join("runs", config.name)
    train, validation = runs.datasets(config, run, again=RESUME.value, init_from=INIT.value)
    for note in dict.fromkeys(train.notes + validation.notes):
        print(note)
    print(f"{train.name}: {len(train)} images, {validation.name}: {len(validation)} images, classes {train.classes}")
    if strategy.is_chief(layout):
        runs.write_config(run, config)
    keras.utils.set_random_seed(config.train.get("seed", 0))
    if DETERMINISTIC.value:
        tf.config.experimental.enable_op_determinism()
    settings = {**config.train.to_dict(), "evaluate": dict(config.get("evaluate", {}))}
    if PROBE.value:
        verdict = probe.probe(lambda: build(config.model, train.classes), train, **probe.settings(settings))
        print(verdict)
        sys.exit(int(verdict.blame is not None))
    with layout.scope():
        model = build(config.model, train.classes)
    print(f"{config.model.name}: {model.count_params():,} parameters; writing to {run}")
    if PREFLIGHT.value and not RESUME.value:
        report = preflight(model, train, validation, settings.get("transforms", ()))
        print(report, flush=True)
        report.check()
    if "share" in config.data:
        side = 2 * min(config.model.resize[1:])  # room for transforms that zoom in
        train, validation = shrink.shrunk(train, side), shrink.shrunk(validation, side)
    given = {"minutes": MINUTES.value, "init_from": INIT.value, "batch_size": BATCH.value}
    settings = {"learning_rate_for": settings["batch_size"], **settings, **{k: v for k, v in given.items() if v}}
    if STEPS.value:
        settings.update(steps=STEPS.value, minutes=None)
    service = {"data_service": SERVICE.value, "tensorboard": BOARD.value}
    training.fit(model, train, validation, run, resume=RESUME.value, **service, **settings)


if __name__ == "__main__":
    command.script(main)
