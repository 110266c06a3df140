"""Measuring: how long a detector takes beside what the machine's own matrix multiplication would need.

A time says little without the machine's speed in the same minute. So a matrix multiplication and a memory copy run in
every round, between the cases, and a case is reported as a multiple of its floor: the floating-point operations of its
convolutions and matrix products (a multiply and an add are two) over the multiplication's rate in the same rounds.
"""

import contextlib
import math
import os
import pathlib
import platform
import statistics
import time

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from kerasdet import coders
from kerasdet.decoding import candidates, suppress
from kerasdet.losses import classes as class_losses
from kerasdet.targets import assign

MATMUL_SIDE = 2048
COPY_BYTES = 2**28

# Functions that detectors share: where one calls them, their own time is a row of the table.
SHARED = {
    "detections": ((candidates, "top"), (coders, "decode"), (suppress, "per_class")),
    "loss": ((assign, "by_iou"), (class_losses, "focal")),
}

# Where the feature map and the kernel of an operator lie: inputs from 0 on, -1 for its output.
_CONVOLUTIONS = {
    "Conv2D": (-1, 1),
    "Conv2DBackpropInput": (2, 1),
    "Conv2DBackpropFilter": (2, -1),
    "DepthwiseConv2dNative": (-1, 1),
    "DepthwiseConv2dNativeBackpropInput": (2, 1),
    "DepthwiseConv2dNativeBackpropFilter": (2, -1),
}


def flops(function):
    """Counts the operations of convolutions and matrix products, from shapes alone.

    Args:
        function: a ConcreteFunction traced for fixed sizes.

    Returns:
        Floating-point operations of one call; a multiply and an add are two.

    Raises:
        ValueError: an operator's shape is not known.
    """
    return sum(_flops(operation) for operation in function.graph.get_operations())


def _flops(operation):
    def shape(tensor):
        if not tensor.shape.is_fully_defined():
            raise ValueError(f"{tensor.name} has shape {tensor.shape}: trace the function for fixed sizes to count it.")
        return tensor.shape.as_list()

    def at(place):
        return shape(operation.outputs[0] if place < 0 else operation.inputs[place])

    if operation.type in _CONVOLUTIONS:
        features, kernel = map(at, _CONVOLUTIONS[operation.type])
        return 2 * math.prod(features) * math.prod(kernel[: 2 if "Depthwise" in operation.type else 3])
    if operation.type in ("MatMul", "BatchMatMulV2"):
        turned = operation.get_attr("transpose_a" if operation.type == "MatMul" else "adj_x")
        return 2 * math.prod(at(-1)) * at(0)[-2 if turned else -1]
    return 0


def floor(operations, rate):
    """Seconds that `operations` take at `rate` operations a second."""
    return operations / rate


def interleaved(cases, rounds):
    """Times cases round by round, so that all of them see the same state of a shared machine.

    Args:
        cases: dict of name to a function without arguments; each has been called before.
        rounds: how often each is called.

    Returns:
        Dict of name to a list of seconds, one a round.
    """
    seconds = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            begin = time.perf_counter()
            case()
            tf.test.experimental.sync_devices()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def machine_cases():
    """The machine's own speed.

    Returns:
        Dict of the cases `matmul` (2048^3, float32) and `copy` (256 MiB).
    """
    matmul = tf.function(tf.linalg.matmul)
    a, b = tf.random.stateless_uniform([2, MATMUL_SIDE, MATMUL_SIDE], (0, 0))
    source = np.ones(COPY_BYTES // 4, np.float32)
    target = np.empty_like(source)
    return {"matmul": lambda: matmul(a, b), "copy": lambda: np.copyto(target, source)}


def machine(seconds):
    """Describes the machine by the rounds of `machine_cases`.

    Args:
        seconds: what `interleaved` returned.

    Returns:
        Dict with the rates at the median and at the best round: `matmul_gflops`, `best_matmul_gflops`, `copy_gbs`,
        `best_copy_gbs` (bytes copied, 1e9 a second), and what the machine is.
    """
    operations = 2 * MATMUL_SIDE**3
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpus": [device.name for device in tf.config.list_physical_devices("GPU")],
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "matmul_gflops": operations / statistics.median(seconds["matmul"]) / 1e9,
        "best_matmul_gflops": operations / min(seconds["matmul"]) / 1e9,
        "copy_gbs": COPY_BYTES / statistics.median(seconds["copy"]) / 1e9,
        "best_copy_gbs": COPY_BYTES / min(seconds["copy"]) / 1e9,
    }


