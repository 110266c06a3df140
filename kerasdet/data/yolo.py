"""Reader of YOLO text labels: one .txt file an image, a line an object, found by a data.yaml or in bare folders."""

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
# Rounding carries shares a little past the picture; numbers past this are no shares.
_SLACK = 0.5


def read(path, split=None, classes=None):
    """Reads one split of a YOLO data set.

    Rows are `class cx cy w h`, or `class x1 y1 x2 y2 x3 y3 ...`, a polygon; all shares of the upright picture. The
    labels of `images/a.jpg` are `labels/a.txt`, with the last folder `images` of the path replaced, or lie beside the
    picture. A picture whose file is missing or empty is background. Image ids are positions in the split, from 0.

    Args:
        path: a data.yaml, a folder that holds one, or a folder with `images/`, `labels/` and classes.txt.
        split: "train", "val" or "test"; in bare folders `images/SPLIT` or `SPLIT/images`, None for `images` itself.
        classes: names in the order of the class ids, where no file has them.

    Returns:
        `Dataset`; its records carry `segments` if every object is a polygon.

    Raises:
        ValueError: one line that names the file and the line at fault.
        FileNotFoundError: one line, for missing folders, lists and images.
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
        pictures = _pictures_in(_bare(path, split), notes)
    classes, numbers, ignored = objects.numbered(names, source)
    numbers = [numbers[name] for name in names]
    files.require(pictures, source)
    labels = [_label(picture) for picture in pictures]
    if not any(labels):
        raise FileNotFoundError(
            f"{source}: none of {len(pictures)} images has a label file, as {_partner(pictures[0])}."
        )
    sizes = files.upright_sizes(pictures, [None] * len(pictures))
    rows = [_rows(label, len(numbers)) if label else [] for label in labels]

    name = os.path.basename(os.path.abspath(folder))
    dataset = Dataset(name if split is None else f"{name} {split}", classes, [], notes=notes + ignored)
    outlines = sum(len(points) > 2 for found in rows for _, _, points in found)
    masked = outlines == sum(map(len, rows)) > 0
    if outlines and not masked:
        dataset.notes.append(f"{source}: masks are left out, for some objects are boxes, {outlines} are polygons.")
    for index, (picture, label, size, found) in enumerate(zip(pictures, labels, sizes, rows, strict=True)):
        scaled = [points * [size[1], size[0]] for _, _, points in found]
        objects.add(
            dataset,
            index,
            picture,
            size,
            boxes=[[*points.min(0), *points.max(0)] for points in scaled],
            numbers=[numbers[number] for _, number, _ in found],
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
        raise ValueError(f"{source} is no YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(content, dict):
        raise ValueError(f"{source} needs the keys train, val and names; it holds {content!r}.")
    if "kpt_shape" in content:
        raise ValueError(f"{source} holds keypoints (kpt_shape), which are read from COCO files only; convert it.")
    return content


def _names(content, source):
    """The names in the order of the ids, which are 0, 1 ...; numbers where there are none."""
    names, count = content.get("names"), content.get("nc")
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise ValueError(f"{source}: the keys of names must be 0, 1 ... without a gap; they are {sorted(names)}.")
        names = [names[number] for number in range(len(names))]
    if names is None and isinstance(count, int):
        names = range(count)
    if not isinstance(names, (list, range)):
        raise ValueError(f"{source} needs names, a list or a dict of number to name; it holds {names!r}.")
    if count not in (None, len(names)):
        raise ValueError(f"{source}: nc is {count}, but there are {len(names)} names.")
    return [str(name) for name in names]


def _listed(content, split, source, notes):
    """Paths of the pictures that a data.yaml gives for a split."""
    known = [name for name, keys in _SPLITS.items() if any(content.get(key) for key in keys)]
    if split not in known:
        raise ValueError(f"{source} has the splits {known}; split={split!r} is none of them.")
    entry = next(content[key] for key in _SPLITS[split] if content.get(key))
    here = os.path.dirname(source)
    roots = (os.path.join(here, content.get("path") or ""), here)
    pictures = []
    for part in entry if isinstance(entry, list) else [entry]:
        # Some exporters write ../train/images for a folder that lies beside the file.
        tails = (str(part), str(part).removeprefix("../"))
        places = [os.path.normpath(os.path.join(root, tail)) for root in roots for tail in tails]
        place = next((place for place in places if os.path.exists(place)), None)
        if place is None:
            raise FileNotFoundError(f"{source}: {split} is {part}, but {places[0]} does not exist.")
        if os.path.isdir(place):
            pictures += _pictures_in(place, notes)
        else:
            lines = [line.strip() for line in files.text(place).splitlines() if line.strip()]
            beside = os.path.dirname(place)
            pictures += [_first(os.path.join(root, line) for root in (beside, *roots)) for line in lines]
    return pictures


def _first(places):
    places = [os.path.normpath(place) for place in places]
    return next((place for place in places if os.path.exists(place)), places[0])


def _bare(folder, split):
    places = [os.path.join(folder, *parts) for parts in (("images", split or ""), (split or "", "images"))]
    for place in places:
        if os.path.isdir(place):
            return os.path.normpath(place)
    raise FileNotFoundError(f"{folder} has no split {split!r}: neither {places[0]} nor {places[1]} exists.")


def _class_file(folder):
    places = [os.path.join(folder, *parts) for parts in (("classes.txt",), ("labels", "classes.txt"))]
    for place in places:
        if os.path.exists(place):
            return [line.strip() for line in files.text(place).splitlines() if line.strip()]
    raise FileNotFoundError(f"{folder} names no classes: write {places[0]}, a name a line, or pass classes=[...].")


def _pictures_in(folder, notes):
    """Paths of all image files below a folder, sorted; what looks like one and cannot be read is noted."""
    found = sorted(os.path.join(place, name) for place, _, names in os.walk(folder) for name in names)
    ending = [os.path.splitext(path)[1].lower() for path in found]
    unread = [path for path, end in zip(found, ending, strict=True) if end in _UNREAD]
    if unread:
        notes.append(f"{folder}: {len(unread)} files are of a kind that is not read, first {unread[0]}; save as JPEG.")
    pictures = [path for path, end in zip(found, ending, strict=True) if end in _PICTURES]
    if not pictures:
        raise FileNotFoundError(f"{folder} holds no images.")
    used = {_label(picture) for picture in pictures}
    homes = {os.path.dirname(label) for label in used if label}
    lonely = sorted({os.path.join(home, name) for home in homes for name in os.listdir(home)} - used)
    lonely = [path for path in lonely if path.endswith(".txt") and os.path.basename(path) != "classes.txt"]
    if lonely:
        notes.append(f"{folder}: {len(lonely)} label files have no image and are left out, first {lonely[0]}.")
    return pictures


def _label(picture):
    """The path of a picture's label file, or None."""
    beside = os.path.splitext(picture)[0] + ".txt"
    return next((place for place in (_partner(picture), beside) if os.path.exists(place)), None)


