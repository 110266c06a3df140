"""Checks a folder of photos before training: names every fault and draws some photos with their boxes.

    python -m tools.check photos --out=runs/look

Opens every photo and checks every annotation, in all parts of the folder. Exits with 1 if something is wrong.
"""

import os
import sys

import numpy as np
from absl import flags

from kerasdet import command

FOLDER = flags.DEFINE_string("folder", None, "Folder to check; the flag's name may be omitted.")
OUT = flags.DEFINE_string("out", "check", "Folder for the drawn photos.")
PICTURES = flags.DEFINE_integer("pictures", 20, "How many photos of each part to draw.")
CLEAN = flags.DEFINE_string("clean", None, "Folder for COCO files without the faulty parts, one per split.")


def main(arguments):
    from kerasdet import data
    from kerasdet.data import faults, validate
    from kerasdet.data.read import recognized, splits

    folder = command.argument(arguments, FOLDER, "folder of photos")
    print(f"{folder}: {recognized(folder)}")
    wrong = False
    for part in splits(folder) or [None]:
        with faults.listed() as refused:
            dataset = data.read(folder, part)
        findings = validate.check(dataset, refused)
        print(findings.text(), flush=True)
        wrong |= bool(findings.faults)
        _draw(findings.clean, os.path.join(OUT.value, part or ""))
        if CLEAN.value:
            os.makedirs(CLEAN.value, exist_ok=True)
            path = os.path.join(CLEAN.value, f"{part or 'all'}.json")
            root = validate.write(findings.clean, path)
            print(f"{len(findings.clean)} photos written to {path}; read it with images={root!r}")
    print(f"drawn photos are in {OUT.value}")
    sys.exit(int(wrong))


def _draw(dataset, folder):
    """Draws photos from all over a data set."""
    from kerasdet import draw

    os.makedirs(folder, exist_ok=True)
    for index in np.unique(np.linspace(0, len(dataset) - 1, PICTURES.value).astype(int)) if len(dataset) else ():
        record = dataset.records[index]
        draw.truth(record, dataset).save(os.path.join(folder, f"{record.id:06d}.png"))


if __name__ == "__main__":
    command.script(main)
