"""One call from data sets to a trained detector, on `keras.Model.fit`."""

import pathlib

from kerasdet.data import pipeline
from kerasdet.evaluation.evaluator import Evaluator
from kerasdet.training import solvers
from kerasdet.training.checkpoints import Checkpoints
from kerasdet.training.log import Guard, Log, Validate
from kerasdet.training.schedules import Schedule


def fit(
    model, train, validation, run, steps, batch_size, learning_rate, optimizer="sgd", momentum=0.9, weight_decay=1e-4,
    warmup=500, warmup_from=0.001, drops=(), clip_norm=10.0, ema=None, evaluate_every=1000, transforms=(("flip", 0.5),),
    seed=0, resume=False, callbacks=(),
):  # fmt: skip
    """Trains a detector.

    Args:
        model: a `Detector`; made inside a strategy's scope it trains on all its replicas.
        train, validation: `Dataset`s; validation may be None.
        run: folder for the log, the checkpoints and the model.
        steps: batches to train on; rounded up to a multiple of `evaluate_every`.
        batch_size: images a step, over all replicas.
        learning_rate: for this batch size, after the warm-up.
        optimizer, momentum, weight_decay, ema: see `solvers.build`.
        warmup, warmup_from, drops: see `schedules.Schedule`; without drops a cosine to 0.
        clip_norm: greatest global norm of the gradients, or None.
        evaluate_every: steps between evaluations and checkpoints.
        transforms: tuples of `data.transforms`.
        seed: of the order and the augmentation of the data.
        resume: goes on from the newest checkpoint in the run folder.
        callbacks: further Keras callbacks, such as `keras.callbacks.TensorBoard`.

    Returns:
        The metrics of the last validation, a dict.

    Raises:
        ValueError: a picture cannot be decoded; the line names its file.
        FloatingPointError: a loss term is not finite; the line names the term and the step.
    """
    run = pathlib.Path(run)
    run.mkdir(parents=True, exist_ok=True)
    evaluate_every = min(evaluate_every, steps)
    rounds = -(-steps // evaluate_every)
    schedule = Schedule(learning_rate, rounds * evaluate_every, warmup, warmup_from, drops)
    with model.distribute_strategy.scope():
        solver = solvers.build(optimizer, schedule, weight_decay, momentum, ema)
        solvers.spare_norms(solver, model.trainable_variables)
        model.compile(solver, clip_norm=clip_norm)
        model.optimizer.build(model.trainable_variables)
    checkpoints = Checkpoints(model, run / "checkpoints")
    start = checkpoints.restore() if resume else 0
    stream = pipeline.load(
        train, model.preprocess, batch_size, training=True, transforms=transforms, seed=seed, start=start
    )
    evaluator = Evaluator(model, validation, batch_size) if validation else None
    validate = Validate(evaluator, run, checkpoints, start)
    log = Log(run, batch_size, schedule, rounds * evaluate_every, start)
    with pipeline.named(train):
        model.fit(
            stream, epochs=rounds, initial_epoch=start // evaluate_every, steps_per_epoch=evaluate_every,
            callbacks=[Guard(start), log, validate, *callbacks],
        )  # fmt: skip
    return validate.metrics
