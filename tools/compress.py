"""Replaces each fully connected layer with two of lower rank, and measures the cost (Fast R-CNN, section 4.4).

    python -m tools.compress runs/fast --ranks=1024,256 --out=runs/fast_svd --part=validation

The result is a run folder like any other; `--init_from` can fine-tune it. With --part, both models are scored and timed
on that data set of the run's config.
"""

import os
import pathlib
import shutil
import time

import numpy as np
from absl import flags

from kerasdet import command

MODEL = flags.DEFINE_string("model", None, "Run folder or .keras file; the flag's name may be omitted.")
RANKS = flags.DEFINE_list("ranks", None, "Rank of each fully connected layer; 1024,256 in the paper.")
OUT = flags.DEFINE_string("out", None, "Run folder to write.")
PART = flags.DEFINE_string("part", None, "Data set to score both models on: train, validation or test.")
BATCH = flags.DEFINE_integer("batch_size", 1, "Images per batch.")
TIMED = 20  # batches


def main(arguments):
    from kerasdet import runs
    from kerasdet.load import load
    from kerasdet.training.checkpoints import save_model
    from kerasdet.weights import svd

    path = command.argument(arguments, MODEL, "run folder or .keras file")
    if not RANKS.value or not all(rank.strip().isdigit() for rank in RANKS.value) or not OUT.value:
        raise ValueError("give --ranks, one per fully connected layer, such as 1024,256, and the folder --out.")
    model = load(path)
    small, kept = svd.compress(model, [int(rank) for rank in RANKS.value])
    for name, share in kept.items():
        print(f"{name}: {share:.4f} of the sum of squares is kept")
    os.makedirs(OUT.value, exist_ok=True)
    home = path if os.path.isdir(path) else os.path.dirname(path)
    if os.path.isfile(os.path.join(home, "config.json")):
        config = runs.read_config(home)
        config.model.ranks = list(small.arguments["ranks"])
        runs.write_config(OUT.value, config)
        if os.path.isfile(os.path.join(home, "split.json")):
            shutil.copy(os.path.join(home, "split.json"), OUT.value)
    save_model(small, pathlib.Path(OUT.value) / "model.keras")
    for name, one in (("before", model), ("after", small)):
        cost = f", {_cost(one, home)}" if PART.value else ""
        print(f"{name}: {one.count_params():,} parameters{cost}")
    print(f"written to {OUT.value}")


def _cost(model, home):
    """AP and seconds an image, without reading it: the median of some batches after the first."""
    import tensorflow as tf

    from kerasdet import runs
    from kerasdet.evaluation.evaluator import Evaluator

    evaluator = Evaluator(model, runs.dataset(runs.read_config(home), home, PART.value), BATCH.value)
    detect = tf.function(lambda images: model(images)["scores"], input_signature=evaluator.streams[0].element_spec[:1])
    seconds = []
    for images, _ in evaluator.streams[0].take(1 + TIMED):
        begin = time.perf_counter()
        detect(images).numpy()
        seconds.append((time.perf_counter() - begin) / BATCH.value)
    metrics = evaluator()
    return f"AP {metrics['AP']:.3f}, AP50 {metrics['AP50']:.3f}, {np.median(seconds[1:] or seconds):.3f} s per image"


if __name__ == "__main__":
    command.script(main)
