"""Reads YOLO text labels: one .txt file per image, one line per object, from a data.yaml or plain folders."""

import glob
import math
import os

import numpy as np
import yaml

from kerasdet.data import faults, files, objects
from kerasdet.data.dataset import Dataset

YAMLS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp"}
_UNREAD = {".tif", ".tiff", ".heic", ".heif", ".avif", ".dng", ".mpo", ".pfm"}
# Rounding may carry fractions slightly past the picture; numbers that exceed it by more are not fractions.
_SLACK = 0.5


def read(path, split=None, classes=None):
    """Reads one split of a YOLO data set.

    Rows are `class cx cy w h`, or `class x1 y1 x2 y2 x3 y3 ...` for a polygon, in fractions of the upright picture. The
    labels of `images/a.jpg` are in `labels/a.txt` (the last folder `images` of the path is replaced) or next to the
    picture. A picture whose file is missing or empty is background. Image ids are positions in the split, from 0.

    Args:
        path: a data.yaml, a folder that holds one, or a folder with `images/`, `labels/` and classes.txt.
        split: "train", "val" or "test"; in plain folders `images/SPLIT` or `SPLIT/images`, None for `images` itself.
        classes: names in the order of the class ids, if no file has them.

    Returns:
        `Dataset`; its records carry `segments` if every object is a polygon.

    Raises:
        ValueError: a file is faulty; the message names the file and the line.
        FileNotFoundError: folders, lists or images are missing.
    """
    path = os.fspath(path)
    source = _yaml(path)
    folder = os.path.dirname(source) if source else path
    notes = []
    if source:
        content = _content(source)
        names = classes or _names(content, source)
        pictures = _listed(content, split, source, notes)
    else:
        source = path
        names = classes or _class_file(path)
        pictures = _pictures_in(_plain_folder(path, split), notes)
    classes, numbers, ignored = objects.numbered(names, source)
    class_ids = [numbers[name] for name in names]
    files.require(pictures, source)
    labels = [_label(picture) for picture in pictures]
    if not any(labels):
        raise FileNotFoundError(
            f"{source}: none of {len(pictures)} images has a label file, such as {_partner(pictures[0])}."
        )
    sizes = files.upright_sizes(pictures, [None] * len(pictures))
    rows = [_rows(label, len(class_ids)) if label else [] for label in labels]

    name = os.path.basename(os.path.abspath(folder))
    dataset = Dataset(name if split is None else f"{name} {split}", classes, [], notes=notes + ignored)
    outlines = sum(len(points) > 2 for found in rows for _, _, points in found)
    masked = outlines == sum(map(len, rows)) > 0
    if outlines and not masked:
        dataset.notes.append(f"{source}: masks are dropped because only {outlines} objects are polygons.")
    for index, (picture, label, size, found) in enumerate(zip(pictures, labels, sizes, rows, strict=True)):
        scaled = [points * [size[1], size[0]] for _, _, points in found]
        objects.add(
            dataset,
            index,
            picture,
            size,
            boxes=[[*points.min(0), *points.max(0)] for points in scaled],
            numbers=[class_ids[label_id] for _, label_id, _ in found],
            place=lambda i, label=label, found=found: f"{label}, line {found[i][0]}: the box",
            areas=[_area(points) for points in scaled] if masked else None,
            segments=[[points.ravel().tolist()] for points in scaled] if masked else None,
        )
    return dataset


def splits(path):
    """Names of the splits of a data.yaml, or of the folders that hold them."""
    source = _yaml(os.fspath(path))
    if source:
        content = _content(source)
        return [name for name, keys in _SPLITS.items() if any(content.get(key) for key in keys)]
    inside = glob.glob("images/*/", root_dir=path) + glob.glob("*/images/", root_dir=path)
    return sorted({name.replace("images", "").strip(os.sep) for name in inside})


def _yaml(path):
    """The path of the data.yaml at a path, or None."""
    found = [path] if os.path.isfile(path) else [os.path.join(path, name) for name in YAMLS]
    return next((name for name in found if os.path.isfile(name)), None)


