"""Measures speed relative to the machine's own matrix multiplication.

    python -m tools.benchmark models --rounds=9 --out=benchmark.json
    python -m tools.benchmark models --model=ssd300_vgg16 --size=300 --train_size=300 --batch_size=8 --norms=none
    python -m tools.benchmark models --config=configs/efficientdet/coco.py:d0 --size=512 --norms=batch --classes=90
    python -m tools.benchmark ops --rounds=9
    python -m tools.benchmark input --path="photos/*.jpg"

`models` times one of torchvision's detectors, or that of a config: one picture from uint8 pixels to detections, with a
given number of candidates, training steps with each kind of norm, and the parts of both. `floor_ms` is the time of the
network's multiply-adds at the median rate of a 2048^3 float32 matrix multiplication in the same rounds. `ratio` is the
median over it, and `best_ratio` the best round over the floor at the best rate. `ops` times the native operators,
forward and with gradients, their twins and stock TensorFlow; `copies` is the median over the time to copy an operator's
inputs and outputs once, in the same rounds, and `pair_ns` the nanoseconds per pair of an anchor and an object in
matching. Both also time torchvision, if it is installed.
`input` times the data pipeline; `floor_share` is the share of its time that decoding the JPEGs alone takes.
"""

import functools
import importlib.util
import json
import resource

from absl import flags
from ml_collections import config_flags

from kerasdet import command

MODEL = flags.DEFINE_string("model", "retinanet_resnet50_fpn", "One of torchvision's builders of detectors.")
CONFIG = config_flags.DEFINE_config_file("config", None, "With models: measure the detector of this config instead.")
CLASSES = flags.DEFINE_integer("classes", 91, "Number of classes, without background.")
SIZE = flags.DEFINE_integer("size", 640, "Side of the picture at inference, pixels.")
TRAIN_SIZE = flags.DEFINE_integer("train_size", 512, "Side of the pictures in training, pixels.")
BATCH = flags.DEFINE_integer("batch_size", 2, "Pictures per training step.")
DTYPES = flags.DEFINE_list("dtypes", ["float32", "mixed_bfloat16"], "Dtype policies to measure.")
NORMS = flags.DEFINE_list("norms", ["frozen", "batch"], 'Kinds of norms to train with; "none" if the model has none.')
CANDIDATES = flags.DEFINE_integer("candidates", 1000, "Number of scores above the threshold; 0 keeps the threshold.")
ROUNDS = flags.DEFINE_integer("rounds", 9, "Number of timed rounds.")
PEERS = flags.DEFINE_bool("peers", True, "Also time torchvision and KerasHub's RetinaNet, if installed.")
THREADS = flags.DEFINE_integer("threads", 0, "Threads per operator; 0 uses all cores.")
TWINS = flags.DEFINE_bool("twins", True, "With ops: also time their TensorFlow twins.")
PATH = flags.DEFINE_string("path", None, "With input: pattern of JPEG files; by default, drawn ones of 640 x 480.")
OUT = flags.DEFINE_string("out", None, "JSON file for the numbers.")


def models():
    from kerasdet.benchmark import models as model_benchmarks
    from kerasdet.benchmark import peers
    from kerasdet.load import build
    from kerasdet.weights import torchvision

    if MODEL.value not in torchvision.MODELS:
        raise ValueError(f"--model must be one of {', '.join(torchvision.MODELS)}, got {MODEL.value!r}.")

    def make(dtype, norm, size):
        options = {"dtype": dtype, "norm": norm}
        if CONFIG.value is None:
            sides = {"min_size": size, "max_size": size}
            return build(torchvision.arguments(MODEL.value, **sides, **options), CLASSES.value)
        rule = CONFIG.value.model.get("resize", ("stretch",))[0]
        resize = (rule, size, size) if rule != "keep" else ("keep",)
        return build({**CONFIG.value.model, "backbone_weights": None, "resize": resize, **options}, CLASSES.value)

    sizes, candidates = (SIZE.value, TRAIN_SIZE.value, BATCH.value), CANDIDATES.value or None
    norms = [None if norm == "none" else norm for norm in NORMS.value]
    name = MODEL.value if CONFIG.value is None else CONFIG.value.name.removesuffix("_coco")
    others = functools.partial(peers.detectors, name, CLASSES.value, *sizes, candidates) if PEERS.value else None
    return model_benchmarks.models(make, DTYPES.value, norms, *sizes, ROUNDS.value, candidates, others)


def main(arguments):
    import tensorflow as tf

    from kerasdet.benchmark import input as inputs
    from kerasdet.benchmark import operators, table

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
    missing = [peer for peer in ("torchvision", "keras_hub", "effdet") if importlib.util.find_spec(peer) is None]
    print(f"\nnot installed: {', '.join(missing) or 'nothing'}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"most memory of the whole process: {peak:.0f} MiB")
    if OUT.value:
        with open(OUT.value, "w", encoding="utf-8") as file:
            json.dump({**reports, "process_peak_mib": peak}, file, indent=2)


if __name__ == "__main__":
    command.script(main)
