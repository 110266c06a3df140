"""Benchmarks of detectors: inference and training steps, as a whole and in parts."""

import contextlib
import functools
import math

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from kerasdet import boxes as box
from kerasdet import coders, ops
from kerasdet.benchmark.measure import Case, called, flops, frozen, measure, performed, traced, watched
from kerasdet.data.pipeline import MASK_SIDE
from kerasdet.decoding import candidates, regions, suppress
from kerasdet.losses import classes as class_losses
from kerasdet.targets import assign, masks

# Functions that detectors share; each that a detector calls becomes a separate part in the report.
POST_PROCESSING = {
    "proposals": regions,
    "region_features": ops,
    "ps_roi_pool": ops,
    "ps_roi_align": ops,
    "top": candidates,
    "top_of_classes": candidates,
    "decode": coders,
    "per_class": suppress,
    "within_classes": suppress,
}
LOSS = {
    "by_iou": assign,
    "one_to_one": assign,
    "with_best": assign,
    "focal": class_losses,
    "region_features": ops,
    "ps_roi_pool": ops,
    "ps_roi_align": ops,
    "cut": masks,
}


def randomize(model, seed=0):
    """Gives a model weights that keep activations near 1 and that no graph optimizer can simplify.

    Kernels follow He's rule, norms have a gain near 1/2, biases are near 0. Every class then scores about 0.5, so every
    level sends its full number of candidates to suppression, the worst case.

    Args:
        model: a built Keras model.
        seed: random seed.
    """
    rng = np.random.default_rng(seed)
    draws = {
        "gamma": lambda shape: rng.uniform(0.25, 0.75, shape),
        "moving_variance": lambda shape: rng.uniform(0.5, 1.5, shape),
        "kernel": lambda shape: rng.standard_normal(shape, np.float32) * math.sqrt(2 / math.prod(shape[:-1])),
    }
    for variable in model.variables:
        if len(variable.shape) and variable.dtype == "float32":
            draw = draws.get(variable.path.rpartition("/")[2], lambda shape: rng.normal(0, 0.1, shape))
            variable.assign(draw(tuple(variable.shape)))


def admit(model, images, count):
    """Sets the score threshold so that a given number of scores (one per class and position) pass.

    Args:
        model: a detector.
        images: the images dict.
        count: number of candidates for suppression; None keeps the threshold.
    """
    if count is None:
        return
    outputs = model.network(images)
    if "proposals" in outputs:
        proposals = outputs["proposals"]
        logits = model.head(outputs["features"], proposals)["logits"]
        scores = tf.boolean_mask(tf.nn.softmax(logits), box.area(proposals) > 0)
    elif "logits" not in outputs:  # heads of another form; they all choose their candidates by `top`
        with recorded({"top": (candidates, "top")}) as calls:
            model.detections(outputs, images)
        scores = calls["top"][1][0]
    else:
        softmax = getattr(model, "scores", "sigmoid") == "softmax"
        scores = (tf.nn.softmax if softmax else tf.sigmoid)(outputs["logits"])
    scores = tf.reshape(scores[..., -model.num_classes :], [-1])
    model.above = float(tf.math.top_k(scores, min(count, len(scores))).values[-1])


