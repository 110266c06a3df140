"""One call from data sets to a trained detector, on `keras.Model.fit`."""

import dataclasses
import functools
import pathlib
import time

import keras

from kerasdet import images
from kerasdet.data import pipeline, service
from kerasdet.evaluation.evaluator import Evaluator
from kerasdet.training import checkpoints as states
from kerasdet.training import optimizers, start, strategy, timing
from kerasdet.training.board import Board
from kerasdet.training.freeze import frozen
from kerasdet.training.guard import Guard
from kerasdet.training.log import Log
from kerasdet.training.preempt import Preemption
from kerasdet.training.schedules import Plan
from kerasdet.training.stages import in_stages
from kerasdet.training.validate import Validate
from kerasdet.weights import copy

# What a checkpoint knows beside the variables, at the start; "evaluated" is the step of the last evaluation.
FRESH = {"step": 0, "evaluated": 0, "best": -1.0, "worse": 0, "metrics": {}}


@in_stages
def fit(
    model, train, validation=None, run="runs/fit", *,
    # Data.
    batch_size=4, transforms=(("flip", 0.5),), sizes=(), sizes_every=10, repeat_rare=None, data_service="",
    # Schedule.
    steps=None, minutes=None, learning_rate=1e-3, learning_rate_for=None, warmup=200, warmup_from=0.001,
    warmup_power=1.0, drops=(), drop_factor=None,
    # Optimizer.
    optimizer="adamw", momentum=0.9, weight_decay=0.05, decay_biases=False, rates=None, clip_norm=10.0, ema=0.998,
    accumulate=1,
    # What trains, and from where.
    init_from=None, freeze=(), terms=None, stages=(),
    # Run.
    evaluate_every=1000, evaluate=None, patience=None, checkpoint_every=None, keep=2, resume=False, seed=0,
    tensorboard=False, callbacks=(),
):  # fmt: skip
    """Trains a detector.

    Args:
        model: a `Detector`; made inside a strategy's scope it trains on all its replicas.
        train, validation: `Dataset`s; validation may be None.
        run: folder for the log, the checkpoints and the model.

    Data:
        batch_size: images a step, over all replicas.
        transforms: tuples of `data.transforms`.
        sizes, sizes_every, repeat_rare: see `data.pipeline.load`, where `sizes_every` is `every`.
        data_service: address "grpc://host:port" of a tf.data service that makes the batches; see docs/scale.md.

    Schedule:
        steps: updates of the weights; rounded up to a multiple of `evaluate_every`.
        minutes: instead of `steps`, or to stretch them: as many as fit, evaluations included. The time is measured
            before the start, so that the schedule is fixed from the first step on; a resumed run keeps it.
        learning_rate: after the warm-up.
        learning_rate_for: the batch size that `learning_rate` is meant for, if it is not `batch_size`: see
            `schedules.Plan.for_batch`.
        warmup, warmup_from, warmup_power, drops: see `schedules.Schedule`; without drops a cosine to 0.
        drop_factor: the `factor` of `schedules.Schedule`.

    Optimizer:
        optimizer, momentum, ema: see `optimizers.build`.
        weight_decay, decay_biases, rates: see `optimizers.set_parts`.
        clip_norm: greatest global norm of the gradients, or None.
        accumulate: parts that each replica takes its share of a batch in, to save memory; see `Detector.compile`.

    What trains, and from where:
        init_from: what to start from: see `start.load`; prints what was loaded.
        freeze: patterns of weights that do not train; see `freeze.frozen`.
        terms: which loss terms count, None for all; see `Detector.compile`.
        stages: dicts of arguments of this function, run one after another; see `stages.run_stages`.

    Run:
        evaluate_every: steps between evaluations, each with a checkpoint and the model.
        evaluate: dict of further arguments of `evaluation.evaluator.Evaluator`, such as `max_dets` and `sigmas`.
        patience: evaluations without a better AP after which the run ends.
        checkpoint_every: steps between further checkpoints.
        keep: newest checkpoints that are kept.
        resume: goes on from the newest checkpoint in the run folder; without it a run starts again from step 0.
        seed: of the order and the augmentation of the data, and of the anchors and regions that learn.
        tensorboard: whether to write events for TensorBoard.
        callbacks: further Keras callbacks.

    Returns:
        The metrics of the last validation, a dict.

    Raises:
        ValueError: an argument is wrong, or a picture cannot be decoded; the line names the argument or the file.
        FloatingPointError: a loss term is not finite; the line names the term, the step and the image ids.
        ConnectionError: another worker is gone; the line names it.
    """
    if steps is None and minutes is None:
        raise ValueError("say how long to train: steps or minutes.")
    model.check(train)
    begin = time.perf_counter()
    layout = model.distribute_strategy

    saved = states.Checkpoints(pathlib.Path(run) / "checkpoints", keep)
    checkpoint = saved.newest() if resume else None
    resumed = checkpoint is not None
    facts, values = checkpoint if resumed else ({**FRESH}, None)

    plan = Plan(
        learning_rate, steps or 5 * evaluate_every, warmup, warmup_from, tuple(drops), evaluate_every, ema, drop_factor,
        warmup_power,
    )  # fmt: skip
    plan = plan.for_batch(batch_size, learning_rate_for, optimizer)
    stream = functools.partial(
        pipeline.load, train, model.preprocess, batch_size, training=True, transforms=transforms,
        masks=model.needs_masks, seed=seed, sizes=sizes, every=sizes_every, repeat_rare=repeat_rare,
        grouped=model.resize[0] not in images.ONE_SIZE,
    )  # fmt: skip
    batches = functools.partial(_batches, layout, batch_size, accumulate, stream, train, data_service)
    prepare = functools.partial(
        _prepare, model, optimizer=optimizer, momentum=momentum, weight_decay=weight_decay, decay_biases=decay_biases,
        rates=rates, clip_norm=clip_norm, accumulate=accumulate, terms=terms, seed=seed,
    )  # fmt: skip

    with strategy.own_folder(layout, run) as home, frozen(model, freeze):
        board = Board(home) if tensorboard else None
        agreed = strategy.agreement(layout)
        if not resumed:
            _clear(home)
            if init_from:
                print(copy.table(start.load(model, init_from), init_from), flush=True)

        if minutes and resumed:
            plan = Plan(**facts["plan"])  # of the time that was measured before the first step
        elif minutes:
            prepare(plan)
            count, seconds = timing.steps_within(
                minutes, begin, model, batches(0), validation, batch_size, plan.rounds, evaluate
            )
            plan = plan.for_steps(round(agreed(count)))
            print(f"{minutes:g} minutes: {plan.steps} steps of {seconds:.2f} s, {plan.rounds} evaluations", flush=True)
        facts["plan"] = dataclasses.asdict(plan)

        prepare(plan)
        if resumed:
            states.restore(model, values)
            print(f"resumed at step {facts['step']} of {plan.steps}", flush=True)

        evaluator = Evaluator(model, validation, batch_size, **(evaluate or {})) if validation else None
        log = Log(home, batch_size, plan.schedule(), plan.steps, facts["step"], board=board)
        validate = Validate(evaluator, home, saved, log, facts, checkpoint_every, patience, agreed, board)
        preemption = Preemption(agreed, validate.save, run)
        guard = Guard(home, facts["step"])
        validate.finish(model)
        with strategy.together(layout), pipeline.named(train), preemption.listening():
            _train(model, batches, plan, facts, [guard, log, validate, preemption, *callbacks])
    return facts["metrics"]


