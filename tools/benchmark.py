"""Measures speed beside the machine's own matrix multiplication.

    python -m tools.benchmark models --rounds=9 --out=benchmark.json
    python -m tools.benchmark models --model=ssd300_vgg16 --size=300 --train_size=300 --batch_size=8 --norms=none
    python -m tools.benchmark ops --rounds=9
    python -m tools.benchmark input --path="photos/*.jpg"

`models` times a detector, one of torchvision's: one picture from uint8 pixels to detections, with so many candidates,
and training steps with norms of each kind, and the parts of each. `floor_ms` is the time of the network's multiply-adds
at the median rate of a 2048^3 float32 matrix multiplication in the same rounds, `ratio` the median over it,
`best_ratio` the best round over the floor at the best rate. `ops` times the native operators, forward and with
gradients, beside their twins and what stock TensorFlow has; `copies` is the median over the time to copy an operator's
inputs and outputs once, in the same rounds, and `pair_ns` the nanoseconds of matching an anchor with an object. Both
run torchvision beside where installed.
`input` times the data pipeline; `floor_share` is the part of its time that decoding the JPEGs alone takes.
"""

import functools
import importlib.util
import json
import resource

import tensorflow as tf
from absl import flags

from kerasdet import runs
from kerasdet.benchmark import input as inputs
from kerasdet.benchmark import models as model_benchmarks
from kerasdet.benchmark import operators, peers, table
from kerasdet.weights import torchvision

MODEL = flags.DEFINE_enum("model", "retinanet_resnet50_fpn", list(torchvision.MODELS), "One of torchvision's builders.")
CLASSES = flags.DEFINE_integer("classes", 91, "Number of classes, without a background.")
SIZE = flags.DEFINE_integer("size", 640, "Side of the picture at inference, pixels.")
TRAIN_SIZE = flags.DEFINE_integer("train_size", 512, "Side of the pictures in training, pixels.")
BATCH = flags.DEFINE_integer("batch_size", 2, "Pictures a training step.")
DTYPES = flags.DEFINE_list("dtypes", ["float32", "mixed_bfloat16"], "Dtype policies to measure.")
NORMS = flags.DEFINE_list("norms", ["frozen", "batch"], "Kinds of norms to train with; none where there are none.")
CANDIDATES = flags.DEFINE_integer("candidates", 1000, "Scores above the least one; 0: its own.")
ROUNDS = flags.DEFINE_integer("rounds", 9, "How often each case is timed.")
PEERS = flags.DEFINE_bool("peers", True, "Also torchvision's, and KerasHub's RetinaNet, where installed.")
THREADS = flags.DEFINE_integer("threads", 0, "Threads of an operator; 0 takes all cores.")
TWINS = flags.DEFINE_bool("twins", True, "With ops: also their TensorFlow twins.")
PATH = flags.DEFINE_string("path", None, "With input: pattern of JPEG files; else drawn ones of 640 x 480.")
OUT = flags.DEFINE_string("out", None, "File for the numbers, json.")


def models():
    def make(dtype, norm, size):
        options = {"min_size": size, "max_size": size, "dtype": dtype, "norm": norm}
        return torchvision.build(MODEL.value, CLASSES.value, **options)

    sizes, candidates = (SIZE.value, TRAIN_SIZE.value, BATCH.value), CANDIDATES.value or None
    norms = [None if norm == "none" else norm for norm in NORMS.value]
    others = functools.partial(peers.detectors, MODEL.value, CLASSES.value, *sizes, candidates) if PEERS.value else None
    return model_benchmarks.models(make, DTYPES.value, norms, *sizes, ROUNDS.value, candidates, others)


def main(arguments):
    tf.config.threading.set_intra_op_parallelism_threads(THREADS.value)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS.value)
    ops = functools.partial(operators.operators, ROUNDS.value, TWINS.value, PEERS.value)
    kinds = {"models": models, "ops": ops, "input": functools.partial(inputs.files, PATH.value, ROUNDS.value)}
    kind = " ".join(arguments[1:])
    if kind not in kinds:
        raise ValueError(f"say what to measure, {', '.join(kinds)}, got {kind!r}.")
    reports = kinds[kind]()
    for title, report in reports.items():
        table.show(title, report)
    missing = [peer for peer in ("torchvision", "keras_hub") if importlib.util.find_spec(peer) is None]
    print(f"\nnot installed: {', '.join(missing) or 'nothing'}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"most memory of the whole process: {peak:.0f} MiB")
    if OUT.value:
        with open(OUT.value, "w", encoding="utf-8") as file:
            json.dump({**reports, "process_peak_mib": peak}, file, indent=2)


if __name__ == "__main__":
    runs.script(main)
