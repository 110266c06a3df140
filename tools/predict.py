"""Detects in pictures: annotated copies and a COCO results file.

python -m tools.predict --model=runs/quickstart --images=photos --out=seen
python -m tools.predict --model=runs/quickstart --images='photos/*.jpg'
"""

import glob
import json
import os

from absl import flags

from kerasdet import draw, images, runs

MODEL = flags.DEFINE_string("model", None, "Run folder or .keras file.", required=True)
IMAGES = flags.DEFINE_string("images", None, "A file, a folder or a glob.", required=True)
OUT = flags.DEFINE_string("out", "predictions", "Folder for the pictures and results.json.")
ABOVE = flags.DEFINE_float("above", 0.3, "Least score, 0...1.")
ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")


def main(_):
    paths = _paths(IMAGES.value)
    model = runs.load(MODEL.value)
    os.makedirs(OUT.value, exist_ok=True)
    results = []
    for number, path in enumerate(paths):
        pixels = images.load(path)
        found = model.detect(pixels, above=ABOVE.value)
        drawn = draw.boxes(pixels, found["boxes"], found["classes"], model.classes, found["scores"])
        drawn.save(os.path.join(OUT.value, f"{os.path.splitext(os.path.basename(path))[0]}.png"))
        for box, score, kind in zip(found["boxes"].tolist(), found["scores"], found["classes"], strict=True):
            xywh = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            place = {
                "image_id": number,
                "file_name": path,
                "category_id": int(kind) + 1,
                "category": model.classes[kind],
            }
            results.append({**place, "bbox": xywh, "score": float(score)})
        print(
            f"{path}: "
            + (", ".join(f"{n} {s:.2f}" for n, s in zip(found["names"], found["scores"], strict=True)) or "nothing")
        )
    with open(os.path.join(OUT.value, "results.json"), "w", encoding="utf-8") as file:
        json.dump(results, file)
    print(f"{len(paths)} pictures, {len(results)} detections, written to {OUT.value}")


def _paths(pattern):
    """The image files that a path, folder or glob names, sorted."""
    found = glob.glob(os.path.join(pattern, "*")) if os.path.isdir(pattern) else glob.glob(pattern)
    found = [pattern] if os.path.isfile(pattern) else [p for p in found if p.lower().endswith(ENDINGS)]
    if not found:
        raise FileNotFoundError(f"{pattern}: no image file there.")
    return sorted(found)


if __name__ == "__main__":
    runs.script(main)
