"""Exports a detector to a file that runs without kerasdet, and reports how closely the file matches Keras.

    python -m tools.export runs/mine --to=saved_model
    python -m tools.export runs/mine --to=tflite --size=320,320
    python -m tools.export runs/mine --to=tflite --kind=int8 --max_ap_drop=1.5
    python -m tools.export runs/mine --to=darknet

Examples for int8 come from the training data of the run's own config or of --config. The comparison and --max_ap_drop
use its validation data. A SavedModel gets the next version number in its folder. A detector of the YOLO line is also
written as darknet's own two files, .cfg and .weights.
"""

import os

from absl import flags
from ml_collections import config_flags

from kerasdet import command
from kerasdet.export import KINDS

MODEL = flags.DEFINE_string("model", None, "Run folder, .keras file or preset; may also come first without the flag.")
TO = flags.DEFINE_enum("to", "saved_model", ("saved_model", "tflite", "darknet"), "What to write.")
flags.DEFINE_alias("format", "to")
KIND = flags.DEFINE_enum("kind", "float32", KINDS, "Precision of a TFLite file.")
SIZE = flags.DEFINE_list("size", None, "Height and width of a TFLite file's input, as 320,320; by default any.")
RAW = flags.DEFINE_bool("raw", False, "Write a TFLite file of the network's outputs, without decoding and suppression.")
OUT = flags.DEFINE_string("out", None, "File, or folder of versions; by default in the run folder.")
CONFIG = config_flags.DEFINE_config_file("config", None, "Config that names the data; by default the run's own.")
EXAMPLES = flags.DEFINE_integer("examples", 200, "Training pictures on which int8 measures its ranges.")
PICTURES = flags.DEFINE_integer("pictures", 8, "Validation pictures to compare with Keras; 0 for none.")
PROPOSALS = flags.DEFINE_integer(
    "proposals", 300, "Proposals per picture of a TFLite file, if its detector needs them."
)
MAX_AP_DROP = flags.DEFINE_float(
    "max_ap_drop", None, "Largest loss of AP in points; a file that loses more is refused."
)


def main(arguments):
    from kerasdet import runs
    from kerasdet.export import report, saved_model
    from kerasdet.export.load import Exported
    from kerasdet.export.load import load as load_export
    from kerasdet.load import load
    from kerasdet.weights import darknet

    if TO.value != "tflite":
        for flag in (KIND, SIZE, RAW, MAX_AP_DROP):
            if flag.present:
                raise ValueError(f"--{flag.name} is for TFLite files: give --to=tflite with it.")
    if RAW.value and MAX_AP_DROP.value is not None:
        raise ValueError("--max_ap_drop scores detections, which a --raw file does not output.")
    path = command.argument(arguments, MODEL, "run folder, .keras file or preset")
    model = load(path)
    if isinstance(model, Exported):
        raise ValueError(f"{path}: this is an exported file already; give the model that it was exported from.")
    home = runs.home(path)
    if TO.value == "darknet":
        out = (OUT.value or os.path.join(home, "darknet")).removesuffix(".weights")
        return print("written to {} and {}".format(*darknet.write(model, out)))
    if TO.value == "saved_model":
        out = OUT.value or os.path.join(home, "saved_model")
        written = saved_model.write(model, out, saved_model.next_version(out))
    else:
        written = _tflite(model, home)
    seen = [] if RAW.value else _examples(model, home, "validation", PICTURES.value)
    print(report.text(written, report.differences(model, load_export(written), seen) if seen else None))


def _tflite(model, home):
    from kerasdet import runs
    from kerasdet.export import gate, tflite

    scored = None if MAX_AP_DROP.value is None else _dataset(home, "validation")
    examples = _examples(model, home, "train", EXAMPLES.value) if KIND.value == "int8" else []
    size = SIZE.value and tuple(int(side) for side in SIZE.value)

    def judge(draft):
        rules = (CONFIG.value or runs.read_config(home)).get("evaluate", {})
        kept = gate.check(model, draft, scored, MAX_AP_DROP.value, size, examples, **rules)
        print("AP {:.3f} AP50 {:.3f} of Keras, AP {:.3f} AP50 {:.3f} of the file".format(*kept[0], *kept[1]))

    out = OUT.value or os.path.join(home, f"{'raw-' if RAW.value else ''}{KIND.value}.tflite")
    more = {"proposals": PROPOSALS.value, "judge": None if scored is None else judge}
    return tflite.write(model, out, KIND.value, size, RAW.value, examples, **more)


def _dataset(home, part):
    from kerasdet import runs

    return runs.dataset(CONFIG.value or runs.read_config(home), home, part)


def _examples(model, home, part, count):
    """Pictures of a data set; none where no config names one."""
    from kerasdet.export import tflite

    if CONFIG.value is None and not os.path.isfile(os.path.join(home, "config.json")):
        return []
    return tflite.examples(model, _dataset(home, part), count)


if __name__ == "__main__":
    command.script(main)