def batch(model, count, size, objects=8, seed=0):
    """Makes a batch of random pictures and boxes, with masks and keypoints if the detector learns them.

    Args:
        model: a detector.
        count: number of pictures.
        size: their side, pixels.
        objects: boxes per picture.
        seed: random seed.

    Returns:
        (images, objects), the dicts of `contract`, tensors.
    """
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, size, size, 3), np.uint8)
    corners = rng.uniform(0, 0.5 * size, (count, objects, 2))
    sides = rng.uniform(0.05 * size, 0.5 * size, (count, objects, 2))
    images = {**model.preprocess(tf.constant(pixels)), "ids": tf.range(count, dtype=tf.int64)}
    drawn = {
        "boxes": np.concatenate([corners, corners + sides], axis=-1, dtype=np.float32),
        "classes": rng.integers(0, model.num_classes, (count, objects), np.int32),
        "crowds": np.zeros((count, objects), bool),
    }
    if model.needs_masks:
        drawn |= {"masks": rng.integers(0, 2, (count, objects, MASK_SIDE, MASK_SIDE), np.uint8)}
        drawn |= {"mask_frames": drawn["boxes"]}
    if model.num_keypoints:
        points = corners[:, :, None] + rng.uniform(size=(count, objects, model.num_keypoints, 2)) * sides[:, :, None]
        drawn |= {"keypoints": np.insert(points, 2, 2, axis=-1).astype(np.float32)}
    return images, {name: tf.constant(values) for name, values in drawn.items()}


def served(model, pixels):
    """The `Case` of an exported detector: its frozen graph for any number and size of pictures.

    Args:
        model: a detector.
        pixels: [B, H, W, 3] uint8 tensor to call it with.
    """
    signature = tf.TensorSpec([None, None, None, 3], tf.uint8)
    graph = convert_variables_to_constants_v2(tf.function(lambda x: model(x)).get_concrete_function(signature))
    return Case(lambda: graph(pixels), flops(traced(model, pixels)[0]))


@contextlib.contextmanager
def recorded(targets):
    """Records calls of functions and layers inside.

    Args:
        targets: dict of name to (owner, attribute): a module and its function's name, or a layer and "call".

    Yields:
        Dict of name to (function, arguments, options) of its last call, in the order of the first calls.
    """
    calls = {}

    def recording(name, function, *arguments, **options):
        calls[name] = (function, arguments, options)
        return function(*arguments, **options)

    originals = {name: getattr(owner, attribute) for name, (owner, attribute) in targets.items()}
    for name, (owner, attribute) in targets.items():
        setattr(owner, attribute, functools.partial(recording, name, originals[name]))
    try:
        yield calls
    finally:
        for name, (owner, attribute) in targets.items():
            if isinstance(owner, keras.layers.Layer):
                delattr(owner, attribute)  # its class has the method
            else:
                setattr(owner, attribute, originals[name])


def inference_parts(model, images):
    """The parts of a detector at inference, each a frozen graph with its inputs from a real call.

    Args:
        model: a detector.
        images: the images dict.

    Returns:
        Dict of name to `Case`: preprocessing, the network and each of its layers, post-processing and the shared
        functions that it calls.
    """
    layers = {f"network: {k}": (v, "call") for k, v in vars(model).items() if isinstance(v, keras.layers.Layer)}
    shared = {f"post-processing: {name}": (module, name) for name, module in POST_PROCESSING.items()}
    with recorded({**layers, **shared}) as calls:
        outputs = model.network(images)
        model.detections(outputs, images)
    parts = {name: frozen(function, *arguments, **options) for name, (function, arguments, options) in calls.items()}
    return {
        "preprocessing": frozen(model.preprocess, tf.cast(images["pixels"], tf.uint8)),
        "network": frozen(model.network, images),
        **{name: part for name, part in parts.items() if name in layers},
        "post-processing": frozen(model.detections, outputs, images),
        **{name: part for name, part in parts.items() if name in shared},
    }


def training_parts(model, images, objects):
    """The parts of a training step, each a separate graph.

    Args:
        model: a compiled detector.
        images, objects: a batch.

    Returns:
        Dict of name to `Case`: the network forward, forward and backward, the loss with its gradient, the shared
        functions that it calls, and the optimizer.
    """
    weights = model.trainable_variables

    def backward(images):
        with tf.GradientTape() as tape:
            outputs = tf.nest.flatten(model.network(images, training=True))
        return tape.gradient(outputs, weights)

    def loss(outputs, images, objects):
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            terms = model.loss_terms(outputs, objects, images, training=True)
            total = tf.add_n(list(terms.values()))
        return tape.gradient(total, (outputs, weights))  # a second stage runs in here

    outputs = model.network(images, training=True)
    with recorded({f"loss: {name}": (module, name) for name, module in LOSS.items()}) as calls:
        model.loss_terms(outputs, objects, images)
    gradients = [tf.zeros(variable.shape) for variable in weights]
    return {
        "network forward": called(model.network, images, training=True),
        "network forward and backward": called(backward, images),
        "loss with its gradient": called(loss, outputs, images, objects),
        **{name: called(function, *arguments, **options) for name, (function, arguments, options) in calls.items()},
        "optimizer": called(lambda gradients: model.optimizer.apply(gradients, weights), gradients),
    }


