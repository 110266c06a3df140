"""What a run tells while it trains."""

import json
import math
import pathlib
import time

import keras

from kerasdet.training.checkpoints import averaged


class Guard(keras.callbacks.Callback):
    """Stops the run at the first loss term that is not finite."""

    def __init__(self, start):
        super().__init__()
        self.step = start

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        for name, value in logs.items():
            if not math.isfinite(float(value)):
                raise FloatingPointError(
                    f"the loss term '{name}' is {float(value)} at step {self.step}: lower the learning rate, "
                    "lengthen the warm-up or check the annotations."
                )


class Log(keras.callbacks.Callback):
    """Adds learning rate, images a second and the share of time that waits for data to Keras' progress bar, and writes
    `log.jsonl` in the run folder, one line every `every` steps."""

    def __init__(self, run, batch_size, schedule, steps, start, every=20):
        super().__init__()
        self.file = open(pathlib.Path(run) / "log.jsonl", "a", encoding="utf-8")
        self.batch_size = batch_size
        self.schedule = schedule
        self.steps = steps
        self.step = start
        self.every = every

    def on_epoch_begin(self, epoch, logs=None):
        self._restart()

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        self.done += 1
        seconds = max(time.perf_counter() - self.begin, 1e-9)
        logs["rate"] = float(self.schedule(self.step - 1))
        logs["images/s"] = self.done * self.batch_size / seconds
        logs["data wait"] = (self.model.waited - self.waited) / seconds
        if self.step % self.every == 0:
            left = (self.steps - self.step) * seconds / self.done
            row = {"step": self.step, **{k: round(float(v), 6) for k, v in logs.items()}, "seconds left": round(left)}
            self.file.write(json.dumps(row) + "\n")
            self.file.flush()
            self._restart()

    def on_train_end(self, logs=None):
        self.file.close()

    def _restart(self):
        self.begin = time.perf_counter()
        self.waited = self.model.waited
        self.done = 0


class Validate(keras.callbacks.Callback):
    """After every round: evaluates with the averaged weights, saves the model, writes a checkpoint."""

    def __init__(self, evaluator, run, checkpoints, start):
        super().__init__()
        self.evaluator = evaluator
        self.run = pathlib.Path(run)
        self.checkpoints = checkpoints
        self.step = start
        self.metrics = {}

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1

    def on_epoch_end(self, epoch, logs=None):
        with averaged(self.model):
            if self.evaluator is not None:
                self.metrics = self.evaluator()
                self._report(logs)
            self.model.save(self.run / "model.keras")
        self.checkpoints.save(self.step)

    def _report(self, logs):
        numbers = {f"val_{k}": v for k, v in self.metrics.items() if not isinstance(v, dict)}
        logs.update(numbers)
        print(f"\nstep {self.step}: " + "  ".join(f"{k} {v:.4f}" for k, v in numbers.items()), flush=True)
        with open(self.run / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": self.step, **numbers}) + "\n")
