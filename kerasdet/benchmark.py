"""Measuring: how long a detector takes beside what the machine's own matrix multiplication would need.

A time says little without the machine's speed in the same minute. So a matrix multiplication and a memory copy run in
every round, between the cases, and a case is reported as a multiple of its floor: the floating-point operations of its
convolutions and matrix products (a multiply and an add are two) over the multiplication's rate in the same rounds.
"""

import contextlib
import functools
import math
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

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

# Functions that detectors share: where one calls them, each is a part of its own in the report.
POST_PROCESSING = {"top": candidates, "decode": coders, "per_class": suppress}
LOSS = {"by_iou": assign, "focal": class_losses}

# Where the feature map and the kernel of a convolution lie: inputs from 0 on, -1 for its output.
_CONVOLUTIONS = {
    "Conv2D": (-1, 1),
    "Conv2DBackpropInput": (2, 1),
    "Conv2DBackpropFilter": (2, -1),
    "DepthwiseConv2dNative": (-1, 1),
    "DepthwiseConv2dNativeBackpropInput": (2, 1),
    "DepthwiseConv2dNativeBackpropFilter": (2, -1),
}


class Case(NamedTuple):
    """What is timed.

    run: a function without arguments.
    operations: floating-point operations of a call, as `flops` counts them; 0 where there is no floor.
    images: of a call; 0 for a part of a detector.
    peak_mib: how far making the case and calling it first raised the process's memory, or None.
    """

    run: Callable
    operations: int = 0
    images: int = 0
    peak_mib: float | None = None


def flops(function):
    """Counts the operations of convolutions and matrix products, from shapes alone.

    Args:
        function: a ConcreteFunction traced for fixed sizes.

    Returns:
        Floating-point operations of one call; a multiply and an add are two.

    Raises:
        ValueError: an operator's shape is not known.
    """
    return sum(map(_flops, function.graph.get_operations()))


def _flops(operation):
    def shape(place):
        tensor = operation.outputs[0] if place < 0 else operation.inputs[place]
        if not tensor.shape.is_fully_defined():
            raise ValueError(f"{tensor.name} has shape {tensor.shape}: trace the function for fixed sizes to count it.")
        return tensor.shape.as_list()

    if operation.type in _CONVOLUTIONS:
        features, kernel = map(shape, _CONVOLUTIONS[operation.type])
        return 2 * math.prod(features) * math.prod(kernel[: 2 if "Depthwise" in operation.type else 3])
    if operation.type in ("MatMul", "BatchMatMulV2"):
        turned = operation.get_attr("transpose_a" if operation.type == "MatMul" else "adj_x")
        return 2 * math.prod(shape(-1)) * shape(0)[-2 if turned else -1]
    return 0


def interleaved(cases, rounds):
    """Times cases round by round, so that all of them see the same state of a shared machine.

    Args:
        cases: dict of name to `Case`.
        rounds: how often each is called, after a first call that is not timed.

    Returns:
        Dict of name to a list of seconds, one a round.
    """
    seconds = {name: [] for name in cases}
    for i in range(rounds + 1):
        for name, case in cases.items():
            begin = time.perf_counter()
            case.run()
            tf.test.experimental.sync_devices()
            if i > 0:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def machine_cases():
    """The machine's own speed: `matmul` (2048^3, float32) and `copy` (256 MiB), a dict of `Case`."""
    matmul = tf.function(tf.linalg.matmul)
    a, b = tf.unstack(tf.random.stateless_uniform([2, MATMUL_SIDE, MATMUL_SIDE], (0, 0)))
    source = np.ones(COPY_BYTES // 4, np.float32)
    target = np.empty_like(source)
    return {
        "matmul": Case(lambda: matmul(a, b), operations=2 * MATMUL_SIDE**3),
        "copy": Case(lambda: np.copyto(target, source)),
    }


def machine(seconds):
    """Describes the machine by the rounds of `machine_cases`.

    Args:
        seconds: what `interleaved` returned.

    Returns:
        Dict of what the machine is and of its rates at the median and at the best round: `matmul_gflops`,
        `best_matmul_gflops` (1e9 operations a second), `copy_gbs`, `best_copy_gbs` (1e9 bytes copied a second).
    """
    rates = {"matmul_gflops": ("matmul", 2 * MATMUL_SIDE**3), "copy_gbs": ("copy", COPY_BYTES)}
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpus": [device.name for device in tf.config.list_physical_devices("GPU")],
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        **{key: amount / statistics.median(seconds[name]) / 1e9 for key, (name, amount) in rates.items()},
        **{f"best_{key}": amount / min(seconds[name]) / 1e9 for key, (name, amount) in rates.items()},
    }


