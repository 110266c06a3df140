"""Reader of Pascal VOC folders: one XML file an image."""

import glob
import math
import os
import re
import xml.etree.ElementTree as ET
from collections import Counter

from kerasdet.data import faults, files, objects
from kerasdet.data.dataset import Dataset

# What difficult objects are: regions to ignore, or objects like all others, as SSD's release trains them.
DIFFICULT = ("crowd", "object")


def read(folder, split=None, classes=None, difficult="crowd"):
    """Reads one split of a Pascal VOC folder.

    The XML files lie in `Annotations/`, the images in `JPEGImages/` under the same names; either may lie in the folder
    itself, where annotation tools put them. VOC counts pixels from 1 and includes the last one, so that a box is
    (xmin - 1, ymin - 1, xmax, ymax) in continuous coordinates. One with xmax <= xmin or ymax <= ymin, or that lies
    outside the image, is dropped, with a line in the data set's `notes`. What is named "ignore" or the like is a
    crowd. Image ids are positions in the split, from 0.

    Args:
        folder: the folder, for PASCAL VOC itself `VOCdevkit/VOC2007`, or `VOCdevkit` if it holds one year only.
        split: the name of a list, `ImageSets/Main/SPLIT.txt` or `SPLIT.txt`; None takes every XML file.
        classes: names in the order of the class ids; by default all names in the folder's XML files, sorted, so that
            every split has the same.
        difficult: one of `DIFFICULT`, what objects marked as difficult become. VOC's metric ignores them: read them as
            objects to train on only.

    Returns:
        `Dataset`.

    Raises:
        ValueError: one line that names the file and the object at fault, or what `difficult` may be.
        FileNotFoundError: one line with the missing list, or the number of missing files and the first of them.
    """
    if difficult not in DIFFICULT:
        raise ValueError(f"{folder}: difficult must be one of {DIFFICULT}, got {difficult!r}.")
    folder = _year(os.fspath(folder))
    annotations = _subfolder(folder, "Annotations")
    every = sorted(name[:-4] for name in os.listdir(annotations) if name.endswith(".xml"))
    names = every if split is None else _split(folder, split, set(every))
    sources = [os.path.join(annotations, f"{name}.xml") for name in names]
    files.require(sources, folder)
    slips = []
    if classes is None:
        counts = _names_used(os.path.join(annotations, f"{name}.xml") for name in every)
        classes, slips = sorted(counts), objects.slips(counts, folder)
    classes, numbers, ignored = objects.numbered(classes, folder)
    pages = [_parse(source) for source in sources]
    paths = _image_paths(_subfolder(folder, "JPEGImages"), names)
    files.require(paths, folder)
    stated = [_stated_size(page) for page in pages]
    sizes = files.upright_sizes(paths, stated)

    name = os.path.basename(os.path.abspath(folder))
    dataset = Dataset(name if split is None else f"{name} {split}", classes, [], notes=ignored + slips)
    for index, (source, page, path, size, said) in enumerate(zip(sources, pages, paths, sizes, stated, strict=True)):
        places, boxes, kinds, hard = _objects(page, source, numbers)
        crowds = hard if difficult == "crowd" else None
        objects.add(dataset, index, path, size, boxes, kinds, places.__getitem__, crowds, stated_size=said)
    return dataset


def splits(folder):
    """Names of the lists of a folder, without those of single classes."""
    folder = _year(os.fspath(folder))
    lists = glob.glob("ImageSets/Main/*.txt", root_dir=folder) + glob.glob("*.txt", root_dir=folder)
    names = {os.path.basename(name).removesuffix(".txt") for name in lists}
    return sorted(name for name in names if name.rpartition("_")[2] not in names - {name})


def _year(folder):
    """The folder of the one year of a devkit, or the folder itself."""
    years = [year for inner in ("", "VOCdevkit") for year in glob.glob(os.path.join(folder, inner, "VOC[0-9]*"))]
    if os.path.isdir(os.path.join(folder, "Annotations")) or not years:
        return folder
    if len(years) > 1:
        raise ValueError(f"{folder} holds several years; give one of them: {', '.join(sorted(years))}.")
    return years[0]


def _subfolder(folder, name):
    inner = os.path.join(folder, name)
    return inner if os.path.isdir(inner) else str(folder)


def _split(folder, split, every):
    places = [os.path.join(folder, "ImageSets", "Main", f"{split}.txt"), os.path.join(folder, f"{split}.txt")]
    for place in places:
        if os.path.exists(place):
            lines = [line.strip() for line in files.text(place).splitlines() if line.strip()]
            # The list of a class has -1, 0 or 1 behind each name; a name may hold blanks and end on a number itself.
            return [line if line in every else re.sub(r"\s+(-1|0|1)$", "", line) for line in lines]
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
    """How many objects have each name."""
    texts = (name.text for source in sources for name in _parse(source).iterfind("object/name") if name.text)
    return Counter(text.strip() for text in texts if text.strip())


def _stated_size(page):
    size = [page.findtext(f"size/{side}", "0").strip() for side in ("height", "width")]
    return tuple(map(int, size)) if all(side.isdecimal() and int(side) for side in size) else None


def _objects(page, source, numbers):
    """The words that name each object of a page, its corners, class ids and whether it is difficult."""
    places, boxes, kinds, hard = [], [], [], []
    for index, element in enumerate(page.findall("object"), 1):
        name = (element.findtext("name") or "").strip()
        place = f"{source}: object {index} ({name})"
        if name not in numbers:
            faults.report(f"{place} is of none of the classes {tuple(numbers)}.")
            continue
        corners = [_corner(element, tag, place) for tag in ("xmin", "ymin", "xmax", "ymax")]
        if None in corners:
            continue
        x1, y1, x2, y2 = corners
        first = 1 if x2 > x1 and y2 > y1 else 0  # what is no box gains no pixel by counting
        places.append(place)
        boxes.append([x1 - first, y1 - first, x2, y2])
        kinds.append(numbers[name])
        hard.append((element.findtext("difficult") or "").strip() == "1")
    return places, boxes, kinds, hard


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