def _content(source):
    try:
        content = yaml.safe_load(files.text(source))
    except yaml.YAMLError as error:
        raise ValueError(f"{source} is not YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(content, dict):
        raise ValueError(f"{source} needs the keys train, val and names, but holds {content!r}.")
    if "kpt_shape" in content:
        raise ValueError(f"{source} holds keypoints (kpt_shape), which are read from COCO files only; convert it.")
    return content


def _names(content, source):
    """The names in the order of the ids 0, 1 ...; the ids themselves if there are no names."""
    names, count = content.get("names"), content.get("nc")
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise ValueError(f"{source}: the keys of names must be 0, 1 ... without a gap; they are {sorted(names)}.")
        names = [names[number] for number in range(len(names))]
    if names is None and isinstance(count, int):
        names = range(count)
    if not isinstance(names, (list, range)):
        raise ValueError(f"{source} needs names, a list or a dict of number to name, but holds {names!r}.")
    if count not in (None, len(names)):
        raise ValueError(f"{source}: nc is {count}, but there are {len(names)} names.")
    return [str(name) for name in names]


def _listed(content, split, source, notes):
    """Paths of the pictures that a data.yaml lists for a split."""
    known = [name for name, keys in _SPLITS.items() if any(content.get(key) for key in keys)]
    if split not in known:
        raise ValueError(f"{source} has the splits {known}; split={split!r} is none of them.")
    entry = next(content[key] for key in _SPLITS[split] if content.get(key))
    here = os.path.dirname(source)
    roots = (os.path.join(here, content.get("path") or ""), here)
    pictures = []
    for part in entry if isinstance(entry, list) else [entry]:
        # Some exporters write ../train/images for a folder that is next to the file.
        tails = (str(part), str(part).removeprefix("../"))
        candidates = [os.path.normpath(os.path.join(root, tail)) for root in roots for tail in tails]
        path = next((candidate for candidate in candidates if os.path.exists(candidate)), None)
        if path is None:
            raise FileNotFoundError(f"{source}: {split} is {part}, but {candidates[0]} does not exist.")
        if os.path.isdir(path):
            pictures += _pictures_in(path, notes)
        else:
            lines = [line.strip() for line in files.text(path).splitlines() if line.strip()]
            beside = os.path.dirname(path)
            pictures += [_first(os.path.join(root, line) for root in (beside, *roots)) for line in lines]
    return pictures


def _first(paths):
    """The first path that exists, or else the first."""
    paths = [os.path.normpath(path) for path in paths]
    return next((path for path in paths if os.path.exists(path)), paths[0])


def _plain_folder(folder, split):
    candidates = [os.path.join(folder, *parts) for parts in (("images", split or ""), (split or "", "images"))]
    for candidate in candidates:
        if os.path.isdir(candidate):
            return os.path.normpath(candidate)
    raise FileNotFoundError(f"{folder} has no split {split!r}: neither {candidates[0]} nor {candidates[1]} exists.")


def _class_file(folder):
    candidates = [os.path.join(folder, *parts) for parts in (("classes.txt",), ("labels", "classes.txt"))]
    for candidate in candidates:
        if os.path.exists(candidate):
            return [line.strip() for line in files.text(candidate).splitlines() if line.strip()]
    raise FileNotFoundError(
        f"{folder} names no classes: write {candidates[0]}, one name per line, or pass classes=[...]."
    )


def _pictures_in(folder, notes):
    """Paths of all image files below a folder, sorted; files in unsupported image formats are noted."""
    paths = sorted(os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names)
    endings = [os.path.splitext(path)[1].lower() for path in paths]
    unread = [path for path, ending in zip(paths, endings, strict=True) if ending in _UNREAD]
    if unread:
        notes.append(f"{folder}: {len(unread)} files have an unsupported format, first {unread[0]}; save them as JPEG.")
    pictures = [path for path, ending in zip(paths, endings, strict=True) if ending in _PICTURES]
    if not pictures:
        raise FileNotFoundError(f"{folder} holds no images.")
    used = {_label(picture) for picture in pictures}
    folders = {os.path.dirname(label) for label in used if label}
    unused = sorted({os.path.join(parent, name) for parent in folders for name in os.listdir(parent)} - used)
    unused = [path for path in unused if path.endswith(".txt") and os.path.basename(path) != "classes.txt"]
    if unused:
        notes.append(f"{folder}: {len(unused)} label files have no image and are ignored, first {unused[0]}.")
    return pictures


def _label(picture):
    """The path of a picture's label file, or None."""
    beside = os.path.splitext(picture)[0] + ".txt"
    return next((path for path in (_partner(picture), beside) if os.path.exists(path)), None)


def _partner(picture):
    """The path of a picture's label file in `labels`, whether or not it exists."""
    before, folder, after = f"{os.sep}{picture}".rpartition(f"{os.sep}images{os.sep}")
    path = f"{before}{os.sep}labels{os.sep}{after}" if folder else f"{os.sep}{picture}"
    return os.path.splitext(path)[0][1:] + ".txt"


def _rows(label, count):
    """The objects of a label file: line number, class id, and points [P, 2] as fractions; a box has two points."""
    rows = []
    for line, row in enumerate(files.text(label).splitlines(), 1):
        fields = row.split()
        if not fields:
            continue
        place = f"{label}, line {line}"
        try:
            class_id, *values = map(float, fields)
        except ValueError:
            faults.report(f"{place}: numbers are needed, class cx cy w h or class x1 y1 x2 y2 x3 y3 ...; got {row!r}.")
            continue
        fault = _fault(class_id, values, count)
        if fault:
            faults.report(f"{place}: {fault}; the row is {row!r}.")
            continue
        if len(values) == 4:
            x, y, width, height = values
            values = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        rows.append((line, int(class_id), np.reshape(values, (-1, 2))))
    return rows


def _area(points):
    """Area of a polygon, by the shoelace formula."""
    x, y = points.T
    return abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2


def _fault(class_id, values, count):
    """Says what is wrong with a row, or returns None."""
    if not class_id.is_integer() or not 0 <= class_id < count:
        return f"class {class_id:g} is none of 0 ... {count - 1}"
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        return f"cx cy w h or at least three points must follow the class, not {len(values)} numbers"
    if not all(math.isfinite(value) and -_SLACK <= value <= 1 + _SLACK for value in values):
        return "its numbers must be fractions of the picture, 0...1"
    if len(values) == 4 and min(values[2:]) < 0:
        return "width and height must not be negative"
    return None
