"""How many steps fit into some minutes, by trying a few."""

import dataclasses
import statistics
import time

from kerasdet.evaluation.evaluator import Evaluator
from kerasdet.training.checkpoints import kept

# Steps that are timed, and steps before them in which pipeline and memory settle.
TIMED, SETTLING = 20, 3
# Share of the time that is planned; the rest is for checkpoints and for what slows down.
PLANNED = 0.95


def steps_within(minutes, begin, model, stream, validation, batch_size, rounds, evaluate=None):
    """Times training and evaluation on the real graphs, and leaves the model as it was.

    Args:
        minutes: for the whole run.
        begin: when it began, by `time.perf_counter`.
        model: a compiled detector.
        stream: batches as `strategy.batches` gives them.
        validation: a `Dataset`, or None.
        batch_size: images of a batch in evaluation.
        rounds: evaluations of the run.
        evaluate: further arguments of the `Evaluator`, or None.

    Returns:
        The number of steps, and the seconds of one.

    Raises:
        ValueError: not even a step fits.
    """
    with kept(model):
        step, tracing = _step_seconds(model, iter(stream), limit=6 * minutes)
    evaluation, more = (0.0, 0.0)
    if validation:
        evaluation, more = _evaluation_seconds(model, validation, batch_size, evaluate or {})
    # The run traces again, since its schedule is another.
    left = 60 * minutes * PLANNED - (time.perf_counter() - begin) - tracing - more - rounds * evaluation
    if left < step:
        raise ValueError(
            f"minutes={minutes:g} is too short: a step takes {step:.2f} s, an evaluation {evaluation:.0f} s and "
            f"there are {rounds}, the start {tracing + more:.0f} s. Train longer, or a smaller model."
        )
    return int(left / step), step


def _step_seconds(model, iterator, limit):
    """The median of a few steps, and what tracing took; it stops at the limit of seconds."""
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
    """Of the whole validation set, by its first two batches; and what tracing takes."""
    few = dataclasses.replace(validation, records=validation.records[: 2 * batch_size])
    evaluator = Evaluator(model, few, batch_size, **evaluate)
    begin = time.perf_counter()
    evaluator()
    traced = time.perf_counter()
    evaluator()
    seconds = time.perf_counter() - traced
    return seconds * len(validation) / len(few), max(traced - begin - seconds, 0.0)
