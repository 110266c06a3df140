"""Reader of Pascal VOC folders: one XML file an image."""

import math
import os
import xml.etree.ElementTree as ET

import numpy as np

from kerasdet.data import faults, files
from kerasdet.data.dataset import Dataset, Record, clip


def read(folder, split=None, classes=None):
    """Reads one split of a Pascal VOC folder.

    The XML files lie in `Annotations/`, the images in `JPEGImages/` under the same names; either may lie in the folder
    itself, where annotation tools put them. VOC counts pixels from 1 and includes the last one, so that a box is
    (xmin - 1, ymin - 1, xmax, ymax) in continuous coordinates. One with xmax <= xmin or ymax <= ymin, or that lies
    outside the image, is dropped, with a line in the data set's `notes`. Difficult objects are crowds. Image ids are
    positions in the split, from 0.

    Args:
        folder: the folder, for PASCAL VOC itself `VOCdevkit/VOC2007`.
        split: the name of a list, `ImageSets/Main/SPLIT.txt` or `SPLIT.txt`; None takes every XML file.
        classes: names in the order of the class ids; by default all names in the folder's XML files, sorted, so that
            every split has the same.

    Returns:
        `Dataset`.

    Raises:
        ValueError: one line that names the file and the object at fault.
        FileNotFoundError: one line with the missing list, or the number of missing files and the first of them.
    """
    annotations = _subfolder(folder, "Annotations")
    every = sorted(name[:-4] for name in os.listdir(annotations) if name.endswith(".xml"))
    names = every if split is None else _split(folder, split)
    sources = [os.path.join(annotations, f"{name}.xml") for name in names]
    files.require(sources, folder)
    if classes is None:
        classes = _names_used(os.path.join(annotations, f"{name}.xml") for name in every)
    pages = [_parse(source) for source in sources]
    paths = _image_paths(_subfolder(folder, "JPEGImages"), names)
    files.require(paths, folder)
    sizes = files.upright_sizes(paths, [_stated_size(page) for page in pages])

    name = os.path.basename(os.path.abspath(folder))
    dataset = Dataset(name if split is None else f"{name} {split}", classes, [])
    for index, (source, page, path, size) in enumerate(zip(sources, pages, paths, sizes, strict=True)):
        boxes, numbers, crowds, stated = _objects(page, source, size, dataset)
        dataset.records.append(
            Record(
                id=index,
                image=path,
                height=size[0],
                width=size[1],
                boxes=boxes,
                classes=numbers,
                crowds=crowds,
                areas=(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
                stated=stated,
            )
        )
    return dataset


def _subfolder(folder, name):
    inner = os.path.join(folder, name)
    return inner if os.path.isdir(inner) else str(folder)


def _split(folder, split):
    places = [os.path.join(folder, "ImageSets", "Main", f"{split}.txt"), os.path.join(folder, f"{split}.txt")]
    for place in places:
        if os.path.exists(place):
            with open(place, encoding="utf-8-sig") as file:
                return [line.strip() for line in file if line.strip()]
    raise FileNotFoundError(f"{folder} has no split '{split}': neither {places[0]} nor {places[1]} exists.")


def _image_paths(folder, names):
    files_of = {os.path.splitext(name)[0]: name for name in os.listdir(folder) if not name.endswith((".xml", ".txt"))}
    return [os.path.join(folder, files_of.get(name, f"{name}.jpg")) for name in names]


def _parse(source):
    try:
        return ET.parse(source).getroot()
    except ET.ParseError as error:
        faults.report(f"{source} is not readable XML: {error}.")
        return ET.Element("annotation")


def _names_used(sources):
    names = {name.text.strip() for source in sources for name in _parse(source).iterfind("object/name") if name.text}
    return sorted(names - {""})


def _stated_size(page):
    size = [page.findtext(f"size/{side}", "0").strip() for side in ("height", "width")]
    return tuple(map(int, size)) if all(side.isdecimal() and int(side) for side in size) else None


def _objects(page, source, size, dataset):
    """Boxes, class ids and crowds of a page, and all corners; what is dropped is noted in the data set."""
    boxes, numbers, crowds, stated = [], [], [], []
    for index, element in enumerate(page.findall("object"), 1):
        name = (element.findtext("name") or "").strip()
        place = f"{source}: object {index} ({name})"
        if name not in dataset.classes:
            faults.report(f"{place} is of none of the classes {dataset.classes}.")
            continue
        corners = [_corner(element, tag, place) for tag in ("xmin", "ymin", "xmax", "ymax")]
        if None in corners:
            continue
        x1, y1, x2, y2 = corners
        stated.append([x1 - 1, y1 - 1, x2, y2])
        box, inside = clip(stated[-1], *size)
        if not inside.all() or x2 <= x1 or y2 <= y1:
            dataset.notes.append(f"{place} is dropped: {x1:g}, {y1:g}, {x2:g}, {y2:g} has no area in the image.")
            continue
        boxes.append(box)
        numbers.append(dataset.classes.index(name))
        crowds.append((element.findtext("difficult") or "").strip() == "1")
    boxes, stated = (np.array(rows, np.float32).reshape(-1, 4) for rows in (boxes, stated))
    return boxes, np.array(numbers, np.int32), np.array(crowds, bool), stated


def _corner(element, tag, place):
    text = element.findtext(f"bndbox/{tag}")
    try:
        corner = float(text)
    except (TypeError, ValueError):
        corner = math.nan
    if not math.isfinite(corner):
        faults.report(f"{place} needs a finite number in <bndbox><{tag}>, it holds {text!r}.")
        return None
    return corner