def _clear(home):
    """A run that starts again leaves nothing of the previous one."""
    for path in (home / "log.jsonl", home / "nonfinite.npz", home / "best.keras", *home.glob("checkpoints/*.npz")):
        path.unlink(missing_ok=True)


def _batches(layout, batch_size, accumulate, stream, train, data_service, step):
    """The batches from a step on, dealt out to the replicas."""

    def share(part):
        own = stream(start=step, part=part)
        return service.served(own, train, data_service) if data_service else own

    return strategy.batches(layout, batch_size, accumulate, share)


def _prepare(model, plan, optimizer, momentum, weight_decay, decay_biases, rates, **compiled):
    """Gives the model a fresh optimizer that follows the plan."""
    with model.distribute_strategy.scope():
        made = optimizers.build(optimizer, plan.schedule(), momentum, plan.ema)
        model.compile(made, **compiled)
        optimizers.set_parts(made, model, optimizer, weight_decay, rates, decay_biases)
        model.optimizer.build(model.trainable_variables)


def _train(model, batches, plan, facts, callbacks):
    """Keras' `fit`, in two calls if a run goes on in the middle of a round, since Keras' epochs are of one length."""
    # Keras' `fit` leaves the averaged weights in the model; the second call goes on from the model's own.
    own = {}
    remember = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: own.update(states.state(model)))
    for first, last, length in _legs(facts["step"], plan):
        if own:
            states.restore(model, own)
        more = [remember] if last < plan.rounds else []
        model.fit(
            batches(facts["step"]), initial_epoch=first, epochs=last, steps_per_epoch=length, shuffle=False,
            callbacks=[*callbacks, *more],
        )  # fmt: skip
        if model.stop_training:
            break


def _legs(step, plan):
    """First and last round and their length in steps: what is left of a round that was cut, then the whole ones."""
    every = plan.evaluate_every
    if step % every:
        yield step // every, step // every + 1, every - step % every
    if -(-step // every) < plan.rounds:
        yield -(-step // every), plan.rounds, every