def training_step(model, images, objects):
    """The `Case` of one step as `fit` runs it.

    Args:
        model: a compiled detector.
        images, objects: a batch.
    """
    model._maybe_symbolic_build()  # as `fit` does: it builds the optimizer
    model.make_train_function()
    stream = iter(tf.data.Dataset.from_tensors((images, objects)).repeat())
    operations = performed(lambda *data: model.train_step(data), images, objects)
    return Case(lambda: model.train_function(stream), operations, len(images["ids"]))


def inference(make, size, passing=None):
    """Inference of one picture.

    Args:
        make: a function that makes the detector for a size in pixels.
        size: side of the picture, pixels.
        passing: `count` of `admit`.

    Returns:
        Two dicts of name to `Case`: complete calls, from uint8 pixels to detections, and the parts.
    """
    model = make(size)
    randomize(model)
    images, _ = batch(model, 1, size)
    admit(model, images, passing)
    pixels = tf.cast(images["pixels"], tf.uint8)
    ways = {"exported": served, "exported for one size": frozen, "not exported": called}
    cases = {name: watched(functools.partial(way, model, pixels))._replace(images=1) for name, way in ways.items()}
    return cases, inference_parts(model, images)


def training(make, size, count):
    """A training step, by stochastic gradient descent with momentum.

    Args:
        make: as in `inference`.
        size, count: side of the pictures, pixels, and their number.

    Returns:
        The `Case` of the step, and a dict of name to `Case` of its parts.
    """
    kept = []  # the model and batch of the step, for its parts

    def step():
        model = make(size)
        randomize(model)
        model.compile(keras.optimizers.SGD(1e-6, momentum=0.9))
        kept.append((model, *batch(model, count, size)))
        return training_step(*kept[0])

    return watched(step), training_parts(*kept[0])


def models(make, dtypes, norms, size, train_size, count, rounds, passing=None, beside=None):
    """Measures a detector: inference, a training step with norms of each kind, and the parts of each.

    Args:
        make: function from a dtype policy, a kind of `layers.norm` and a size in pixels to the detector.
        dtypes: the dtype policies.
        norms: kinds of norms to train with; inference uses the first.
        size: side of the picture at inference, pixels.
        train_size, count: side of the pictures of a training step, pixels, and their number.
        rounds: rounds of every case.
        passing: `count` of `admit`.
        beside: None, or a function from the operations of inference and of a training step to a dict of name to `Case`:
            other projects to compare with.

    Returns:
        Dict of title to a report of `measure`: "whole" for all complete calls, then one for the parts of each.
    """
    cases, parts = {}, {}
    for dtype in dtypes:
        title = f"inference 1x{size} {dtype}"
        made, parts[title] = inference(functools.partial(make, dtype, norms[0]), size, passing)
        cases |= {f"{title} {way}": case for way, case in made.items()}
        for norm in norms:
            title = f"training {count}x{train_size} {dtype} norm {norm}"
            cases[title], parts[title] = training(functools.partial(make, dtype, norm), train_size, count)
    if beside is not None:
        kinds = ("inference", "training")
        operations = [next(case.operations for name, case in cases.items() if name.startswith(kind)) for kind in kinds]
        cases |= beside(*operations)
    return {title: measure(group, rounds) for title, group in {"whole": cases, **parts}.items()}
