"""What happens at the end of a round: evaluation, files, and the decision to stop."""

import keras

from kerasdet.evaluation import diagnose
from kerasdet.training import guard
from kerasdet.training.checkpoints import averaged, save_model

# What the terminal shows of an evaluation, if it is scored; the log has every number.
SHOWN = ("loss", "AP", "AP50", "segm/AP", "segm/AP50", "keypoints/AP", "voc/AP2007", "voc/AP2010")


def tell(metrics, log):
    """Writes the numbers of an evaluation as a row of the log, and prints the few that tell how it goes.

    Args:
        metrics: of an `Evaluator`.
        log: a `Log`.

    Returns:
        What was printed: dict of "val_" and a metric's name to a float.
    """
    log.write(**{f"val_{k}": float(v) for k, v in metrics.items() if not isinstance(v, dict)})
    shown = {f"val_{k}": float(metrics[k]) for k in SHOWN if k in metrics}
    print(f"\nstep {log.step}: " + "  ".join(f"{k} {v:.4f}" for k, v in shown.items()), flush=True)
    return shown


class Validate(keras.callbacks.Callback):
    """After every round: evaluates with the averaged weights, saves the model, the best one too, and a checkpoint.

    Args:
        evaluator: an `Evaluator`, or None.
        home: where this process writes.
        checkpoints: a `Checkpoints`.
        log: a `Log`.
        facts: dict that goes into every checkpoint; all but the "plan" are kept up to date.
        checkpoint_every: steps between further checkpoints, or None.
        patience: rounds without a better AP after which to stop, or None.
        agreed: of `strategy.agreement`.
        board: None, or a `board.Board`.
    """

    def __init__(self, evaluator, home, checkpoints, log, facts, checkpoint_every, patience, agreed, board=None):
        super().__init__()
        self.evaluator = evaluator
        self.home = home
        self.checkpoints = checkpoints
        self.log = log
        self.facts = facts
        self.checkpoint_every = checkpoint_every
        self.patience = patience
        self.agreed = agreed
        self.board = board

    def on_train_batch_end(self, batch, logs=None):
        self.facts["step"] += 1
        if self.checkpoint_every and self.facts["step"] % self.checkpoint_every == 0:
            self.save()

    def save(self):
        """Writes a checkpoint; returns its step."""
        guard.check_weights(self.model, self.facts["step"])
        self.checkpoints.save(self.model, self.facts, self.home / "checkpoints")
        return self.facts["step"]

    def on_epoch_end(self, epoch, logs=None):
        # Saved before the evaluation too, so that nothing is lost by a kill during a long one.
        self.save()
        with averaged(self.model):
            if self.evaluator is not None:
                self._evaluate(logs)
            save_model(self.model, self.home / "model.keras")
        self.facts["evaluated"] = self.facts["step"]
        self.save()

    def finish(self, model):
        """Does what a run that was killed at the end of a round had not done yet."""
        step = self.facts["step"]
        if step % self.facts["plan"]["evaluate_every"] == 0 and step > self.facts["evaluated"]:
            self.set_model(model)
            self.on_epoch_end(None, {})

    def _evaluate(self, logs):
        metrics = self.evaluator()
        logs.update(tell(metrics, self.log))
        if metrics["AP50"] < diagnose.ZERO:
            print(f"why AP is 0: {diagnose.diagnose(self.evaluator.truth, self.evaluator.results)}", flush=True)
        if self.board is not None:
            self.board.pictures(self.facts["step"], self.model, self.evaluator.dataset)
        precision = self.agreed(metrics["AP"])
        better = precision > self.facts["best"]
        self.facts.update(metrics=metrics, worse=0 if better else self.facts["worse"] + 1)
        if better:
            self.facts["best"] = precision
            save_model(self.model, self.home / "best.keras")
        if self.patience and self.facts["worse"] >= self.patience:
            print(f"no better AP than {self.facts['best']:.4f} for {self.patience} rounds: the run ends here.")
            self.model.stop_training = True
