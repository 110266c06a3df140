"""A run to be killed, and the same run resumed beside one that never was: python -m tests.training.killed MODE FOLDER.

MODE "slow" takes its time over each step, so that it can be killed; "writing" kills itself while it writes its fourth
checkpoint; "resume" goes on and compares, bit by bit.
"""

import json
import os
import pathlib
import signal
import sys
import time

import keras
import numpy as np
import tensorflow as tf

from kerasdet import training
from tests.training import micro

STEPS = 40
SETTINGS = {
    "steps": STEPS, "batch_size": 4, "learning_rate": 0.01, "warmup": 5, "ema": 0.9, "evaluate_every": 20,
    "checkpoint_every": 4, "transforms": (("flip", 0.5), ("zoom", 0.7, 1.5)),
}  # fmt: skip


class Ids(keras.callbacks.Callback):
    """Writes the image ids of every step, and waits."""

    def __init__(self, folder, wait):
        super().__init__()
        self.path = folder / "ids.jsonl"
        self.wait = wait

    def on_train_batch_end(self, batch, logs=None):
        step = int(tf.convert_to_tensor(self.model.optimizer.iterations.value))
        with open(self.path, "a") as file:
            file.write(json.dumps([step, self.model.batch[0]["ids"].numpy().tolist()]) + "\n")
        time.sleep(self.wait)


def ids(folder):
    """Image ids by step; of a step that was done twice, the second time."""
    path = folder / "ids.jsonl"
    return dict(json.loads(line) for line in path.read_text().splitlines()) if path.exists() else {}


def run(folder, wait=0.0, resume=False):
    model = micro.make(norm="batch", dropout=0.3)
    callbacks = [Ids(folder, wait)]
    training.fit(model, micro.photos(), micro.photos(4, seed=1), folder, resume=resume, callbacks=callbacks, **SETTINGS)
    return [v.numpy() for v in (*model.variables, *model.optimizer.variables)]


def kill_while_writing(number):
    """The file is whole but for its name, and the process is gone."""
    sync, calls = os.fsync, []

    def last_sync(file):
        calls.append(file)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(file)

    os.fsync = last_sync


def main(mode, folder):
    tf.config.experimental.enable_op_determinism()
    folder = pathlib.Path(folder)
    if mode != "resume":
        if mode == "writing":
            kill_while_writing(4)
        run(folder, wait=0.1 if mode == "slow" else 0.0)
        return
    resumed = run(folder, resume=True)
    (folder / "whole").mkdir()
    whole = run(folder / "whole")
    seen, expected = ids(folder), ids(folder / "whole")
    assert len(expected) == STEPS and seen == expected, (seen, expected)
    for a, b in zip(resumed, whole, strict=True):
        np.testing.assert_array_equal(a, b)
    print("bitwise the same")


if __name__ == "__main__":
    main(*sys.argv[1:])
