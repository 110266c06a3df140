"""Scores a detector with COCO's metrics, and draws its errors.

    python -m tools.evaluate runs/mine
    python -m tools.evaluate runs/bccd --part=test --pictures=8 --out=runs/bccd/test
    python -m tools.evaluate runs/mine/int8.tflite
    python -m tools.evaluate runs/mine --dtype=mixed_bfloat16
    python -m tools.evaluate runs/mine --nms="{name: soft, floor: 0.001}"

Without --config, the data is that of the run's own config, whose `evaluate` section holds further arguments of the
evaluator. Writes metrics.json (with the best score threshold for showing detections), ground_truth.json and
results.json (from which plain pycocotools computes the same numbers), pr_curves.png, also for masks and keypoints,
confusion.png, the requested pictures, the 20 with the most errors in `worst`, and report.html, a page of all this with
the errors by kind. --part=test reads the test part of a folder.
"""

import os
import pathlib

import yaml
from absl import flags
from ml_collections import config_flags

from kerasdet import command

MODEL = flags.DEFINE_string("model", None, "Run folder, .keras file, preset or export; the flag's name may be omitted.")
CONFIG = config_flags.DEFINE_config_file("config", None, "Config that names the data; by default the run's own.")
PART = flags.DEFINE_string("part", "validation", "Which of the config's data sets: train, validation or test.")
SPLIT = flags.DEFINE_string("split", None, "Another split of that data set.")
OUT = flags.DEFINE_string(
    "out", None, "Folder to write; by default the run's `evaluation`, or `evaluation-` and EXPORT, DTYPE or NMS."
)
BATCH = flags.DEFINE_integer("batch_size", 4, "Images per batch.")
DTYPE = flags.DEFINE_string("dtype", None, "Precision to compute in: float32, mixed_bfloat16 or mixed_float16.")
NMS = flags.DEFINE_string("nms", None, "Suppression in the place of the model's: a kind, or {name: kind, OPTION: x}.")
PICTURES = flags.DEFINE_integer("pictures", 0, "Number of images to draw beside their ground truth.")
WORST = flags.DEFINE_integer("worst", 20, "Number of images with the most errors to draw.")
ABOVE = flags.DEFINE_float("above", None, "Minimum score to draw, by default the best threshold; metrics use all.")


def main(arguments):
    from kerasdet import runs
    from kerasdet.evaluation import coco, diagnose, report
    from kerasdet.evaluation.evaluator import Evaluator
    from kerasdet.export.load import Exported
    from kerasdet.load import load

    path = command.argument(arguments, MODEL, "run folder or .keras file")
    model = load(path)
    if DTYPE.value is not None:
        if isinstance(model, Exported):
            raise ValueError(f"{path}: an exported file has a fixed precision; --dtype is for Keras models.")
        model = model.with_dtype(DTYPE.value)
    if NMS.value is not None:
        if isinstance(model, Exported):
            raise ValueError(f"{path}: an exported file has a fixed suppression; --nms is for Keras models.")
        model.nms = yaml.safe_load(NMS.value)
    home = runs.home(path)
    config = CONFIG.value or runs.read_config(home)
    dataset = runs.dataset(config, home, PART.value, SPLIT.value)
    evaluator = Evaluator(model, dataset, BATCH.value, **config.get("evaluate", {}))
    metrics = evaluator()
    others = [pathlib.Path(path).name if isinstance(model, Exported) else None, DTYPE.value]
    if NMS.value is not None:
        others.append(model.nms["name"] if isinstance(model.nms, dict) else model.nms)
    out = OUT.value or os.path.join(home, "-".join(["evaluation", *filter(None, others)]))
    kinds, worst = report.write(evaluator, metrics, out, PICTURES.value, WORST.value, ABOVE.value)
    print(f"\n{dataset.name}, {len(dataset)} images")
    for kind in evaluator.evaluations:
        print(f"  {kind:24s} {coco.line(evaluator.evaluations[kind])}")
    if evaluator.voc:
        print(f"  {'voc':24s} AP2007 {metrics['voc/AP2007']:.3f}  AP2010 {metrics['voc/AP2010']:.3f}")
    for name, value in metrics["per_class"].items():
        pascal = f"  AP2007 {metrics['voc/per_class_AP2007'][name]:.3f}" if evaluator.voc else ""
        print(f"  {name:24s} AP {value:.3f}  AP50 {metrics['per_class_AP50'][name]:.3f}{pascal}")
    if metrics["AP50"] < diagnose.ZERO:
        print(f"why AP is 0: {diagnose.diagnose(evaluator.truth, evaluator.results)}")
    print(f"best threshold {metrics['threshold']:.2f} with F1 {metrics['F1']:.3f}")
    print("errors from that score on, and what AP50 would gain without them")
    for kind, one in kinds.items():
        print(f"  {kind:12s} {one['count']:6d}  {one['cost']:.3f}")
    for image, number, own in worst:
        print(f"  {number} errors in {image}: " + ", ".join(f"{count} {kind}" for kind, count in own.items()))
    print(f"written to {out}")


if __name__ == "__main__":
    command.script(main)
