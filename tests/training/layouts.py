"""The same training in three layouts: `python -m tests.training.layouts LAYOUT FOLDER`.

"mirrored" trains on one device and on two mirrored ones and compares; "worker" is one of two workers by TF_CONFIG and
goes on from FOLDER if there is something to go on from. SGD with momentum and clipping; norms frozen or synchronized.
"""

import json
import os
import pathlib
import sys
import time

import keras
import numpy as np
import tensorflow as tf

from kerasdet import training
from kerasdet.training import strategy
from tests.training import micro

STEPS = 20
SETTINGS = {
    "steps": STEPS, "batch_size": 8, "learning_rate": 0.05, "optimizer": "sgd", "warmup": 5, "weight_decay": 1e-4,
    "clip_norm": 0.5, "ema": 0.9, "evaluate_every": 10, "checkpoint_every": 4, "transforms": (("flip", 0.5),),
}  # fmt: skip


class Losses(keras.callbacks.Callback):
    """Writes the loss of every step: its share of Keras' running mean."""

    def __init__(self, path, wait):
        super().__init__()
        self.path = path
        self.wait = wait

    def on_epoch_begin(self, epoch, logs=None):
        self.sum, self.count = 0.0, 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1
        loss, self.sum = logs["loss"] * self.count - self.sum, logs["loss"] * self.count
        step = int(tf.convert_to_tensor(self.model.optimizer.iterations.value))
        with open(self.path, "a") as file:
            file.write(json.dumps([step, loss]) + "\n")
        time.sleep(self.wait)


def losses(path):
    """Loss by step; of a step that was done twice, the second time."""
    lines = path.read_text().splitlines() if path.exists() else []
    return dict(json.loads(line) for line in lines)


def train(layout, folder, name, wait=0.0, resume=False, norm="frozen"):
    keras.utils.set_random_seed(0)
    with layout.scope():
        model = micro.Micro(norm=norm)
    path = folder / f"{name}.jsonl"
    metrics = training.fit(
        model, micro.photos(), micro.photos(6, seed=1), folder / name.partition("-")[0], resume=resume,
        callbacks=[Losses(path, wait)], **SETTINGS,
    )  # fmt: skip
    np.savez(folder / f"{name}.npz", *[v.numpy() for v in model.weights], AP=metrics["AP"], loss=metrics["loss"])


def compare(folder, name, other):
    """Losses within 1e-4, weights within 1e-5."""
    one, two = losses(folder / f"{name}.jsonl"), losses(folder / f"{other}.jsonl")
    assert list(one) == list(range(1, STEPS + 1)) and sorted(two) == list(one), (one, two)
    np.testing.assert_allclose([two[i] for i in one], list(one.values()), rtol=1e-4)
    assert one[STEPS] < 0.9 * one[1]
    with np.load(folder / f"{name}.npz") as a, np.load(folder / f"{other}.npz") as b:
        for key in a.files:
            np.testing.assert_allclose(b[key], a[key], rtol=1e-4, atol=1e-5)


def main(kind, folder):
    folder = pathlib.Path(folder)
    if kind == "worker":
        number = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
        resume = any(folder.glob("worker/checkpoints/*.npz"))
        train(strategy.make(), folder, f"worker-{number}", wait=0.0 if resume else 0.2, resume=resume)
        return
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    mirrored = strategy.make("mirrored")  # one for both: another would count its collectives from the start again
    for norm, ending in (("frozen", ""), ("sync", "_sync")):
        train(strategy.make("one"), folder, f"one{ending}", norm=norm)
        train(mirrored, folder, f"mirrored{ending}", norm=norm)
        compare(folder, f"one{ending}", f"mirrored{ending}")


if __name__ == "__main__":
    main(*sys.argv[1:])
