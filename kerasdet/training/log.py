"""The progress bar and log of a run."""

import json
import pathlib
import time

import keras


class Log(keras.callbacks.Callback):
    """Adds learning rate, images per second and the share of time spent waiting for data to Keras' progress bar, and
    writes `log.jsonl` in the run folder, one line every `every` steps.

    Args:
        folder: the run folder.
        batch_size: images per step.
        schedule: the learning rate by step.
        steps: steps of the run.
        start: step at which the run starts.
        every: steps between lines.
        board: None, or a `board.Board` that gets the same rows.
    """

    def __init__(self, folder, batch_size, schedule, steps, start, every=20, board=None):
        super().__init__()
        self.path = pathlib.Path(folder) / "log.jsonl"
        self.batch_size = batch_size
        self.schedule = schedule
        self.steps = steps
        self.step = start
        self.every = every
        self.board = board

    def write(self, **row):
        """Writes a line of plain values, with the step."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": self.step, **row}) + "\n")
        if self.board is not None:
            self.board.scalars(self.step, row)

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
            self.write(**{k: round(float(v), 6) for k, v in logs.items()}, **{"seconds left": round(left)})
            self._restart()

    def _restart(self):
        self.begin = time.perf_counter()
        self.waited = self.model.waited
        self.done = 0
