"""The probe: a detector that cannot overfit eight pictures will learn nothing; it names the cause."""

import dataclasses
import math

import keras
import numpy as np

from kerasdet.data import pipeline, suspect
from kerasdet.evaluation.diagnose import diagnose
from kerasdet.evaluation.evaluator import Evaluator
from kerasdet.training import optimizers, reach
from kerasdet.training.schedules import Plan

PASSED = 0.9
# Steps between looks at the loss, and between looks at AP50; steps that a trial of another learning rate takes.
_LOOK, _SCORE, _TRIAL = 10, 50, 60
# A loss below this share of another has clearly fallen.
_FALLEN = 0.7
_FACTORS = (0.1, 0.01, 10.0)
_CROWDED = 50
_SHARED = ("learning_rate", "learning_rate_for", "optimizer", "momentum", "clip_norm", "evaluate")


@dataclasses.dataclass
class Verdict:
    """What a probe found.

    Attributes:
        ap50: the best AP50 on its pictures, 0...1.
        blame: None where the probe passed, else "data", "anchors" or "learning rate".
        reason: one line.
    """

    ap50: float
    blame: str | None
    reason: str

    def __str__(self):
        return f"probe: {'passed' if self.blame is None else f'the {self.blame} is to blame'}: {self.reason}"


def settings(train):
    """The arguments of `fit` that a probe takes too.

    Args:
        train: dict of arguments of `fit`.
    """
    return {"learning_rate_for": train.get("batch_size"), **{k: v for k, v in train.items() if k in _SHARED}}


def probe(
    make, train, learning_rate, learning_rate_for=None, optimizer="adamw", momentum=0.9, clip_norm=10.0, batch_size=4,
    pictures=8, steps=200, seed=0, evaluate=None,
):  # fmt: skip
    """Trains on a few pictures without augmentation, until AP50 on the same pictures is above 0.9.

    Where that fails, trials decide. If the loss falls clearly further at a tenth, a hundredth or ten times the learning
    rate, that is to blame. Else the anchors are, if they reach less than 0.95 of the objects; else the data.

    Args:
        make: function without arguments that returns a fresh `Detector`.
        train: a `Dataset`.
        learning_rate, learning_rate_for, optimizer, momentum, clip_norm: of the run that is meant, as in `fit`.
        batch_size: pictures a step.
        pictures: how many.
        steps: at most so many.
        seed: of the choice and the order of the pictures.
        evaluate: as in `fit`.

    Returns:
        A `Verdict`.
    """
    faults, hopeless = suspect.boxes(train)
    _, class_faults, no_classes = suspect.classes(train)
    faults = faults + class_faults
    if hopeless or no_classes:
        return Verdict(0.0, "data", faults[-1 if no_classes else 0])
    few = some_pictures(train, pictures, seed)
    plan = Plan(learning_rate, steps, steps // 10, 0.001, (), steps)
    rate = plan.for_batch(batch_size, learning_rate_for, optimizer).learning_rate

    def attempt(factor, stop):
        plan = Plan(rate * factor, steps, steps // 10, 0.001, (), steps)
        model = make()
        model.compile(optimizers.build(optimizer, plan.schedule(), momentum), clip_norm=clip_norm)
        watch = _Watch(Evaluator(model, few, batch_size, **(evaluate or {})), f"learning rate {rate * factor:.3g}")
        stream = pipeline.load(few, model.preprocess, batch_size, training=True, masks=model.needs_masks, seed=seed)
        model.fit(stream, epochs=stop // _LOOK, steps_per_epoch=_LOOK, shuffle=False, callbacks=[watch], verbose=0)
        return watch

    first = attempt(1.0, steps)
    if first.ap50 > PASSED:
        return Verdict(first.ap50, None, f"AP50 {first.ap50:.2f} on {len(few)} pictures after {first.step} steps.")
    missed = f"AP50 is {first.ap50:.2f} on {len(few)} pictures after {first.step} steps"
    why = _data_or_anchors(first, few, faults)
    if first.fell and why[0] == "anchors":
        return Verdict(first.ap50, why[0], f"{missed}; {why[1]}")
    reached = first.loss_at(_TRIAL)
    for factor in _FACTORS:
        loss = attempt(factor, _TRIAL).loss_at(_TRIAL)
        if loss < _FALLEN * reached:
            line = (
                f"after {_TRIAL} steps at {rate:.3g} the loss is {reached:.3g}, at {rate * factor:.3g} it is {loss:.3g}"
            )
            return Verdict(first.ap50, "learning rate", f"{missed}; {line}: multiply learning_rate by {factor:g}.")
    return Verdict(first.ap50, why[0], f"{missed}, at other learning rates the loss is no better; {why[1]}")


def some_pictures(dataset, count, seed=0):
    """Draws pictures with objects, those with very many last.

    Args:
        dataset: a `Dataset`.
        count: at most so many.
        seed: of the draw.

    Returns:
        A `Dataset`.
    """
    order = np.random.default_rng(seed).permutation(len(dataset))
    objects = {i: int(np.sum(~dataset.records[i].crowds)) for i in order}
    chosen = sorted((i for i in order if objects[i]), key=lambda i: objects[i] > _CROWDED)[:count]
    records = [dataset.records[i] for i in chosen]
    return dataclasses.replace(dataset, name=f"{len(records)} of {dataset.name}", records=records)


class _Watch(keras.callbacks.Callback):
    """Notes the loss, scores now and then, and stops when all is known."""

    def __init__(self, evaluator, title):
        super().__init__()
        self.evaluator, self.title = evaluator, title
        self.step, self.ap50, self.losses = 0, 0.0, []

    def on_train_begin(self, logs=None):
        self.before = float(self.evaluator()["loss"])

    def on_epoch_end(self, epoch, logs=None):
        self.step += _LOOK
        self.losses.append(float(logs["loss"]) if math.isfinite(logs["loss"]) else math.inf)
        finite = math.isfinite(self.losses[-1])
        if finite and self.step % _SCORE == 0:
            self.ap50 = max(self.ap50, self.evaluator()["AP50"])
        lost = not finite or (self.step >= _TRIAL and not self.fell)
        print(f"probe, {self.title}: step {self.step}, loss {self.losses[-1]:.3g}, AP50 {self.ap50:.2f}", flush=True)
        self.model.stop_training = lost or self.ap50 > PASSED

    @property
    def fell(self):
        """Whether the loss is clearly below that of the untrained model."""
        return self.losses[-1] < _FALLEN * self.before

    def loss_at(self, step):
        """The loss after a number of steps, or the last one."""
        return self.losses[min(step // _LOOK, len(self.losses)) - 1]


def _data_or_anchors(watch, few, faults):
    """Which of the two is to blame where the learning rate is not, and one line."""
    if faults:
        return "data", faults[0]
    model = watch.evaluator.model
    seen = reach.targets(model, few)
    best = reach.overlaps(model, seen)
    if best is not None:
        fair, least = reach.fair_start(model, best)
        cure = reach.advice(model, seen, best) if np.mean(fair) < reach.ENOUGH else None
        if cure is not None:
            return "anchors", f"{np.mean(fair):.0%} of the objects have one of IoU {least} or more: {cure}"
    return "data", diagnose(watch.evaluator.truth, watch.evaluator.results)
