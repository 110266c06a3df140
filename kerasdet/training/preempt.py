"""Handles SIGTERM, which cloud machines send before shutting down: finish the step, write a checkpoint, exit with 0."""

import contextlib
import signal
import threading

import keras


class Preemption(keras.callbacks.Callback):
    """Saves and exits after the step in which this process or another worker was asked to end.

    Args:
        agreed: function from `strategy.agreement`.
        save: function without arguments, called before the exit.
        run: the run folder, for the message.
    """

    def __init__(self, agreed, save, run):
        super().__init__()
        self.agreed = agreed
        self.save = save
        self.run = run
        self.asked = False

    def on_train_batch_end(self, batch, logs=None):
        if self.agreed(self.asked) > 0:
            step = self.save()
            print(f"\nasked to end: saved at step {step} in {self.run}; the same command with --resume continues.")
            raise SystemExit(0)

    @contextlib.contextmanager
    def listening(self):
        """Handles SIGTERM inside; only the main thread of a process can do so."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _ask(self, *_):
        self.asked = True
