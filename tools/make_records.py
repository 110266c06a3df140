"""Writes a data set as sharded TFRecords with a manifest; image files are copied byte for byte.

python -m tools.make_records --path=photos --split=train --out=records/train
python -m tools.make_records --path=boxes.csv --option=format=xyxy --out=records/all
python -m tools.make_records --config=configs/retinanet/r18_shapes.py --part=train --out=records/train

An interrupted call continues with the missing shards. `--path=records --split=train` reads the result.
"""

import ast

from absl import flags
from ml_collections import config_flags

from kerasdet import command

CONFIG = config_flags.DEFINE_config_file("config", None, "Instead of --path: file with `get_config()`.")
PART = flags.DEFINE_string("part", "train", "With --config: the data set of the config.")
PATH = flags.DEFINE_string("path", None, "Path as in `data.read`: a folder, a file, shapes or tfds:NAME.")
SPLIT = flags.DEFINE_string("split", None, "Split of the data set.")
IMAGES = flags.DEFINE_string("images", None, "Folder of the images, if the format needs it.")
OPTION = flags.DEFINE_multi_string("option", [], "Further options of the reader, as name=value.")
OUT = flags.DEFINE_string("out", None, "Folder for the shards.")
SHARDS = flags.DEFINE_integer("shards", None, "Number of files; by default one per 250 images.", lower_bound=1)
WORKERS = flags.DEFINE_integer("workers", 4, "Threads.", lower_bound=1)
flags.mark_flag_as_required("out")


def main(_):
    from kerasdet import data, runs
    from kerasdet.data import records

    if (CONFIG.value is None) == (PATH.value is None):
        raise ValueError("give either --path or --config.")
    if CONFIG.value is None:
        dataset = data.read(PATH.value, **_options())
    else:
        dataset = runs.dataset(CONFIG.value, OUT.value, PART.value)
    for note in dataset.notes:
        print(note)
    records.write(dataset, OUT.value, SHARDS.value, WORKERS.value)
    count = sum(len(record.boxes) for record in dataset.records)
    print(f"{len(dataset)} images with {count} objects of {len(dataset.classes)} classes are in {OUT.value}")


def _options():
    options = dict(option.split("=", 1) for option in OPTION.value)
    options = {name: _value(text) for name, text in options.items()}
    given = {"split": SPLIT.value, "images": IMAGES.value}
    return options | {name: value for name, value in given.items() if value is not None}


def _value(text):
    """A number, list or dict where the text is one, else the text."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


if __name__ == "__main__":
    command.script(main)