def _processor():
    info = pathlib.Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.is_file() else []
    return names[0].partition(":")[2].strip() if names else platform.processor()


def row(name, case, seconds, speed):
    """One line of the report.

    Args:
        name: of the case.
        case: a `Case`.
        seconds: of its rounds.
        speed: what `machine` returned.

    Returns:
        Dict of `name`, `median_ms`, `best_ms`, `rounds`; where the case has images, `images_s`; where it has
        operations, `gflop`, `floor_ms` at the median matmul rate, `ratio` (median over that floor) and `best_ratio`
        (the best round over the floor at the best matmul rate); where it was watched, `peak_mib`.
    """
    median, best = statistics.median(seconds), min(seconds)
    line = {"name": name, "median_ms": 1e3 * median, "best_ms": 1e3 * best, "rounds": len(seconds)}
    if case.images:
        line["images_s"] = case.images / median
    if case.operations:
        gflop = case.operations / 1e9
        floor, least = gflop / speed["matmul_gflops"], gflop / speed["best_matmul_gflops"]
        line |= {"gflop": gflop, "floor_ms": 1e3 * floor, "ratio": median / floor, "best_ratio": best / least}
    if case.peak_mib is not None:
        line["peak_mib"] = case.peak_mib
    return line


def watched(build):
    """Makes a case, calls it, and notes how far that raised the process's memory.

    What earlier cases gave back to the process but not to the system is free for this one.

    Args:
        build: a function that returns a `Case`.

    Returns:
        The `Case` with its `peak_mib`; None in it where the system has no /proc.
    """
    status, mark = pathlib.Path("/proc/self/status"), pathlib.Path("/proc/self/clear_refs")

    def mib(key):
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(key)) / 1024

    known = status.is_file() and mark.is_file()
    if known:
        mark.write_text("5")  # the high-water mark falls to what is held now
    before = mib("VmRSS") if known else None
    case = build()
    case.run()
    return case._replace(peak_mib=mib("VmHWM") - before if known else None)


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
        if len(variable.shape) and variable.dtype == "float32":
            draw = draws.get(variable.path.rpartition("/")[2], lambda shape: rng.normal(0, 0.1, shape))
            variable.assign(draw(tuple(variable.shape)))


def batch(model, count, size, objects=8, seed=0):
    """Makes a batch of random pictures and boxes.

    Args:
        model: a detector.
        count: pictures.
        size: their side, pixels.
        objects: boxes a picture.
        seed: of the draws.

    Returns:
        (images, objects), the dicts of `contract`, tensors.
    """
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, size, size, 3), np.uint8)
    corners = rng.uniform(0, 0.5 * size, (count, objects, 2))
    sides = rng.uniform(0.05 * size, 0.5 * size, (count, objects, 2))
    images = {**model.preprocess(tf.constant(pixels)), "ids": tf.range(count, dtype=tf.int64)}
    return images, {
        "boxes": tf.constant(np.concatenate([corners, corners + sides], axis=-1), tf.float32),
        "classes": tf.constant(rng.integers(0, model.num_classes, (count, objects)), tf.int32),
        "crowds": tf.zeros([count, objects], tf.bool),
    }


def traced(function, *arguments, **options):
    """Traces a function for the shapes of the tensors that it is called with; other values become part of the graph.

    Args:
        function: to trace.
        arguments, options: tensors and other values, nested as they like.

    Returns:
        (ConcreteFunction of the tensors, list of the tensors).
    """
    values = tf.nest.flatten((arguments, options))
    places = [i for i, value in enumerate(values) if tf.is_tensor(value)]

    def call(*tensors):
        given = dict(zip(places, tensors, strict=True))
        packed = tf.nest.pack_sequence_as((arguments, options), [given.get(i, value) for i, value in enumerate(values)])
        return function(*packed[0], **packed[1])

    tensors = [values[i] for i in places]
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in tensors]
    return tf.function(call, autograph=False).get_concrete_function(*specs), tensors


def called(function, *arguments, **options):
    """The `Case` of a traced function; arguments as in `traced`."""
    concrete, tensors = traced(function, *arguments, **options)
    return Case(lambda: concrete(*tensors), flops(concrete))


