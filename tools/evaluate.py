"""Scores a detector with COCO's metrics, and draws what it sees.

    python -m tools.evaluate --model=runs/quickstart --pictures=8
    python -m tools.evaluate --model=runs/bccd --split=test --out=runs/bccd/test

Without --config the data is that of the run's own config. Writes metrics.json, results.json (which bare pycocotools
scores to the same numbers), pr_curves.png, confusion.png and the asked pictures.
"""

import json
import os

from absl import flags
from ml_collections import config_flags

from kerasdet import data, draw, runs
from kerasdet.evaluation import plots
from kerasdet.evaluation.evaluator import Evaluator

MODEL = flags.DEFINE_string("model", None, "Run folder or .keras file.", required=True)
CONFIG = config_flags.DEFINE_config_file("config", None, "Config that names the data; by default the run's own.")
PART = flags.DEFINE_string("part", "validation", "Which of the config's data sets: train, validation or test.")
SPLIT = flags.DEFINE_string("split", None, "Another split of that data set.")
OUT = flags.DEFINE_string("out", None, "Folder for what is written; by default `evaluation` in the run folder.")
BATCH = flags.DEFINE_integer("batch_size", 4, "Images at once.")
PICTURES = flags.DEFINE_integer("pictures", 0, "How many images to draw beside their ground truth.")
ABOVE = flags.DEFINE_float("above", 0.4, "Least score of a drawn detection; metrics take all.")


def main(_):
    model = runs.load(MODEL.value)
    config = CONFIG.value or runs.read_config(MODEL.value)
    source = config.data[PART.value].to_dict()
    dataset = data.read(**{**source, "split": SPLIT.value or source.get("split")})
    out = OUT.value or os.path.join(MODEL.value, "evaluation")
    os.makedirs(out, exist_ok=True)
    evaluator = Evaluator(model, dataset, BATCH.value)
    metrics = evaluator()
    metrics = {"data": dataset.name, "images": len(dataset), **metrics}
    for name, value in (("metrics", metrics), ("results", evaluator.results)):
        with open(os.path.join(out, f"{name}.json"), "w", encoding="utf-8") as file:
            json.dump(value, file, indent=2 if name == "metrics" else None)
    plots.precision_recall(evaluator.evaluation, os.path.join(out, "pr_curves.png"))
    plots.confusion_matrix(evaluator.truth, evaluator.results, os.path.join(out, "confusion.png"))
    for record in dataset.records[: PICTURES.value]:
        pixels = record.pixels()
        found = model.detect(pixels, above=ABOVE.value)
        pair = draw.beside(
            draw.boxes(pixels, record.boxes, record.classes, dataset.classes),
            draw.boxes(pixels, found["boxes"], found["classes"], dataset.classes, found["scores"]),
            ("ground truth", "detections"),
        )
        pair.save(os.path.join(out, f"{record.id:06d}.png"))
    numbers = "  ".join(f"{name} {metrics[name]:.3f}" for name in ("AP", "AP50", "AP75"))
    print(f"\n{dataset.name}, {len(dataset)} images: {numbers}")
    for name, value in metrics["per_class"].items():
        print(f"  {name:24s} AP {value:.3f}  AP50 {metrics['per_class_AP50'][name]:.3f}")
    print(f"written to {out}")


if __name__ == "__main__":
    runs.script(main)
