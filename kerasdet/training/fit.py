"""One call from data sets to a trained detector, on `keras.Model.fit`."""

import dataclasses
import pathlib
import time

import keras

from kerasdet import images
from kerasdet.data import pipeline, service
from kerasdet.evaluation.evaluator import Evaluator
from kerasdet.training import checkpoints as states
from kerasdet.training import solvers, start, strategy, timing
from kerasdet.training.board import Board
from kerasdet.training.freeze import frozen
from kerasdet.training.guard import Guard
from kerasdet.training.log import Log
from kerasdet.training.preempt import Preemption
from kerasdet.training.schedules import Plan
from kerasdet.training.stages import run_stages
from kerasdet.training.validate import Validate
from kerasdet.weights import copy

# What a checkpoint knows beside the variables, at the start; "evaluated" is the step of the last evaluation.
FRESH = {"step": 0, "evaluated": 0, "best": -1.0, "worse": 0, "metrics": {}}


def fit(
    model, train, validation=None, run="runs/fit", steps=None, batch_size=4, learning_rate=1e-3, minutes=None,
    learning_rate_for=None, optimizer="adamw", momentum=0.9, weight_decay=0.05, rates=None, warmup=200,
    warmup_from=0.001, drops=(), clip_norm=10.0, ema=0.998, accumulate=1, terms=None, freeze=(), init_from=None,
    stages=(), evaluate_every=1000, checkpoint_every=None, keep=2, patience=None, transforms=(("flip", 0.5),), sizes=(),
    sizes_every=10, repeat_rare=None, seed=0, resume=False, data_service="", tensorboard=False, callbacks=(),
    evaluate=None,
):  # fmt: skip
    """Trains a detector.

    Args:
        model: a `Detector`; made inside a strategy's scope it trains on all its replicas.
        train, validation: `Dataset`s; validation may be None.
        run: folder for the log, the checkpoints and the model.
        steps: updates of the weights; rounded up to a multiple of `evaluate_every`.
        batch_size: images a step, over all replicas.
        learning_rate: after the warm-up.
        minutes: instead of `steps`, or to stretch them: as many as fit, evaluations included. The time is measured
            before the start, so that the schedule is fixed from the first step on; a resumed run keeps it.
        learning_rate_for: the batch size that `learning_rate` is meant for, if it is not `batch_size`: see
            `schedules.Plan.for_batch`.
        optimizer, momentum, ema: see `solvers.build`.
        weight_decay, rates: see `solvers.set_parts`.
        warmup, warmup_from, drops: see `schedules.Schedule`; without drops a cosine to 0.
        clip_norm: greatest global norm of the gradients, or None.
        accumulate: parts that each replica takes its share of a batch in, to save memory; terms: which loss terms
            count, None for all; see `Detector.compile`.
        freeze: patterns of weights that do not train; see `freeze.frozen`.
        init_from: what to start from: see `start.load`; prints what was loaded.
        stages: dicts of arguments of this function, run one after another; see `stages.run_stages`.
        evaluate_every: steps between evaluations, each with a checkpoint and the model.
        checkpoint_every: steps between further checkpoints.
        keep: newest checkpoints that are kept.
        patience: evaluations without a better AP after which the run ends.
        transforms: tuples of `data.transforms`.
        sizes, sizes_every, repeat_rare: see `data.pipeline.load`, where `sizes_every` is `every`.
        seed: of the order and the augmentation of the data, and of the anchors and regions that learn.
        resume: goes on from the newest checkpoint in the run folder; without it a run starts anew.
        data_service: address "grpc://host:port" of a tf.data service that makes the batches; see docs/training.md.
        tensorboard: whether to write events for TensorBoard.
        callbacks: further Keras callbacks.
        evaluate: dict of further arguments of `evaluation.evaluator.Evaluator`, such as `max_dets` and `sigmas`.

    Returns:
        The metrics of the last validation, a dict.

    Raises:
        ValueError: an argument is wrong, or a picture cannot be decoded; the line names the argument or the file.
        FloatingPointError: a loss term is not finite; the line names the term, the step and the image ids.
    """
    if stages:
        return run_stages(fit, **locals())
    if steps is None and minutes is None:
        raise ValueError("say how long to train: steps or minutes.")
    model.check(train)
    begin = time.perf_counter()
    layout = model.distribute_strategy
    saved = states.Checkpoints(pathlib.Path(run) / "checkpoints", keep)
    facts, values = (saved.newest() if resume else None) or ({**FRESH}, None)
    plan = Plan(learning_rate, steps or 5 * evaluate_every, warmup, warmup_from, tuple(drops), evaluate_every, ema)
    plan = plan.for_batch(batch_size, learning_rate_for, optimizer)

    def prepare():
        with layout.scope():
            solver = solvers.build(optimizer, plan.schedule(), momentum, plan.ema)
            model.compile(solver, clip_norm=clip_norm, accumulate=accumulate, terms=terms, seed=seed)
            solvers.set_parts(solver, model, optimizer, weight_decay, momentum, rates)
            model.optimizer.build(model.trainable_variables)

    def batches(step):
        def load(part):
            stream = pipeline.load(
                train, model.preprocess, batch_size, training=True, transforms=transforms, masks=model.needs_masks,
                seed=seed, start=step, sizes=sizes, every=sizes_every, repeat_rare=repeat_rare, part=part,
                grouped=model.resize[0] not in images.ONE_SIZE,
            )  # fmt: skip
            return service.served(stream, train, data_service) if data_service else stream

        return strategy.batches(layout, batch_size, accumulate, load)

    with strategy.own_folder(layout, run) as home, frozen(model, freeze):
        board = Board(home) if tensorboard else None
        agreed = strategy.agreement(layout)
        if values is None:
            _clear(home)
            if init_from:
                print(copy.table(start.load(model, init_from), init_from), flush=True)
        if minutes and values is None:
            prepare()
            count, seconds = timing.steps_within(
                minutes, begin, model, batches(0), validation, batch_size, plan.rounds, evaluate
            )
            plan = plan.for_steps(round(agreed(count)))
            print(f"{minutes:g} minutes: {plan.steps} steps of {seconds:.2f} s, {plan.rounds} evaluations", flush=True)
        elif minutes:
            plan = Plan(**facts["plan"])
        facts["plan"] = dataclasses.asdict(plan)
        prepare()
        if values is not None:
            states.restore(model, values)
            print(f"resumed at step {facts['step']} of {plan.steps}", flush=True)
        evaluator = Evaluator(model, validation, batch_size, **(evaluate or {})) if validation else None
        log = Log(home, batch_size, plan.schedule(), plan.steps, facts["step"], board=board)
        validate = Validate(evaluator, home, saved, log, facts, checkpoint_every, patience, agreed, board)
        preemption = Preemption(agreed, validate.save, run)
        guard = Guard(home, facts["step"])
        validate.finish(model)
        # Keras' `fit` leaves the averaged weights in the model; after a leg another goes on from its own.
        raw = {}
        remember = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: raw.update(states.state(model)))
        with pipeline.named(train), preemption.listening():
            for first, last, length in _legs(facts["step"], plan):
                if raw:
                    states.restore(model, raw)
                more = [*callbacks, remember] if last < plan.rounds else callbacks
                model.fit(
                    batches(facts["step"]), initial_epoch=first, epochs=last, steps_per_epoch=length,
                    callbacks=[guard, log, validate, preemption, *more],
                )  # fmt: skip
                if model.stop_training:
                    break
    return facts["metrics"]


def _legs(step, plan):
    """First and last round and their length in steps: what is left of a round that was cut, then the whole ones."""
    every = plan.evaluate_every
    if step % every:
        yield step // every, step // every + 1, every - step % every
    if -(-step // every) < plan.rounds:
        yield -(-step // every), plan.rounds, every


def _clear(home):
    """A run that starts anew leaves nothing of the one before."""
    for path in (home / "log.jsonl", home / "nonfinite.npz", home / "best.keras", *home.glob("checkpoints/*.npz")):
        path.unlink(missing_ok=True)