def frozen(function, *arguments, **options):
    """As `called`, with the weights as constants, so that what follows from them alone is computed once."""
    concrete, tensors = traced(function, *arguments, **options)
    constant = convert_variables_to_constants_v2(concrete)
    return Case(lambda: constant(*tensors), flops(concrete))


def served(model, pixels):
    """The `Case` of what an export holds: the frozen graph for pictures of any number and size.

    Args:
        model: a detector.
        pixels: [B, H, W, 3] uint8 tensor to call it with.
    """
    signature = tf.TensorSpec([None, None, None, 3], tf.uint8)
    graph = convert_variables_to_constants_v2(tf.function(lambda x: model(x)).get_concrete_function(signature))
    return Case(lambda: graph(pixels), flops(traced(model, pixels)[0]))


@contextlib.contextmanager
def recorded(targets):
    """Inside, notes the calls of functions and layers.

    Args:
        targets: dict of name to (owner, attribute): a module and its function's name, or a layer and "call".

    Yields:
        Dict of name to (function, arguments, options) of its last call, in the order of the first calls.
    """
    calls = {}

    def noted(name, function, *arguments, **options):
        calls[name] = (function, arguments, options)
        return function(*arguments, **options)

    originals = {name: getattr(owner, attribute) for name, (owner, attribute) in targets.items()}
    for name, (owner, attribute) in targets.items():
        setattr(owner, attribute, functools.partial(noted, name, originals[name]))
    try:
        yield calls
    finally:
        for name, (owner, attribute) in targets.items():
            if isinstance(owner, keras.layers.Layer):
                delattr(owner, attribute)  # its class has the method
            else:
                setattr(owner, attribute, originals[name])


def inference_parts(model, images):
    """The parts of a detector at inference, each a frozen graph on what it gets in a real call.

    Args:
        model: a detector.
        images: the images dict.

    Returns:
        Dict of name to `Case`: preprocessing, the network and each of its layers, post-processing and those of the
        shared functions that it calls.
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
    """The parts of a training step, each a graph of its own.

    Args:
        model: a compiled detector.
        images, objects: a batch.

    Returns:
        Dict of name to `Case`: the network forward, forward and backward, the loss with its gradient and those of the
        shared functions that it calls, the optimizer.
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
        return tape.gradient(total, outputs)

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
    operations = flops(traced(lambda *data: model.train_step(data), images, objects)[0])
    return Case(lambda: model.train_function(stream), operations, len(images["ids"]))


def inference(make, size):
    """Inference of one picture.

    Args:
        make: a function that makes the detector for a size in pixels.
        size: side of the picture, pixels.

    Returns:
        Two dicts of name to `Case`: of whole calls, from uint8 pixels to detections, and of the parts.
    """
    model = make(size)
    randomize(model)
    images, _ = batch(model, 1, size)
    pixels = tf.cast(images["pixels"], tf.uint8)
    ways = {"exported": served, "exported for one size": frozen, "not exported": called}
    cases = {name: watched(functools.partial(way, model, pixels))._replace(images=1) for name, way in ways.items()}
    return cases, inference_parts(model, images)


def training(make, size, count):
    """A training step, with stochastic gradient descent and momentum.

    Args:
        make: as in `inference`.
        size, count: side of the pictures, pixels, and their number.

    Returns:
        The `Case` of the step, and a dict of name to `Case` of its parts.
    """
    kept = []

    def step():
        model = make(size)
        randomize(model)
        model.compile(keras.optimizers.SGD(1e-6, momentum=0.9))
        kept.append((model, *batch(model, count, size)))
        return training_step(*kept[0])

    return watched(step), training_parts(*kept[0])


def measure(cases, rounds):
    """Runs cases between those of the machine.

    Args:
        cases: dict of name to `Case`.
        rounds: of each.

    Returns:
        Dict of `machine` and `cases`, a list of `row`.
    """
    seconds = interleaved({**machine_cases(), **cases}, rounds)
    speed = machine(seconds)
    return {"machine": speed, "cases": [row(name, case, seconds[name], speed) for name, case in cases.items()]}


