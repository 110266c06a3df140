"""Reads formats of few lines each: LabelMe's, Supervisely's and CreateML's JSON, and KITTI's text."""

import dataclasses
import json
import math
import os
from collections import Counter

import numpy as np

from kerasdet.data import faults, files, objects
from kerasdet.data.dataset import Dataset
from kerasdet.data.folder import Folder, key, part_in, stem
from kerasdet.data.tally import Tally

KINDS = ("LabelMe", "Supervisely", "CreateML", "KITTI")


@dataclasses.dataclass
class _Page:
    """What one file, or one entry of a file, says of a photo; each object is its class, place, points and whether they
    are an outline, in pixels."""

    source: str
    photo: str
    stated: tuple | None
    objects: list


def read(folder, split=None, classes=None, images=None, kind=None):
    """Reads one part of a folder.

    Args:
        folder: folder below which annotations and photos lie.
        split: the name of the folders of a part; None takes every file.
        classes: names in the order of the class ids; by default all names in the files, sorted.
        images: folder of the photos; by default they are looked for below the folder.
        kind: one of `KINDS`; by default the one that the files show.

    Returns:
        `Dataset`; its records carry `segments` if every object is an outline.

    Raises:
        ValueError: a file is faulty, which the message names.
        FileNotFoundError: photos are missing, or there is no such part.
    """
    tree, tally = Folder(folder), Tally()
    kind = kind or kind_of(tree)
    photos = tree if images is None else Folder(images)
    sources = _sources(tree, kind)
    every = [page for source in sources for page in _PARSERS[kind](tree.full(source), source, tally)]
    pages = [page for page in every if split is None or part_in(page.source) == split]
    if not pages:
        raise FileNotFoundError(f"{folder} has no split {split!r}; its {kind} files have {splits(folder)}.")
    counts = Counter(name for page in every for name, *_ in page.objects)
    names = classes or sorted(counts)
    names, numbers, ignored = objects.numbered(names, folder)
    paths = [_photo(photos, page) for page in pages]
    files.require(paths, folder)
    sizes = files.upright_sizes(paths, [page.stated for page in pages])
    name = os.path.basename(os.path.abspath(folder))
    slips = [] if classes else objects.slips(counts, folder)
    dataset = Dataset(name if split is None else f"{name} {split}", names, [], notes=ignored + slips, tally=tally)
    masked = any(page.objects for page in pages) and all(outline for page in pages for *_, outline in page.objects)
    for index, (page, path, size) in enumerate(zip(pages, paths, sizes, strict=True)):
        known = [one for one in page.objects if one[0] in numbers]
        for unknown in (one for one in page.objects if one[0] not in numbers):
            faults.report(f"{unknown[1]} is of class {unknown[0]!r}, which is none of {tuple(numbers)}.")
        objects.add(
            dataset,
            index,
            path,
            size,
            boxes=[[*points.min(0), *points.max(0)] for _, _, points, _ in known],
            numbers=[numbers[name] for name, *_ in known],
            place=lambda i, known=known: known[i][1],
            segments=[[points.ravel().tolist()] for _, _, points, _ in known] if masked else None,
            stated_size=page.stated,
        )
    return objects.finished(dataset, os.fspath(folder), len(photos.photos) + photos.hidden)


def splits(folder):
    """Names of the folders that hold the parts of a folder."""
    tree = Folder(folder)
    return sorted({part_in(source) for source in _sources(tree, kind_of(tree))} - {None})


def kind_of(tree):
    """Which of `KINDS` the files of a `Folder` are, or None."""
    for source in [*tree.ending(".json")[:3], *tree.ending(".json")[-1:]]:
        content = _json(tree.full(source), quiet=True)
        if isinstance(content, dict) and isinstance(content.get("shapes"), list):
            return "LabelMe"
        if isinstance(content, dict) and isinstance(content.get("objects"), list) and "size" in content:
            return "Supervisely"
        if isinstance(content, list) and content and isinstance(content[0], dict) and "annotations" in content[0]:
            if {"image", "imagefilename"} & set(content[0]):
                return "CreateML"
    return "KITTI" if _kitti_files(tree) else None


def _sources(tree, kind):
    if kind == "KITTI":
        return _kitti_files(tree)
    return [one for one in tree.ending(".json") if os.path.basename(one) != "meta.json"]


def _json(path, quiet=False):
    try:
        return files.load_json(path)
    except ValueError as error:
        return None if quiet else faults.report(str(error))


def _photo(photos, page):
    near = [os.path.dirname(page.source), os.path.join(os.path.dirname(os.path.dirname(page.source)), "img")]
    found = photos.find(page.photo, near) or photos.by_stem.get(key(stem(page.source)))
    if isinstance(found, list) and len(found) > 1:
        part = part_in(page.source)
        found = [one for one in found if part_in(one) == part] or found
        if len(found) > 1:
            faults.report(f"{photos.full(page.source)}: several photos are called {page.photo}, first {found[:2]}.")
    found = found[0] if isinstance(found, list) else found
    return photos.full(found or os.path.join(os.path.dirname(page.source), page.photo or f"{stem(page.source)}.jpg"))


