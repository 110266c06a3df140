"""Learning-rate schedules, in steps."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("kerasdet")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then steps or a cosine.

    Args:
        rate: learning rate after the warm-up.
        steps: of the whole run; where the cosine ends.
        warmup: steps from `warmup_from` * rate to rate.
        warmup_from: share of the rate at step 0 (Goyal et al., 2017).
        drops: for "steps": steps at which the rate falls by `factor`; empty for a cosine to `factor` * rate.
        factor: see drops.
    """

    def __init__(self, rate, steps, warmup=0, warmup_from=0.001, drops=(), factor=None):
        self.rate = rate
        self.steps = steps
        self.warmup = warmup
        self.warmup_from = warmup_from
        self.drops = tuple(drops)
        self.factor = factor if factor is not None else 0.1 if self.drops else 0.0

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        if self.drops:
            share = self.factor ** tf.reduce_sum(tf.cast(step >= tf.constant(self.drops, tf.float32), tf.float32))
        else:
            done = tf.clip_by_value((step - self.warmup) / max(self.steps - self.warmup, 1), 0.0, 1.0)
            share = self.factor + (1.0 - self.factor) * 0.5 * (1.0 + tf.cos(3.14159265 * done))
        risen = self.warmup_from + (1.0 - self.warmup_from) * tf.minimum(step / max(self.warmup, 1), 1.0)
        return self.rate * share * (risen if self.warmup else 1.0)

    def get_config(self):
        return {k: getattr(self, k) for k in ("rate", "steps", "warmup", "warmup_from", "drops", "factor")}