def torchvision_cases(size, train_size, count, operations):
    """torchvision's RetinaNet on as many threads, in float32, its score threshold such that 1000 candidates pass.

    Args:
        size: side of the picture at inference, pixels.
        train_size, count: side of the pictures of a training step, and their number.
        operations: of inference and of a training step, for the floor.

    Returns:
        Dict of name to `Case`, empty where torchvision is not installed.
    """
    try:
        import torch
        import torchvision
    except ImportError:
        return {}

    def make(side):
        build = torchvision.models.detection.retinanet_resnet50_fpn
        return build(weights=None, weights_backbone=None, min_size=side, max_size=side)

    detector, picture = make(size).eval(), [torch.rand(3, size, size)]
    logits = []
    hook = detector.head.register_forward_hook(lambda module, inputs, outputs: logits.append(outputs["cls_logits"]))
    with torch.no_grad():
        detector(picture)
    hook.remove()
    detector.score_thresh = float(logits[0].sigmoid().flatten().topk(1000).values[-1])

    learner = make(train_size).train()
    solver = torch.optim.SGD(learner.parameters(), lr=1e-6, momentum=0.9)
    pictures = [torch.rand(3, train_size, train_size) for _ in range(count)]
    corners = torch.rand(count, 8, 2) * 0.5 * train_size
    boxes = torch.cat([corners, corners + (0.05 + 0.45 * torch.rand(count, 8, 2)) * train_size], dim=-1)
    targets = [{"boxes": box, "labels": torch.randint(0, 91, (8,))} for box in boxes]

    def step():
        solver.zero_grad(set_to_none=True)
        sum(learner(pictures, targets).values()).backward()
        solver.step()

    inference = torch.no_grad()(lambda: detector(picture))
    return {
        f"torchvision {torchvision.__version__} inference": Case(inference, operations[0], 1),
        f"torchvision {torchvision.__version__} step, norm batch": Case(step, operations[1], count),
    }


def keras_hub_cases(size, operations):
    """KerasHub's RetinaNet with its decoder, in float32; of an untrained head nearly all anchors enter its suppression.

    Args:
        size: side of the picture, pixels.
        operations: of inference, for the floor.

    Returns:
        Dict of name to `Case`, empty where KerasHub is not installed.
    """
    try:
        import keras_hub
    except ImportError:
        return {}
    encoder = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64], input_conv_kernel_sizes=[7], stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[3, 4, 6, 3], stackwise_num_strides=[1, 2, 2, 2], block_type="bottleneck_block",
        image_shape=(size, size, 3),
    )  # fmt: skip
    backbone = keras_hub.models.RetinaNetBackbone(
        image_encoder=encoder, min_level=3, max_level=7, use_p5=True, image_shape=(size, size, 3)
    )
    detector = keras_hub.models.RetinaNetObjectDetector(
        backbone=backbone, num_classes=91, bounding_box_format="xyxy", preprocessor=None
    )
    pixels = tf.random.stateless_normal([1, size, size, 3], (0, 0))
    decoded = tf.function(lambda x: detector.decode_predictions(detector(x, training=False), x), autograph=False)
    return {f"keras_hub {keras_hub.__version__} inference": Case(lambda: decoded(pixels), operations, 1)}


def models(make, dtypes, size, train_size, count, rounds, peers=True):
    """Measures a detector: inference, training with frozen and with training BatchNorm, and the parts of each.

    Args:
        make: a function of a dtype policy, a kind of `layers.norm` and a size in pixels that makes the detector.
        dtypes: the dtype policies.
        size: side of the picture at inference, pixels.
        train_size, count: side of the pictures of a training step, pixels, and their number.
        rounds: of every case.
        peers: whether to run torchvision's and KerasHub's RetinaNet beside it where they are installed.

    Returns:
        Dict of title to what `measure` returns: "whole" for all whole calls, then one for the parts of each.
    """
    cases, parts = {}, {}
    for dtype in dtypes:
        title = f"inference 1x{size} {dtype}"
        made, parts[title] = inference(functools.partial(make, dtype, "frozen"), size)
        cases |= {f"{title} {way}": case for way, case in made.items()}
        for norm in ("frozen", "batch"):
            title = f"training {count}x{train_size} {dtype} norm {norm}"
            cases[title], parts[title] = training(functools.partial(make, dtype, norm), train_size, count)
    if peers:
        kinds = ("inference", "training")
        operations = [next(case.operations for name, case in cases.items() if name.startswith(kind)) for kind in kinds]
        cases |= torchvision_cases(size, train_size, count, operations) | keras_hub_cases(size, operations[0])
    return {title: measure(some, rounds) for title, some in {"whole": cases, **parts}.items()}
