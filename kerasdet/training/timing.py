"""Finds out how many steps fit into a time, by timing a few."""

import dataclasses
import statistics
import time

from kerasdet.evaluation.evaluator import Evaluator
from kerasdet.training.checkpoints import kept

# Steps that are timed, and warm-up steps before them.
TIMED, SETTLING = 20, 3
# Share of the time that is planned; the rest is for checkpoints and slowdowns.
PLANNED = 0.95


def steps_within(minutes, begin, model, stream, validation, batch_size, rounds, evaluate=None):
    """Times training and evaluation on the real graphs, and leaves the model unchanged.

    Args:
        minutes: minutes for the complete run.
        begin: start of the run, by `time.perf_counter`.
        model: a compiled detector.
        stream: batches from `strategy.batches`.
        validation: a `Dataset`, or None.
        batch_size: images per batch in evaluation.
        rounds: number of evaluations.
        evaluate: further arguments of the `Evaluator`, or None.

    Returns:
        The number of steps, and the seconds per step.

    Raises:
        ValueError: not even one step fits.
    """
    with kept(model):
        step, tracing = _step_seconds(model, iter(stream), limit=6 * minutes)
    evaluation, more = (0.0, 0.0)
    if validation:
        evaluation, more = _evaluation_seconds(model, validation, batch_size, evaluate or {})
    # The run traces again because it has a different schedule.
    left = 60 * minutes * PLANNED - (time.perf_counter() - begin) - tracing - more - rounds * evaluation
    if left < step:
        raise ValueError(
            f"minutes={minutes:g} is too short: a step takes {step:.2f} s, an evaluation {evaluation:.0f} s and "
            f"there are {rounds}, the start {tracing + more:.0f} s. Train longer, or use a smaller model."
        )
    return int(left / step), step


def _step_seconds(model, iterator, limit):
    """The median time of a few steps, and the time of tracing; stops after `limit` seconds."""
    model.make_train_function()
    times = []
    while len(times) < 1 + SETTLING + TIMED and (len(times) < 3 or sum(times[1:]) < limit):
        begin = time.perf_counter()
        float(model.train_function(iterator)["loss"])
        times.append(time.perf_counter() - begin)
    model.reset_metrics()
    settled = times[1 + SETTLING :] or times[1:]
    return statistics.median(settled), max(times[0] - times[1], 0.0)


def _evaluation_seconds(model, validation, batch_size, evaluate):
    """The time for the complete validation set, estimated from its first two batches, and the time of tracing."""
    few = dataclasses.replace(validation, records=validation.records[: 2 * batch_size])
    evaluator = Evaluator(model, few, batch_size, **evaluate)
    begin = time.perf_counter()
    evaluator()
    traced = time.perf_counter()
    evaluator()
    seconds = time.perf_counter() - traced
    return seconds * len(validation) / len(few), max(traced - begin - seconds, 0.0)
