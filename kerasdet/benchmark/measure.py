"""Measures times relative to the speed of the machine's own matrix multiplication and memory copy.

A time says little without the machine's speed in the same minute. A matrix multiplication and a memory copy therefore
run in every round, between the cases, and a case is reported as a multiple of its floor: the floating-point operations
of its convolutions and matrix products (a multiply and an add are two) over the multiplication's rate in the same
rounds, or the bytes that it must read and write over the copy's rate.
"""

import math
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

MATMUL_SIDE = 2048
COPY_BYTES = 2**28

# Positions of a convolution's feature map and kernel among its inputs; -1 is its output.
_CONVOLUTIONS = {
    "Conv2D": (-1, 1),
    "Conv2DBackpropInput": (2, 1),
    "Conv2DBackpropFilter": (2, -1),
    "DepthwiseConv2dNative": (-1, 1),
    "DepthwiseConv2dNativeBackpropInput": (2, 1),
    "DepthwiseConv2dNativeBackpropFilter": (2, -1),
}


class Case(NamedTuple):
    """One timed case.

    run: a function without arguments.
    operations: floating-point operations per call, as counted by `flops`; 0 if there is no floor.
    copied: bytes of inputs and outputs, each counted once; 0 if that is not meaningful.
    images: images per call; 0 for a part of a detector.
    pairs: pairs of boxes that a call compares; 0 if none.
    peak_mib: by how much building the case and its first call raised the process's memory, or None.
    """

    run: Callable
    operations: int = 0
    images: int = 0
    peak_mib: float | None = None
    copied: int = 0
    pairs: int = 0


def flops(function):
    """Counts the operations of convolutions and matrix products from their shapes.

    Args:
        function: a ConcreteFunction traced for fixed sizes.

    Returns:
        Floating-point operations of one call; a multiply and an add are two.

    Raises:
        ValueError: an operator's shape is not known.
    """
    return sum(map(_flops, function.graph.get_operations()))


def performed(function, *arguments, **options):
    """Counts like `flops`, but during a call, because sizes may depend on values, such as the number of regions.

    Args:
        function, arguments, options: as in `traced`.

    Returns:
        Floating-point operations of this call.
    """

    def counting(*arguments, **options):
        function(*arguments, **options)
        operations = tf.compat.v1.get_default_graph().get_operations()
        return tf.reduce_sum([tf.cast(_flops(operation, _shape_at_run), tf.int64) for operation in operations])

    concrete, tensors = traced(counting, *arguments, **options)
    return int(concrete(*tensors))


def _static_shape(tensor):
    if not tensor.shape.is_fully_defined():
        raise ValueError(f"{tensor.name} has shape {tensor.shape}: trace the function for fixed sizes to count it.")
    return tensor.shape.as_list()


def _shape_at_run(tensor):
    return tensor.shape.as_list() if tensor.shape.is_fully_defined() else tf.unstack(tf.shape(tensor, tf.int64))


def _flops(operation, shape_of=_static_shape):
    def shape(position):
        return shape_of(operation.outputs[0] if position < 0 else operation.inputs[position])

    if operation.type in _CONVOLUTIONS:
        features, kernel = map(shape, _CONVOLUTIONS[operation.type])
        return 2 * math.prod(features) * math.prod(kernel[: 2 if "Depthwise" in operation.type else 3])
    if operation.type in ("MatMul", "BatchMatMulV2"):
        transposed = operation.get_attr("transpose_a" if operation.type == "MatMul" else "adj_x")
        return 2 * math.prod(shape(-1)) * shape(0)[-2 if transposed else -1]
    return 0