def _processor():
    info = pathlib.Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.is_file() else []
    return names[0].partition(":")[2].strip() if names else platform.processor()


def row(name, seconds, operations, images, speed):
    """One case as the report holds it.

    Args:
        name: of the case.
        seconds: of its rounds.
        operations: what `flops` counted.
        images: of one call.
        speed: what `machine` returned.

    Returns:
        Dict: milliseconds `median_ms`, `best_ms` and `floor_ms`; `ratio`, the median over the floor at the median
        matmul rate; `best_ratio`, the best round over the floor at the best matmul rate; `images_s`; `gflop`; `rounds`.
    """
    median, best = statistics.median(seconds), min(seconds)
    least, fastest = (floor(operations, 1e9 * speed[key]) for key in ("matmul_gflops", "best_matmul_gflops"))
    return {
        "name": name,
        "median_ms": 1e3 * median,
        "best_ms": 1e3 * best,
        "floor_ms": 1e3 * least,
        "ratio": median / least,
        "best_ratio": best / fastest,
        "images_s": images / median,
        "gflop": operations / 1e9,
        "rounds": len(seconds),
    }


@contextlib.contextmanager
def peak_memory():
    """Inside, watches the process's resident memory.

    Yields:
        Dict that afterwards holds `peak_mib`, how far memory rose above its start; empty where the system has no
        /proc. What a case builds inside counts; memory that earlier cases gave back is free for it.
    """
    status, found = pathlib.Path("/proc/self/status"), {}
    if not status.is_file():
        yield found
        return

    def kib(key):
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(key))

    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the high-water mark falls to the present size
    before = kib("VmRSS")
    yield found
    found["peak_mib"] = (kib("VmHWM") - before) / 1024


