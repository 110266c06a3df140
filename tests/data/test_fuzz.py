"""Spoiled annotation files of every format: each is read, noted or refused in one line, never by a stack or a crash.

The long form, `pytest -m slow tests/data/test_fuzz.py`, changes each format 2,000 times in a process whose memory is
bounded; KERASDET_FUZZ sets another number.
"""

import json
import os
import pathlib
import random
import re
import resource
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from kerasdet import data
from kerasdet.data import segments
from kerasdet.data.read import splits

CASES = pathlib.Path(__file__).parents[1] / "cases"
# One folder of each format, and the files in it that are spoiled.
FORMATS = {
    "coco_seg_two_points": "labels.json",
    "voc_mask_png_beside": "p*.xml",
    "labelimg_yolo_flat": "*.txt",
    "yolo_other_yaml": "*.yaml",
    "vott_csv": "*.csv",
    "labelme": "p*.json",
    "kitti": "training/label_2/*.txt",
    "cvat_voc_subsets": "ImageSets/Main/*.txt",
    "rec_roboflow_parts": "train/*",
}


def supervisely(folder):
    """Two photos with a file each: a rectangle and an outline."""
    for room in ("img", "ann"):
        (folder / "ds" / room).mkdir(parents=True)
    shown = (("cat", "rectangle", [[10, 5], [30, 20]]), ("dog", "polygon", [[0, 0], [20, 0], [20, 30]]))
    objects = [{"classTitle": n, "geometryType": k, "points": {"exterior": p, "interior": []}} for n, k, p in shown]
    for name in ("a.png", "b.png"):
        Image.new("RGB", (60, 40)).save(folder / "ds" / "img" / name)
        page = {"size": {"height": 40, "width": 60}, "objects": objects}
        (folder / "ds" / "ann" / f"{name}.json").write_text(json.dumps(page))


def createml(folder):
    """Two photos in one list: a box, and none."""
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (60, 40)).save(folder / name)
    box = {"label": "cat", "coordinates": {"x": 20, "y": 15, "width": 10, "height": 6}}
    entries = [{"image": "a.png", "annotations": [box]}, {"image": "b.png", "annotations": []}]
    (folder / "labels.json").write_text(json.dumps(entries))


# Formats that no case shows, and what makes a folder of them.
MADE = {"supervisely": supervisely, "createml": createml}
FORMATS |= {"supervisely": "ds/ann/*.json", "createml": "*.json"}
# What takes the place of a value.
VALUES = [
    "NaN", "-1", "0", "1e400", "-1e400", "99999999999999999999", "null", "true", '"x"', "[]", "{}", '""', "1e-300", "١",
    "1e29", "2147483648", "-0.0", '"\\ud800"', "[[1, 2]]", "<", "&a;", "\u200b", "%s", "../../x", "\\x00",
]  # fmt: skip
MEMORY = 12 * 2**30


def spoiled(content, rng):
    """Changes a file's bytes: values, words, lines, bytes, its end."""
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        kind = rng.randrange(6)
        found = list(re.finditer(rb"-?\d+(\.\d+)?|\"[^\"]*\"|>[^<]+<", content)) if kind < 3 else []
        if found:
            place = rng.choice(found)
            content = content[: place.start()] + rng.choice(VALUES).encode() + content[place.end() :]
        elif kind == 3 and content:
            lines = content.split(b"\n")
            line = rng.randrange(len(lines))
            lines[line : line + 1] = rng.choice(([], [lines[line]] * 2, [lines[line], b""], [rng.choice(lines)]))
            content = b"\n".join(lines)
        elif kind == 4 and content:
            content = content[: rng.randrange(len(content))]
        else:
            position = rng.randrange(len(content) + 1)
            content = content[:position] + bytes(rng.randrange(256) for _ in range(3)) + content[position + 2 :]
    return content


def attempt(folder):
    """Reads a folder as training does, masks and all; returns how it ended."""
    try:
        for part in splits(str(folder)) or [None]:
            dataset = data.read(str(folder), part)
            for record in dataset.records:
                for segment in record.segments or ():
                    segments.decode(segment, record.height, record.width)
                assert (record.boxes[:, 2:] > record.boxes[:, :2]).all() and record.boxes.max(initial=0) <= 160
    except (ValueError, FileNotFoundError) as error:
        words = str(error)
        assert "\n" not in words and 0 < len(words) <= 1000 + len(str(folder)), words
        assert folder.name in words, words
        return "refused"
    assert all("\n" not in note for note in dataset.notes)
    return "noted" if dataset.notes else "read"


def trial(name, folder, seed):
    """Spoils one file of a fresh folder, tries it, and mends it again."""
    rng = random.Random(f"{name} {seed}")
    path = rng.choice(sorted(folder.glob(FORMATS[name])))
    good = path.read_bytes()
    path.write_bytes(spoiled(good, rng))
    try:
        return attempt(folder)
    except Exception as error:
        raise AssertionError(f"{name}, seed {seed}: {type(error).__name__}: {error}") from error
    finally:
        path.write_bytes(good)


@pytest.fixture(params=FORMATS)
def made(request, tmp_path):
    folder = tmp_path / request.param
    make(request.param, folder)
    return request.param, folder


def make(name, folder):
    """A fresh folder of a format."""
    if name in MADE:
        MADE[name](folder)
    else:
        shutil.copytree(CASES / name, folder)


def test_spoiled_files(made):
    name, folder = made
    ends = [trial(name, folder, seed) for seed in range(12)]
    assert set(ends) <= {"read", "noted", "refused"} and "refused" in {*ends, attempt_of_nothing(folder)}


def attempt_of_nothing(folder):
    """A folder without its annotations is always refused."""
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix not in (".jpg", ".png"):
            path.unlink()
    return attempt(folder)


@pytest.mark.slow
def test_spoiled_files_for_long(made):
    """In a process of its own, whose memory is bounded."""
    name, folder = made
    count = os.environ.get("KERASDET_FUZZ", "2000")
    done = subprocess.run(
        [sys.executable, "-m", "tests.data.test_fuzz", name, str(folder), count], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]


def main(name, folder, count):
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    ends, failed = {}, []
    for seed in range(int(count)):
        try:
            end = trial(name, pathlib.Path(folder), seed)
        except AssertionError as error:
            end = "failed"
            failed.append(str(error)[:300])
        ends[end] = ends.get(end, 0) + 1
    print(name, ends, *failed[:20], sep="\n")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main(*sys.argv[1:])
