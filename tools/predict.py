"""Detects objects in pictures; writes annotated copies and a COCO results file.

python -m tools.predict runs/quickstart photos --out=seen
python -m tools.predict runs/quickstart 'photos/*.jpg' --above=0.3
python -m tools.predict runs/fast photos --proposals=photos.npz
"""

import glob
import json
import os
import sys

from absl import flags

from kerasdet import command

MODEL = flags.DEFINE_string("model", None, "Run folder, .keras file, preset or export; may also come first.")
IMAGES = flags.DEFINE_string("images", None, "A file, a folder or a glob; the flag's name may be omitted.")
OUT = flags.DEFINE_string("out", "predictions", "Folder for the pictures and results.json.")
ABOVE = flags.DEFINE_float("above", None, "Minimum score, 0...1; by default the run's best threshold.")
PROPOSALS = flags.DEFINE_string("proposals", None, "File from tools.make_proposals, if the detector needs it.")
ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".heic", ".heif")


def main(arguments):
    from kerasdet import data, draw, images, runs
    from kerasdet.data import proposals, segments
    from kerasdet.evaluation import coco
    from kerasdet.load import load

    rest = arguments[:]
    path = command.argument(rest, MODEL, "run folder or .keras file")
    patterns = [IMAGES.value] if IMAGES.value else rest[1:]
    paths = _paths(patterns)
    model = load(path)
    above = runs.threshold(path) if ABOVE.value is None else ABOVE.value
    given = {path: None for path in paths} if PROPOSALS.value is None else proposals.of_files(PROPOSALS.value, paths)
    os.makedirs(OUT.value, exist_ok=True)
    results, known, broken = [], data.Dataset("predictions", model.classes, []), []
    for number, (path, copy) in enumerate(zip(paths, draw.copies(paths, OUT.value), strict=True)):
        try:
            pixels = images.load(path)
        except ValueError as error:
            print(error)
            broken.append(path)
            continue
        found = model.detect(pixels, above=above, proposals=given[path])
        draw.found(pixels, found).save(copy)
        batch = {key: [values] for key, values in found.items()}
        batch["counts"] = [len(found["scores"])]
        if "masks" in found:
            batch["segments"] = [[segments.encode(mask) for mask in found["masks"]]]
        for one, name in zip(coco.results([number], batch, known), found["names"], strict=True):
            results.append({**one, "file_name": path, "category": name})
        print(
            f"{path}: "
            + (", ".join(f"{n} {s:.2f}" for n, s in zip(found["names"], found["scores"], strict=True)) or "nothing")
        )
    with open(os.path.join(OUT.value, "results.json"), "w", encoding="utf-8") as file:
        json.dump(results, file)
    seen = len(paths) - len(broken)
    print(f"{seen} pictures, {len(results)} detections above {above:.2f}, written to {OUT.value}")
    if broken:
        more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
        sys.exit(f"error: {len(broken)} of {len(paths)} photos could not be read: {', '.join(broken[:3])}{more}")


def _paths(patterns):
    """The image files that paths, folders or globs name, sorted."""
    found = []
    for pattern in patterns:
        inside = os.path.join(glob.escape(pattern), "*") if os.path.isdir(pattern) else pattern
        names = [name for name in glob.glob(inside) if not os.path.basename(name).startswith(".")]
        found += [pattern] if os.path.isfile(pattern) else [p for p in names if p.lower().endswith(ENDINGS)]
    if not found:
        raise FileNotFoundError(f"{' '.join(patterns) or 'no picture named'}: no image file there.")
    return sorted(found)


if __name__ == "__main__":
    command.script(main)
