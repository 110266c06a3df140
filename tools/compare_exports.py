"""Scores and times all forms that a detector can be exported to.

    python -m tools.compare_exports runs/mine
    python -m tools.compare_exports runs/mine --part=test --size=300,300 --kinds=float32,int8

Prints AP, AP50 and megabytes of Keras, the SavedModel and each TFLite file, all on the same pictures. Then prints the
times for one picture: "whole", and "raw" without decoding and suppression (for the SavedModel, the same graph in this
process); TFLite runs with one and with two threads. Kinds that the detector does not support are skipped. `peak_mib` is
by how much opening a file and its first run raised the memory. To refuse a file, use `tools.export --max_ap_drop`.
"""

import os

from absl import flags
from ml_collections import config_flags

from kerasdet import command
from kerasdet.export import KINDS as FORMS

MODEL = flags.DEFINE_string("model", None, "Run folder, .keras file or preset; may also come first without the flag.")
CONFIG = config_flags.DEFINE_config_file("config", None, "Config that names the data; by default the run's own.")
PART = flags.DEFINE_string("part", "validation", "Which of the config's data sets to score on.")
KINDS = flags.DEFINE_list("kinds", list(FORMS), "Kinds of TFLite files.")
SIZE = flags.DEFINE_list("size", None, "Height and width of a TFLite file's input, as 320,320; by default any.")
EXAMPLES = flags.DEFINE_integer("examples", 100, "Training pictures on which int8 measures its ranges.")
ROUNDS = flags.DEFINE_integer("rounds", 15, "Number of timed rounds.")
OUT = flags.DEFINE_string("out", None, "Folder for the files; by default `exports` in the run folder.")


def main(arguments):
    from kerasdet import runs
    from kerasdet.benchmark import exports, table
    from kerasdet.export import tflite
    from kerasdet.export.load import Exported
    from kerasdet.load import load

    path = command.argument(arguments, MODEL, "run folder, .keras file or preset")
    model, home = load(path), runs.home(path)
    if isinstance(model, Exported):
        raise ValueError(f"{path}: this is an exported file already; give the model that it was exported from.")
    config = CONFIG.value or runs.read_config(home)
    scored = runs.dataset(config, home, PART.value)
    examples = tflite.examples(model, runs.dataset(config, home, "train"), EXAMPLES.value)
    size = SIZE.value and tuple(int(side) for side in SIZE.value)
    out = OUT.value or os.path.join(home, "exports")
    rules = config.get("evaluate", {})
    scores, times = exports.exports(model, scored, examples, out, KINDS.value, size, ROUNDS.value, **rules)
    print(f"\n{scored.name}, {len(scored)} images")
    for name, one in scores.items():
        print(f"  {name:16s} AP {one['AP']:.3f}  AP50 {one['AP50']:.3f}  AP75 {one['AP75']:.3f}  {one['mb']:.2f} MB")
    table.show("one picture", times)


if __name__ == "__main__":
    command.script(main)
