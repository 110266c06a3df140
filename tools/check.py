"""Checks a folder of photos before training: names every fault and draws some photos with their boxes.

    python -m tools.check photos --out=runs/look
    python -m tools.check photos --annotations=boxes.csv --format=xywh

Opens every photo and checks every annotation, in all parts of the folder, and then does what training does first: it
compares the parts, or splits the folder. Writes report.html, a page of the data set with its faults and their photos.
Exits with 1 if something is wrong; notes are no faults.
"""

import dataclasses
import os
import sys

from absl import flags

from kerasdet import command

FOLDER = flags.DEFINE_string("folder", None, "Folder to check; the flag's name may be omitted.")
OUT = flags.DEFINE_string("out", "check", "Folder for the drawn photos.")
PICTURES = flags.DEFINE_integer("pictures", 20, "How many photos of each part to draw.")
CLEAN = flags.DEFINE_string("clean", None, "Folder for COCO files without the faulty parts, one per split.")
FORMAT = flags.DEFINE_string("format", None, "How a table writes boxes, xyxy, xywh or cxcywh; or the folder's format.")
IMAGES = flags.DEFINE_string("images", None, "Folder of the photos, if it is unclear.")
ANNOTATIONS = flags.DEFINE_string("annotations", None, "File or folder of the annotations, if they lie elsewhere.")
CLASSES = flags.DEFINE_list("classes", None, "Names of the classes in their order, if no file has them.")


def main(arguments):
    from kerasdet.data import validate
    from kerasdet.data.read import recognized
    from kerasdet.report import dataset as page

    folder = command.argument(arguments, FOLDER, "folder of photos")
    options = command.given(format=FORMAT, images=IMAGES, annotations=ANNOTATIONS, classes=CLASSES)
    places = {name: options[name] for name in ("format", "annotations") if name in options}
    print(f"{folder}: {recognized(folder, **places)}")
    examined = []
    for part, dataset, findings in validate.examined(folder, PICTURES.value, **options):
        print(findings.text(), flush=True)
        examined.append((part, dataset, findings))
        _draw(dataset, findings.drawn, os.path.join(OUT.value, part or ""))
        if CLEAN.value:
            os.makedirs(CLEAN.value, exist_ok=True)
            path = os.path.join(CLEAN.value, f"{part or 'all'}.json")
            root = validate.write(findings.clean, path)
            print(f"{len(findings.clean)} photos written to {path}; read it with images={root!r}")
    lines, faulty = [], []
    if not any(findings.faults for _, _, findings in examined):
        looked = {path: small for _, _, findings in examined for path, small in findings.looked.items()}
        known = {part: dataset for part, dataset, _ in examined}
        lines, faulty = validate.parts(folder, looked, known, **options)
        print("\n".join(lines + [f"  FAULT {line}" for line in faulty]))
    report = os.path.join(OUT.value, "report.html")
    page.write(folder, examined, faulty, lines, report)
    print(f"drawn photos are in {OUT.value}, and all this is a page, {report}")
    sys.exit(int(bool(faulty) or any(findings.faults for _, _, findings in examined)))


def _draw(dataset, drawn, folder):
    """Draws the photos whose pixels are given by their position."""
    from kerasdet import draw

    os.makedirs(folder, exist_ok=True)
    for index, pixels in drawn.items():
        record = dataclasses.replace(dataset.records[index], image=pixels)
        path = os.path.join(folder, f"{record.id:06d}.png")
        draw.truth(record, dataset).save(path, compress_level=1)


if __name__ == "__main__":
    command.script(main)