def _partner(picture):
    before, folder, after = f"{os.sep}{picture}".rpartition(f"{os.sep}images{os.sep}")
    place = f"{before}{os.sep}labels{os.sep}{after}" if folder else f"{os.sep}{picture}"
    return os.path.splitext(place)[0][1:] + ".txt"


def _rows(label, count):
    """The objects of a label file: number of the line, class id, and points [P, 2] as shares; a box has two points."""
    found = []
    for line, row in enumerate(files.text(label).splitlines(), 1):
        fields = row.split()
        if not fields:
            continue
        place = f"{label}, line {line}"
        try:
            kind, *values = map(float, fields)
        except ValueError:
            faults.report(f"{place}: numbers are needed, class cx cy w h or class x1 y1 x2 y2 x3 y3 ...; got {row!r}.")
            continue
        fault = _fault(kind, values, count)
        if fault:
            faults.report(f"{place}: {fault}; the row is {row!r}.")
            continue
        if len(values) == 4:
            x, y, width, height = values
            values = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        found.append((line, int(kind), np.reshape(values, (-1, 2))))
    return found


def _area(points):
    """Area of a polygon, by the shoelace formula."""
    x, y = points.T
    return abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2


def _fault(kind, values, count):
    """What is wrong with a row, in words, or None."""
    if not kind.is_integer() or not 0 <= kind < count:
        return f"class {kind:g} is none of 0 ... {count - 1}"
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        return f"cx cy w h or at least three points must follow the class, not {len(values)} numbers"
    if not all(math.isfinite(value) and -_SLACK <= value <= 1 + _SLACK for value in values):
        return "its numbers must be shares of the picture, 0...1"
    if len(values) == 4 and min(values[2:]) < 0:
        return "width and height must not be negative"
    return None
