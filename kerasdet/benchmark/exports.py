"""Compares all forms that a detector can be exported to: AP, size, time, and the share that decoding takes."""

import functools
import pathlib

import tensorflow as tf

from kerasdet import images as image
from kerasdet import ops
from kerasdet.benchmark.measure import Case, called, measure, watched
from kerasdet.evaluation.evaluator import Evaluator
from kerasdet.export import KINDS, load, report, saved_model, tflite

THREADS = (1, 2)


def exports(model, dataset, examples, folder, kinds=KINDS, size=None, rounds=15, **rules):
    """Writes, scores and times every form: scores first, then all times in the same rounds.

    Args:
        model: a `Detector`.
        dataset: the data set to score on; its picture with the most objects is timed.
        examples: as in `tflite.write`, for "int8".
        folder: folder for the files.
        kinds: kinds of TFLite files.
        size: as in `tflite.write`.
        rounds: rounds of every case.
        rules: arguments of the `Evaluator`.

    Returns:
        Dict of form to a dict of `AP`, `AP50`, `AP75` and `mb` (0 for Keras itself), and the report of `measure`: for
        each form "whole", and "raw" without decoding and suppression; reading the file and resizing are separate.
    """
    folder = pathlib.Path(folder)
    files = {"SavedModel": saved_model.write(model, folder / "saved_model")}
    raw = {}
    most = max([len(record.proposals) for record in dataset.records]) if model.needs_proposals else 0
    more = {"examples": examples, "proposals": most}
    for kind in kinds:
        name = f"TFLite {kind}"
        try:
            files[name] = tflite.write(model, folder / f"{kind}.tflite", kind, size, **more)
            raw[name] = tflite.write(model, folder / f"raw-{kind}.tflite", kind, size, raw=True, **more)
        except ValueError as error:
            print(f"{name} is left out: {error}")
    scores = {}
    for name in ("Keras", *files):
        metrics = Evaluator(model if name == "Keras" else load.load(files[name]), dataset, **rules)()
        megabytes = report.size(files[name]) / 1e6 if name in files else 0.0
        scores[name] = {**{key: metrics[key] for key in ("AP", "AP50", "AP75")}, "mb": megabytes}
    record = max(dataset.records, key=lambda record: len(record.boxes))
    inputs = [record.pixels(), *([record.proposals] if model.needs_proposals else [])]
    return scores, measure(_cases(model, files, raw, inputs, record, size, most), rounds)


def _cases(model, files, raw, inputs, record, size, most):
    batch = [tf.constant(value)[None] for value in inputs]
    cases = {}
    if isinstance(record.image, (str, pathlib.Path)):
        data = tf.constant(pathlib.Path(record.image).read_bytes())
        cases["reading the file"] = called(image.decode, data, tf.constant(str(record.image)))
    cases["resizing"] = called(model.preprocess, batch[0])
    opened = load.load(files["SavedModel"])
    cases["SavedModel whole"] = Case(lambda: opened.ask(*batch), images=1)
    with ops.portable():
        cases["SavedModel raw"] = called(functools.partial(_raw, model), *batch)
    example = tuple(inputs) if len(inputs) > 1 else inputs[0]
    fitted = next(tflite.fitted(model, [example], size, most))
    for name, path in files.items():
        for threads in THREADS if path.suffix == ".tflite" else ():
            for part, file in (("whole", path), ("raw", raw[name])):
                cases[f"{name} {part}, {threads} thread{'s' * (threads > 1)}"] = watched(
                    functools.partial(_lite, file, threads, fitted)
                )
    return cases


def _lite(file, threads, inputs):
    run = load.Lite(file, threads)
    return Case(lambda: run(*inputs), images=1)


def _raw(model, pixels, *proposals):
    """`Detector.raw`, from pixels."""
    images = {**model.preprocess(pixels), "ids": tf.zeros([1], tf.int64)}
    if proposals:
        images["proposals"] = image.to_frames(proposals[0], images["frames"])
    return model.raw(model.network(images))