def _labelme(path, source, tally):
    content = _json(path)
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        return faults.report(f"{path} is no LabelMe file: it has no list 'shapes'.") or []
    found = []
    for index, shape in enumerate(content["shapes"], 1):
        place = f"{path}: shape {index}"
        if not isinstance(shape, dict):
            faults.report(f"{place} is no dict.")
            continue
        kind = shape.get("shape_type") or "polygon"
        if kind not in ("rectangle", "polygon", "circle"):
            tally.note(f"{{shape is|shapes are}} of the kind {str(kind)[:20]!r} and left out", [place])
            continue
        points = _points(shape.get("points"), place, 2 if kind != "polygon" else 3)
        if points is not None and kind == "circle":
            radius = float(np.hypot(*(points[1] - points[0])))
            points = np.stack([points[0] - radius, points[0] + radius])
        found += _object(shape.get("label"), place, points, kind == "polygon")
    photo = content.get("imagePath")
    return [
        _Page(source, photo if isinstance(photo, str) else "", _size(content, ("imageHeight", "imageWidth")), found)
    ]


def _supervisely(path, source, tally):
    content = _json(path)
    if not isinstance(content, dict) or not isinstance(content.get("objects"), list):
        return faults.report(f"{path} is no Supervisely file: it has no list 'objects'.") or []
    found = []
    for index, one in enumerate(content["objects"], 1):
        place = f"{path}: object {index}"
        kind = one.get("geometryType") if isinstance(one, dict) else None
        if kind not in ("rectangle", "polygon"):
            tally.note(f"{{object is|objects are}} of the kind {str(kind)[:20]!r} and left out", [place])
            continue
        points = one.get("points")
        points = _points(
            points.get("exterior") if isinstance(points, dict) else None, place, 2 if kind[0] == "r" else 3
        )
        found += _object(one.get("classTitle"), place, points, kind == "polygon")
    size = content.get("size")
    return [_Page(source, stem(source), _size(size if isinstance(size, dict) else {}, ("height", "width")), found)]


def _createml(path, source, tally):
    content, pages = _json(path), []
    for number, entry in enumerate(content if isinstance(content, list) else [], 1):
        photo = entry.get("image", entry.get("imagefilename")) if isinstance(entry, dict) else None
        rows = entry.get("annotations") if isinstance(entry, dict) else None
        if not isinstance(photo, str) or not isinstance(rows, list):
            faults.report(f"{path}: entry {number} needs 'image', a file name, and a list 'annotations'.")
            continue
        found = []
        for index, row in enumerate(rows, 1):
            place = f"{path}: annotation {index} of {photo}"
            box = row.get("coordinates") if isinstance(row, dict) else None
            sides = [box.get(side) for side in ("x", "y", "width", "height")] if isinstance(box, dict) else [None]
            values = _points([sides[:2], sides[2:]], place, 2)
            if values is not None:
                points = np.stack([values[0] - values[1] / 2, values[0] + values[1] / 2])
                found += _object(row.get("label"), place, points, False)
        pages.append(_Page(source, photo, None, found))
    return pages


def _kitti_files(tree):
    """Text files whose first row is KITTI's: a word, three numbers, a box, seven numbers, and perhaps a score."""
    every = tree.ending(".txt")
    for name in every[:20]:
        if _is_kitti(tree.full(name)):
            room = os.path.basename(os.path.dirname(name))
            return [one for one in every if os.path.basename(os.path.dirname(one)) == room]
    return []


def _is_kitti(path):
    try:
        fields = files.text(path).split("\n", 1)[0].split()
    except ValueError:
        return False
    return len(fields) in (15, 16) and not _is_number(fields[0]) and all(map(_is_number, fields[1:]))


def _kitti(path, source, tally):
    found = []
    for line, row in enumerate(files.text(path).splitlines(), 1):
        fields, place = row.split(), f"{path}, line {line}"
        if not fields:
            continue
        if len(fields) not in (15, 16):
            faults.report(f"{place}: KITTI's 15 fields are needed, got {row[:60]!r}.")
            continue
        values = [float(field) if _is_number(field) else None for field in fields[4:8]]
        found += _object(fields[0], place, _points([values[:2], values[2:]], place, 2), False)
    return [_Page(source, stem(source), None, found)]


def _is_number(text):
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _object(name, place, points, outline):
    """A list of the one object, or of none if something is wrong with it."""
    if points is None:
        return []
    if not isinstance(name, (str, int)) or isinstance(name, bool) or not str(name).strip():
        return faults.report(f"{place} has no class name, but {name!r}.") or []
    return [(str(name).strip(), place, points, outline)]


def _points(values, place, least):
    """[P, 2] float64 of a list of points, or None with a fault."""
    good = isinstance(values, list) and len(values) >= least and all(
        isinstance(point, list) and len(point) == 2 and all(map(objects.is_finite, point)) for point in values
    )  # fmt: skip
    if not good:
        faults.report(f"{place} needs {least} points x, y of finite numbers, but holds {json.dumps(values)[:80]}.")
        return None
    return np.float64(values)


def _size(content, keys):
    """(height, width), or None where the file does not state them."""
    sides = [content.get(key) for key in keys]
    return tuple(sides) if all(isinstance(side, int) and side > 0 for side in sides) else None


_PARSERS = {"LabelMe": _labelme, "Supervisely": _supervisely, "CreateML": _createml, "KITTI": _kitti}
