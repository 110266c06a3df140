"""Writes selective-search proposals for Fast R-CNN, and prints their recall.

    python -m tools.make_proposals --path=photos --out=photos.npz
    python -m tools.make_proposals --config=configs/fast_rcnn/raccoon.py --part=train --out=raccoon.npz

An interrupted call continues with the missing pictures, and other splits of a data set may be added to the same file.
The config's data then names it: `"train": {"path": "photos", "proposals": "photos.npz"}`. It needs
`pip install kerasdet[proposals]`.
"""

import time

from absl import flags
from ml_collections import config_flags

from kerasdet import command

CONFIG = config_flags.DEFINE_config_file("config", None, "Instead of --path: file with `get_config()`.")
PART = flags.DEFINE_string("part", "train", "With --config: the data set of the config.")
PATH = flags.DEFINE_string("path", None, "Path as in `data.read`: a folder, a file, shapes or tfds:NAME.")
SPLIT = flags.DEFINE_string("split", None, "Split of the data set.")
OUT = flags.DEFINE_string("out", None, "The file, ending in .npz.")
MODE = flags.DEFINE_enum(
    "mode", "fast", ("fast", "quality"), "Mode of selective search; quality takes ten times as long."
)
SIDE = flags.DEFINE_integer("side", 500, "Longer side of a picture during the search, pixels.", lower_bound=20)
LEAST = flags.DEFINE_integer("least", 20, "Sides of the smallest box at that size, pixels.")
COUNT = flags.DEFINE_integer("count", 2000, "Maximum boxes per picture.", lower_bound=1)
WORKERS = flags.DEFINE_integer("workers", None, "Processes; by default one per processor.")
COUNTS, OVERLAPS = (100, 300, 1000, 2000), (0.5, 0.7)


def main(_):
    from kerasdet import data
    from kerasdet.data import proposals, selective

    if (CONFIG.value is None) == (PATH.value is None) or not OUT.value:
        raise ValueError("give either --path or --config, and --out.")
    dataset = data.read(**_source())
    begin = time.perf_counter()
    settings = {"mode": MODE.value, "side": SIDE.value, "least": LEAST.value, "count": COUNT.value}
    selective.make(dataset, OUT.value, WORKERS.value, **settings)
    dataset = proposals.attach(dataset, OUT.value, COUNT.value)
    rows = sum(len(record.proposals) for record in dataset.records)
    seconds = time.perf_counter() - begin
    print(
        f"{len(dataset)} images, {rows / len(dataset):.0f} proposals each, in {seconds:.0f} s; written to {OUT.value}"
    )
    objects = sum((~record.crowds).sum() for record in dataset.records)
    if not objects:
        return
    print(f"recall of {objects} objects by number of proposals")
    print("proposals  " + "".join(f"IoU {overlap:g}  " for overlap in OVERLAPS))
    for count, shares in zip(COUNTS, proposals.recall(dataset, COUNTS, OVERLAPS), strict=True):
        print(f"{count:9d}  " + "".join(f"{share:7.3f}  " for share in shares))


def _source():
    """The arguments of `data.read`, without a file of proposals that is still to be written."""
    if CONFIG.value is None:
        return {"path": PATH.value, "split": SPLIT.value}
    if PART.value not in CONFIG.value.data:
        raise ValueError(f"--config names no data {PART.value!r}; it has {', '.join(CONFIG.value.data)}.")
    source = CONFIG.value.data[PART.value].to_dict()
    return {key: value for key, value in source.items() if key not in ("proposals", "max_proposals")}


if __name__ == "__main__":
    command.script(main)
