"""Trains the detector of a config.

python -m tools.train --config=configs/retinanet/r18_shapes.py --run=runs/shapes --config.train.steps=500
"""

import os

import tensorflow as tf
from absl import flags
from ml_collections import config_flags

from kerasdet import data, runs, training

CONFIG = config_flags.DEFINE_config_file("config", None, "File with `get_config()`.")
RUN = flags.DEFINE_string("run", None, "Folder of the run; by default runs/ and the config's name.")
RESUME = flags.DEFINE_bool("resume", False, "Go on from the run's newest checkpoint.")
flags.mark_flag_as_required("config")


def main(_):
    config = CONFIG.value
    run = RUN.value or os.path.join("runs", config.name)
    train = data.read(**config.data.train)
    validation = data.read(**config.data.validation)
    for note in train.notes + validation.notes:
        print(note)
    print(f"{train.name}: {len(train)} images, {validation.name}: {len(validation)} images, classes {train.classes}")
    gpus = tf.config.list_logical_devices("GPU")
    strategy = tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()
    runs.write_config(run, config)
    with strategy.scope():
        model = runs.build(config.model, train.classes)
    print(f"{config.model.name}: {model.count_params():,} parameters; writing to {run}")
    training.fit(model, train, validation, run, resume=RESUME.value, **config.train)


if __name__ == "__main__":
    runs.script(main)
