"""Trains the detector of a config.

    python -m tools.train --config=configs/retinanet/r18_shapes.py --run=runs/shapes --config.train.steps=500
    python -m tools.train --config=configs/retinanet/own_data.py --config.data.folder=photos --minutes=60

docs/training.md has the rest: resuming, fine-tuning, stages, several devices and machines.
"""

import os
import sys

import keras
import tensorflow as tf
from absl import flags
from ml_collections import config_flags

from kerasdet import data, runs, training
from kerasdet.training import probe, strategy
from kerasdet.training.preflight import preflight

CONFIG = config_flags.DEFINE_config_file("config", None, "File with `get_config()`.")
RUN = flags.DEFINE_string("run", None, "Folder of the run; by default runs/ and the config's name.")
RESUME = flags.DEFINE_bool("resume", False, "Go on from the run's newest checkpoint.")
INIT = flags.DEFINE_string("init_from", None, "Run folder, .keras or .weights.h5 file whose weights to start from.")
BATCH = flags.DEFINE_integer("batch_size", None, "Images a step; the config's learning rate is scaled to it.")
MINUTES = flags.DEFINE_float("minutes", None, "Stretch the config's schedule to this time.")
STRATEGY = flags.DEFINE_enum("strategy", "auto", strategy.KINDS, "Devices to train on.")
TPU = flags.DEFINE_string("tpu", "", "Name or address of the TPU, for --strategy=tpu.")
SERVICE = flags.DEFINE_string("data_service", "", "Address grpc://host:port of a tf.data service.")
BOARD = flags.DEFINE_bool("tensorboard", False, "Write events for TensorBoard.")
PREFLIGHT = flags.DEFINE_bool("preflight", True, "Look for what would keep AP at 0 before the first step.")
PROBE = flags.DEFINE_bool("probe", False, "Only try to learn eight pictures by heart, and say what is to blame if not.")
DETERMINISTIC = flags.DEFINE_bool("deterministic", False, "The same bits in every run, somewhat slower.")
flags.mark_flag_as_required("config")


def main(_):
    layout = strategy.make(STRATEGY.value, TPU.value)
    config = CONFIG.value
    run = RUN.value or os.path.join("runs", config.name)
    train = data.read(**config.data.train)
    validation = data.read(**config.data.validation)
    for note in train.notes + validation.notes:
        print(note)
    print(f"{train.name}: {len(train)} images, {validation.name}: {len(validation)} images, classes {train.classes}")
    if strategy.is_chief(layout):
        runs.write_config(run, config)
    keras.utils.set_random_seed(config.train.get("seed", 0))
    if DETERMINISTIC.value:
        tf.config.experimental.enable_op_determinism()
    with layout.scope():
        model = runs.build(config.model, train.classes)
    print(f"{config.model.name}: {model.count_params():,} parameters; writing to {run}")
    settings = config.train.to_dict()
    if BATCH.value:
        settings.update(batch_size=BATCH.value, learning_rate_for=settings["batch_size"])
    if PROBE.value:
        own = {k: settings[k] for k in probe.SETTINGS if k in settings}
        own.setdefault("learning_rate_for", settings.get("batch_size"))
        verdict = probe.probe(lambda: runs.build(config.model, train.classes), train, **own)
        print(verdict)
        sys.exit(int(verdict.blame is not None))
    if PREFLIGHT.value and not RESUME.value:
        report = preflight(model, train, validation, settings.get("transforms", ()))
        print(report, flush=True)
        report.check()
    training.fit(
        model, train, validation, run, resume=RESUME.value, data_service=SERVICE.value, tensorboard=BOARD.value,
        **{**settings, **{k: f.value for k, f in (("minutes", MINUTES), ("init_from", INIT)) if f.value is not None}},
    )  # fmt: skip


if __name__ == "__main__":
    runs.script(main)
