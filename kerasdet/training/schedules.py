"""Learning-rate schedules, in steps."""

import dataclasses

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("kerasdet")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then steps or a cosine.

    Args:
        rate: learning rate after the warm-up.
        steps: steps of the run; the cosine ends there.
        warmup: steps from `warmup_from` * rate to rate.
        warmup_from: share of the rate at step 0 (Goyal et al., 2017).
        drops: steps at which the rate is multiplied by `factor`; empty for a cosine down to `factor` * rate.
        factor: see `drops`; by default 0.1 with drops and 0 for a cosine. A tuple has one for each drop.
        warmup_power: the warm-up rises with this power of the steps; 4 in darknet's burn-in.
    """

    def __init__(self, rate, steps, warmup=0, warmup_from=0.001, drops=(), factor=None, warmup_power=1.0):
        self.rate = rate
        self.steps = steps
        self.warmup = warmup
        self.warmup_from = warmup_from
        self.drops = tuple(drops)
        self.factor = factor if factor is not None else 0.1 if self.drops else 0.0
        self.warmup_power = warmup_power

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        if self.drops:
            factors = tf.constant(self.factor, tf.float32) * tf.ones(len(self.drops))
            share = tf.reduce_prod(tf.where(step >= tf.constant(self.drops, tf.float32), factors, 1.0))
        else:
            done = tf.clip_by_value((step - self.warmup) / max(self.steps - self.warmup, 1), 0.0, 1.0)
            share = self.factor + (1.0 - self.factor) * 0.5 * (1.0 + tf.cos(3.14159265 * done))
        done = tf.minimum(step / max(self.warmup, 1), 1.0) ** self.warmup_power
        risen = self.warmup_from + (1.0 - self.warmup_from) * done
        return self.rate * share * (risen if self.warmup else 1.0)

    def get_config(self):
        names = ("rate", "steps", "warmup", "warmup_from", "drops", "factor", "warmup_power")
        return {name: getattr(self, name) for name in names}


@dataclasses.dataclass
class Plan:
    """The length and the learning rate of a run.

    Attributes:
        learning_rate: learning rate after the warm-up.
        steps: steps of the run, a multiple of `evaluate_every`.
        warmup, warmup_from, drops: see `Schedule`.
        evaluate_every: steps between evaluations.
        ema: momentum of the averaged weights, or None.
        factor, warmup_power: see `Schedule`.
    """

    learning_rate: float
    steps: int
    warmup: int
    warmup_from: float
    drops: tuple
    evaluate_every: int
    ema: float | None = None
    factor: float | tuple | None = None
    warmup_power: float = 1.0

    def __post_init__(self):
        self.evaluate_every = max(min(self.evaluate_every, self.steps), 1)
        self.rounds = -(-self.steps // self.evaluate_every)
        self.steps = self.rounds * self.evaluate_every

    def schedule(self):
        """The learning rate by step."""
        names = ("steps", "warmup", "warmup_from", "drops", "factor", "warmup_power")
        return Schedule(self.learning_rate, **{name: getattr(self, name) for name in names})

    def for_batch(self, batch_size, stated, optimizer):
        """Scales the learning rate to another batch size: linearly for SGD (Goyal et al., 2017), by the square root for
        Adam (Malladi et al., 2022). A warm-up to a higher rate gets proportionally more steps.

        Args:
            batch_size: images per step, over all replicas.
            stated: the batch size that the learning rate belongs to, or None.
            optimizer: name of the optimizer.

        Returns:
            A `Plan`.
        """
        if stated in (None, batch_size):
            return self
        factor = (batch_size / stated) ** (1.0 if optimizer == "sgd" else 0.5)
        rate, warmup = self.learning_rate * factor, round(self.warmup * max(factor, 1.0))
        print(
            f"batch {stated} -> {batch_size}: learning rate {self.learning_rate:g} -> {rate:g}, "
            f"warm-up {self.warmup} -> {warmup} steps",
            flush=True,
        )
        return dataclasses.replace(self, learning_rate=rate, warmup=warmup)

    def for_steps(self, steps):
        """Stretches the plan to another number of steps; warm-up, drops, rounds and average scale with it."""
        share = steps / self.steps
        return dataclasses.replace(
            self,
            steps=steps,
            warmup=round(self.warmup * share),
            drops=tuple(round(drop * share) for drop in self.drops),
            evaluate_every=-(-steps // self.rounds),
            ema=None if self.ema is None else max(1 - (1 - self.ema) / share, 0.0),
        )
