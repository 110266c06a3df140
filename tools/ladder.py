"""Trains and scores several configs on one data set, and prints a table to compare them.

    python -m tools.ladder rcnn/raccoon sppnet/raccoon fast_rcnn/raccoon --folder=RACCOON --proposals=raccoon.npz \
        --weights=mobilenet_v2_1.0_224_notop.h5 --out=runs/raccoon
    python -m tools.ladder rcnn/bccd sppnet/bccd faster_rcnn/mobilenetv2_fpn_bccd --folder=BCCD --proposals=bccd.npz \
        --part=test --out=runs/bccd

A config is a name in `configs`. Each trains in a process of its own, in a folder under --out that also holds its log;
one that is there is only scored. The table has AP and AP50, seconds a photo (the median, one photo at a time, with its
proposals at hand), minutes of training, and the most memory that training took. It is printed and written to ladder.md.
"""

import json
import os
import pathlib
import runpy
import statistics
import subprocess
import sys
import time

from absl import flags

from kerasdet import command

FOLDER = flags.DEFINE_string("folder", None, "Folder of the data set.")
PROPOSALS = flags.DEFINE_string("proposals", None, "File of proposals, for the configs that take some.")
WEIGHTS = flags.DEFINE_string("weights", None, "Weights of the backbones, by default those of the configs.")
PART = flags.DEFINE_string("part", "validation", "Part to score on: train, validation or test.")
OUT = flags.DEFINE_string("out", None, "Folder to write.")
SEED = flags.DEFINE_integer("seed", 0, "Seed of the trainings.")
PHOTOS = flags.DEFINE_integer("photos", 10, "Photos to time.", lower_bound=1)
COLUMNS = ("config", "AP", "AP50", "seconds a photo", "minutes", "GB")
MEASURED = "ladder.json"


def main(arguments):
    from kerasdet import configs

    names, root = arguments[1:], pathlib.Path(next(iter(configs.__path__)))
    if not names or not FOLDER.value or not OUT.value:
        raise ValueError("name one or more configs, such as rcnn/raccoon, and give --folder and --out.")
    if missing := [name for name in names if not (root / f"{name}.py").is_file()]:
        raise ValueError(f"{root / missing[0]}.py: there is no such config.")
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for name in names:
        run = pathlib.Path(OUT.value) / name.replace("/", "_")
        if not (run / MEASURED).is_file():
            _train(root / f"{name}.py", run)
        numbers = [*_scored(run), *json.loads((run / MEASURED).read_text())]
        forms = ("{:.3f}", "{:.3f}", "{:.3f}", "{:.1f}", "{:.2f}")
        cells = [form.format(number) for form, number in zip(forms, numbers, strict=True)]
        lines.append(f"| {' | '.join([name, *cells])} |")
        (pathlib.Path(OUT.value) / "ladder.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def _train(file, run):
    """Trains in a process of its own, and notes its minutes and the most memory that it held."""
    flags_of_train = [f"--config={file}", f"--run={run}", f"--config.data.folder={FOLDER.value}"]
    flags_of_train.append(f"--config.train.seed={SEED.value}")
    if PROPOSALS.value and "proposals" in runpy.run_path(str(file))["get_config"]().data:
        flags_of_train.append(f"--config.data.proposals={PROPOSALS.value}")
    if WEIGHTS.value:
        flags_of_train.append(f"--config.model.backbone_weights={WEIGHTS.value}")
    run.mkdir(parents=True, exist_ok=True)
    print(f"training {run}", flush=True)
    begin, log = time.perf_counter(), run / "ladder.log"
    with open(log, "w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "kerasdet", "train", *flags_of_train], stdout=stream, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        said = log.read_text().strip().splitlines() or ["it said nothing"]
        raise ValueError(f"{run}: the training failed; the end of {log}: {said[-1]}")
    (run / MEASURED).write_text(json.dumps([(time.perf_counter() - begin) / 60, usage.ru_maxrss * 1024 / 1e9]))


def _scored(run):
    """AP, AP50, and the median seconds of a photo, its decoding apart."""
    from kerasdet import runs
    from kerasdet.evaluation.evaluator import Evaluator
    from kerasdet.load import load

    model, config = load(run), runs.read_config(run)
    dataset = runs.dataset(config, run, PART.value)
    metrics = Evaluator(model, dataset, 1, **config.get("evaluate", {}))()
    seconds = []
    for record in dataset.records[: PHOTOS.value]:
        given = record.pixels(), 0.0, None, *([record.proposals] if model.needs_proposals else [])
        model.detect(*given)  # traces, or warms up, once
        begin = time.perf_counter()
        model.detect(*given)
        seconds.append(time.perf_counter() - begin)
    return metrics["AP"], metrics["AP50"], statistics.median(seconds)


if __name__ == "__main__":
    command.script(main)
