"""Detects objects in pictures and videos; writes annotated copies and their results.

python -m tools.predict runs/quickstart photos --out=seen
python -m tools.predict runs/quickstart 'photos/*.jpg' clip.mp4 --above=0.3
python -m tools.predict runs/fast photos --proposals=photos.npz

Results of pictures are in results.json, as COCO has them; those of clip.mp4 are in clip.jsonl, a line for each frame.
"""

import collections
import contextlib
import glob
import itertools
import json
import os
import sys

from absl import flags

from kerasdet import command

MODEL = flags.DEFINE_string("model", None, "Run folder, .keras file, preset or export; may also come first.")
IMAGES = flags.DEFINE_string("images", None, "A file, a folder or a glob; the flag's name may be omitted.")
OUT = flags.DEFINE_string("out", "predictions", "Folder for the copies and results.")
ABOVE = flags.DEFINE_float("above", None, "Minimum score, 0...1; by default the run's best threshold.")
PROPOSALS = flags.DEFINE_string("proposals", None, "File from tools.make_proposals, if the detector needs it.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 4, "Frames of a video that the model sees at once.", lower_bound=1)
ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".heic", ".heif")


def main(arguments):
    from kerasdet import data, draw, images, runs
    from kerasdet.data import proposals
    from kerasdet.evaluation import coco
    from kerasdet.images import video
    from kerasdet.load import load

    rest = arguments[:]
    path = command.argument(rest, MODEL, "run folder or .keras file")
    patterns = [IMAGES.value] if IMAGES.value else rest[1:]
    paths = _paths(patterns, (*ENDINGS, *video.ENDINGS))
    photos = [path for path in paths if not video.is_video(path)]
    copies = dict(zip(paths, draw.copies(paths, OUT.value, video.ENDINGS), strict=True))
    for one, copy in copies.items():
        if os.path.exists(copy) and os.path.samefile(one, copy):
            raise ValueError(f"{one}: its copy would take its place; give another folder by --out.")
    model = load(path)
    if model.needs_proposals and len(photos) < len(paths):
        raise ValueError(f"{type(model).__name__} needs proposals, which videos do not have.")
    above = runs.threshold(path) if ABOVE.value is None else ABOVE.value
    given = {path: None for path in photos} if PROPOSALS.value is None else proposals.of_files(PROPOSALS.value, photos)
    os.makedirs(OUT.value, exist_ok=True)
    results, known, broken = [], data.Dataset("predictions", model.classes, []), []
    for number, path in enumerate(paths):
        try:
            if video.is_video(path):
                _video(model, path, copies[path], known, above)
                continue
            pixels = images.load(path)
        except ValueError as error:
            print(error)
            broken.append(path)
            continue
        found = model.detect(pixels, above=above, proposals=given[path])
        draw.found(pixels, found).save(copies[path])
        results += [{**one, "file_name": path} for one in coco.of_picture(number, found, known)]
        print(
            f"{path}: "
            + (", ".join(f"{n} {s:.2f}" for n, s in zip(found["names"], found["scores"], strict=True)) or "nothing")
        )
    if photos:
        with open(os.path.join(OUT.value, "results.json"), "w", encoding="utf-8") as file:
            json.dump(results, file)
        seen = len(set(photos) - set(broken))
        print(f"{seen} pictures, {len(results)} detections above {above:.2f}, written to {OUT.value}")
    if broken:
        more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
        sys.exit(f"error: {len(broken)} of {len(paths)} files could not be read: {', '.join(broken[:3])}{more}")


def _video(model, path, copy, known, above):
    """Writes the drawn copy of a video, and the results of its frames as they come."""
    import numpy as np
    from tqdm import tqdm

    from kerasdet import draw
    from kerasdet.evaluation import coco
    from kerasdet.images import video

    counts = collections.Counter()
    with video.Video(path) as clip, video.Copy(clip, copy) as drawn, contextlib.ExitStack() as stack:
        frames = iter(
            tqdm(clip.frames(drawn.hear), path, clip.count or None, unit="frame", mininterval=1, disable=None)
        )
        lines = None
        while batch := list(itertools.islice(frames, BATCH_SIZE.value)):
            lines = lines or stack.enter_context(open(f"{os.path.splitext(copy)[0]}.jsonl", "w", encoding="utf-8"))
            found = model.detect_batch(np.stack([frame.pixels for frame in batch]), above=above)
            for frame, one in zip(batch, found, strict=True):
                drawn.add(frame, np.asarray(draw.found(frame.pixels, one)))
                results = coco.of_picture(frame.number, one, known)
                line = {"file_name": path, "frame": frame.number, "time": frame.time, "detections": results}
                lines.write(json.dumps(line) + "\n")
                counts.update(one["names"])
    if drawn.lost:
        print(f"{path}: MP4 cannot hold its sound ({', '.join(drawn.lost)}), which is left out of the copy")
    found = ", ".join(f"{name} {count}" for name, count in counts.most_common()) or "nothing"
    print(f"{path}: {frame.number + 1} frames, {frame.time:.1f} s: {found}; written to {copy}")


def _paths(patterns, endings):
    """The pictures and videos that paths, folders or globs name, sorted."""
    found = []
    for pattern in patterns:
        inside = os.path.join(glob.escape(pattern), "*") if os.path.isdir(pattern) else pattern
        names = [name for name in glob.glob(inside) if not os.path.basename(name).startswith(".")]
        found += [pattern] if os.path.isfile(pattern) else [p for p in names if p.lower().endswith(endings)]
    if not found:
        raise FileNotFoundError(f"{' '.join(patterns) or 'no picture named'}: no image file there.")
    return sorted(found)


if __name__ == "__main__":
    command.script(main)