def randomize(model, seed=0):
    """Gives a model weights that let no optimizer shorten its graph and keep activations near 1.

    Kernels are drawn by He's rule, norms near a gain of 1/2, biases near 0: every class then scores about 0.5, so that
    every level sends its full number of candidates to suppression, the worst case.

    Args:
        model: a built Keras model.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    draws = {
        "gamma": lambda shape: rng.uniform(0.25, 0.75, shape),
        "moving_variance": lambda shape: rng.uniform(0.5, 1.5, shape),
        "kernel": lambda shape: rng.standard_normal(shape, np.float32) * math.sqrt(2 / math.prod(shape[:-1])),
    }
    for variable in model.variables:
        name = variable.path.rpartition("/")[2]
        if variable.dtype == "float32" and variable.shape:
            variable.assign(draws.get(name, lambda shape: rng.normal(0, 0.1, shape))(tuple(variable.shape)))


def batch(model, count, size, objects=8, seed=0):
    """Makes a batch of random pictures and boxes.

    Args:
        model: a detector.
        count: pictures.
        size: their side, pixels.
        objects: boxes a picture.
        seed: of the draws.

    Returns:
        (images, objects), the dicts of `contract`, as tensors.
    """
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, size, size, 3), np.uint8)
    corners = rng.uniform(0, 0.5 * size, (count, objects, 2))
    sides = rng.uniform(0.05 * size, 0.5 * size, (count, objects, 2))
    images = {**model.preprocess(tf.constant(pixels)), "ids": tf.range(count, dtype=tf.int64)}
    return images, {
        "boxes": tf.constant(np.concatenate([corners, corners + sides], -1), tf.float32),
        "classes": tf.constant(rng.integers(0, model.num_classes, (count, objects)), tf.int32),
        "crowds": tf.zeros([count, objects], tf.bool),
    }


def traced(function, *arguments, **options):
    """Traces a function for the shapes of its tensors; other values become part of the graph.

    Args:
        function: of tensors and other values, nested as they like.
        arguments, options: what to call it with.

    Returns:
        (ConcreteFunction of the tensors, list of the tensors).
    """
    values = tf.nest.flatten((arguments, options))
    places = [i for i, value in enumerate(values) if tf.is_tensor(value)]

    def call(*tensors):
        given = dict(zip(places, tensors, strict=True))
        packed = [given.get(i, value) for i, value in enumerate(values)]
        arguments_, options_ = tf.nest.pack_sequence_as((arguments, options), packed)
        return function(*arguments_, **options_)

    tensors = [values[i] for i in places]
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in tensors]
    return tf.function(call, autograph=False).get_concrete_function(*specs), tensors


def frozen(function, *arguments, **options):
    """As `traced`, with the weights as constants, so that all that follows from them alone is computed once.

    Returns:
        A function without arguments that runs the graph on the tensors given here.
    """
    concrete, tensors = traced(function, *arguments, **options)
    graph = convert_variables_to_constants_v2(concrete)
    return lambda: graph(*tensors)


@contextlib.contextmanager
def recorded(targets):
    """Inside, notes the calls of functions.

    Args:
        targets: dict of name to (owner, attribute).

    Yields:
        Dict of name to (function, arguments, options) of its last call.
    """
    calls = {}

    def recorder(name, function):
        def call(*arguments, **options):
            calls[name] = (function, arguments, options)
            return function(*arguments, **options)

        return call

    originals = {name: getattr(*target) for name, target in targets.items()}
    for name, (owner, attribute) in targets.items():
        setattr(owner, attribute, recorder(name, originals[name]))
    try:
        yield calls
    finally:
        for name, (owner, attribute) in targets.items():
            if isinstance(owner, keras.layers.Layer):
                delattr(owner, attribute)
            else:
                setattr(owner, attribute, originals[name])


def inference_parts(model, images):
    """The parts of a detector at inference, each a frozen graph on what it gets in a real call.

    Args:
        model: a detector.
        images: the images dict.

    Returns:
        Dict of name to a function without arguments: preprocessing, every layer of the network, the network, the shared
        functions of post-processing, post-processing.
    """
    layers = {f"network: {layer.name}": (layer, "call") for layer in model.layers}
    shared = {f"detections: {name}": (owner, name) for owner, name in SHARED["detections"]}
    with recorded({**layers, **shared}) as calls:
        outputs = model.network(images)
        model.detections(outputs, images)
    parts = {name: frozen(function, *arguments, **options) for name, (function, arguments, options) in calls.items()}
    return {
        "preprocess": frozen(model.preprocess, tf.cast(images["pixels"], tf.uint8)),
        **{name: part for name, part in parts.items() if name in layers},
        "network": frozen(model.network, images),
        **{name: part for name, part in parts.items() if name in shared},
        "detections": frozen(model.detections, outputs, images),
    }


def training_parts(model, images, objects):
    """The parts of a training step, each a graph of its own.

    Args:
        model: a compiled detector.
        images, objects: a batch.

    Returns:
        Dict of name to a function without arguments: the network forward, forward and backward, the loss's shared
        functions, the loss with its gradient, the optimizer.
    """
    weights = model.trainable_variables

    def both(images):
        with tf.GradientTape() as tape:
            outputs = tf.nest.flatten(model.network(images, training=True))
        return tape.gradient(outputs, weights)

    def loss(outputs, images, objects):
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            total = tf.add_n(list(model.loss_terms(outputs, objects, images, training=True).values()))
        return tape.gradient(total, outputs)

    def run(function, *arguments, **options):
        concrete, tensors = traced(function, *arguments, **options)
        return lambda: concrete(*tensors)

    outputs = model.network(images, training=True)
    with recorded({f"loss: {name}": (owner, name) for owner, name in SHARED["loss"]}) as calls:
        model.loss_terms(outputs, objects, images)
    gradients = [tf.zeros(variable.shape) for variable in weights]
    return {
        "network forward": run(model.network, images, training=True),
        "network forward and backward": run(both, images),
        **{name: run(function, *arguments, **options) for name, (function, arguments, options) in calls.items()},
        "loss with its gradient": run(loss, outputs, images, objects),
        "optimizer": run(lambda *gradients: model.optimizer.apply(gradients, weights), *gradients),
    }


def training_case(model, images, objects):
    """One step as `fit` runs it.

    Args:
        model: a compiled detector.
        images, objects: a batch.

    Returns:
        A function without arguments.
    """
    model._maybe_symbolic_build()
    model.make_train_function()
    stream = iter(tf.data.Dataset.from_tensors((images, objects)).repeat())
    return lambda: model.train_function(stream)