def interleaved(cases, rounds):
    """Times cases round by round, so that all of them see a shared machine in the same state.

    Args:
        cases: dict of name to `Case`.
        rounds: number of timed calls of each, after a first call that is not timed.

    Returns:
        Dict of name to a list of seconds, one per round.
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
    """The machine's own speed: `matmul` (2048^3, float32) and `copy` (256 MiB, all cores), a dict of `Case`."""
    matmul = tf.function(tf.linalg.matmul)
    a, b = tf.unstack(tf.random.stateless_uniform([2, MATMUL_SIDE, MATMUL_SIDE], (0, 0)))
    sources = np.array_split(np.ones(COPY_BYTES // 4, np.float32), cores())
    targets = [np.empty_like(source) for source in sources]
    pool = ThreadPoolExecutor(len(sources))
    return {
        "matmul": Case(lambda: matmul(a, b), operations=2 * MATMUL_SIDE**3),
        "copy": Case(lambda: list(pool.map(np.copyto, targets, sources))),
    }


def cores():
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def machine(seconds):
    """Describes the machine, from the rounds of `machine_cases`.

    Args:
        seconds: times from `interleaved`.

    Returns:
        Dict of the machine's description and its rates at the median and the best round: `matmul_gflops`,
        `best_matmul_gflops` (1e9 operations per second), `copy_gbs`, `best_copy_gbs` (1e9 bytes copied per second).
    """
    rates = {"matmul_gflops": ("matmul", 2 * MATMUL_SIDE**3), "copy_gbs": ("copy", COPY_BYTES)}
    return {
        "processor": _processor(),
        "cores": cores(),
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
    """One row of the report.

    Args:
        name: name of the case.
        case: a `Case`.
        seconds: times of its rounds.
        speed: the dict from `machine`.

    Returns:
        Dict of `name`, `median_ms`, `best_ms`, `rounds`. If the case has images, also `images_s`. If it has operations,
        `gflop`, `floor_ms` at the median matmul rate, `ratio` (median over that floor) and `best_ratio` (best round
        over the floor at the best matmul rate). If bytes are counted, `copy_ms` at the median copy rate, `copies`
        (median over that) and `gbs` (1e9 of those bytes per second). If pairs are
        counted, `pair_ns`, nanoseconds per pair. If it was watched, `peak_mib`.
    """
    median, best = statistics.median(seconds), min(seconds)
    line = {"name": name, "median_ms": 1e3 * median, "best_ms": 1e3 * best, "rounds": len(seconds)}
    if case.images:
        line["images_s"] = case.images / median
    if case.operations:
        gflop = case.operations / 1e9
        floor, least = gflop / speed["matmul_gflops"], gflop / speed["best_matmul_gflops"]
        line |= {"gflop": gflop, "floor_ms": 1e3 * floor, "ratio": median / floor, "best_ratio": best / least}
    if case.copied:
        copy = case.copied / 1e9 / speed["copy_gbs"]
        line |= {"copy_ms": 1e3 * copy, "copies": median / copy, "gbs": case.copied / 1e9 / median}
    if case.pairs:
        line["pair_ns"] = 1e9 * median / case.pairs
    if case.peak_mib is not None:
        line["peak_mib"] = case.peak_mib
    return line


def watched(build):
    """Builds a case, calls it, and records by how much that raised the process's memory.

    Memory that earlier cases freed but the process still holds does not count for this one.

    Args:
        build: a function that returns a `Case`.

    Returns:
        The `Case` with its `peak_mib`, or None if the system has no /proc.
    """
    status, mark = pathlib.Path("/proc/self/status"), pathlib.Path("/proc/self/clear_refs")

    def mib(key):
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(key)) / 1024

    supported = status.is_file() and mark.is_file()
    if supported:
        mark.write_text("5")  # resets the high-water mark to the memory in use now
    before = mib("VmRSS") if supported else None
    case = build()
    case.run()
    return case._replace(peak_mib=mib("VmHWM") - before if supported else None)


def traced(function, *arguments, **options):
    """Traces a function for the shapes of its tensor arguments; other values become part of the graph.

    Args:
        function: function to trace.
        arguments, options: tensors and other values, nested in any way.

    Returns:
        (ConcreteFunction of the tensors, list of the tensors).
    """
    values = tf.nest.flatten((arguments, options))
    positions = [i for i, value in enumerate(values) if tf.is_tensor(value)]

    def call(*tensors):
        tensor_at = dict(zip(positions, tensors, strict=True))
        replaced = [tensor_at.get(i, value) for i, value in enumerate(values)]
        packed = tf.nest.pack_sequence_as((arguments, options), replaced)
        return function(*packed[0], **packed[1])

    tensors = [values[i] for i in positions]
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in tensors]
    return tf.function(call, autograph=False).get_concrete_function(*specs), tensors


def called(function, *arguments, **options):
    """The `Case` of a traced function; arguments as in `traced`."""
    concrete, tensors = traced(function, *arguments, **options)
    return Case(lambda: concrete(*tensors), performed(function, *arguments, **options))


def frozen(function, *arguments, **options):
    """Like `called`, with the weights as constants, so that what depends only on them is computed once."""
    concrete, tensors = traced(function, *arguments, **options)
    constant = convert_variables_to_constants_v2(concrete)
    return Case(lambda: constant(*tensors), flops(concrete))


def measure(cases, rounds):
    """Runs cases, interleaved with those of the machine.

    Args:
        cases: dict of name to `Case`.
        rounds: rounds of each.

    Returns:
        Dict of `machine` and `cases`, a list of rows from `row`.
    """
    seconds = interleaved({**machine_cases(), **cases}, rounds)
    speed = machine(seconds)
    return {"machine": speed, "cases": [row(name, case, seconds[name], speed) for name, case in cases.items()]}
