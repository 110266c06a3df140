"""Reads CSV tables with one row per object; the caller names the format of the boxes."""

import csv
import os
import re

import numpy as np

from kerasdet.data import faults, files, formats, objects
from kerasdet.data.dataset import Dataset
from kerasdet.data.folder import Folder

# The names of a row's four numbers, and their conversion to x1, y1, x2, y2.
FORMATS = {
    "xyxy": (("x1", "y1", "x2", "y2"), lambda a, b, c, d: (a, b, c, d)),
    "xywh": (("x", "y", "width", "height"), lambda x, y, w, h: (x, y, x + w, y + h)),
    "cxcywh": (("cx", "cy", "width", "height"), lambda x, y, w, h: (x - w / 2, y - h / 2, x + w / 2, y + h / 2)),
}
# Names by which a column is recognized, in order of preference; case and punctuation are ignored.
_KNOWN = {
    "image": ("image", "filename", "file", "path", "imagepath", "imagename", "imagefile", "img", "imageid"),
    "class": ("class", "label", "classname", "labelname", "category", "name"),
    "x1": ("x1", "xmin", "left", "bboxxmin"),
    "y1": ("y1", "ymin", "top", "bboxymin"),
    "x2": ("x2", "xmax", "right", "bboxxmax"),
    "y2": ("y2", "ymax", "bottom", "bboxymax"),
    "x": ("x", "bboxx", "x1", "xmin", "left"),
    "y": ("y", "bboxy", "y1", "ymin", "top"),
    "cx": ("cx", "xcenter", "centerx", "xc", "x"),
    "cy": ("cy", "ycenter", "centery", "yc", "y"),
    "width": ("w", "bboxwidth", "boxwidth", "bboxw", "width"),
    "height": ("h", "bboxheight", "boxheight", "bboxh", "height"),
    "crowd": ("crowd", "iscrowd", "isgroupof"),
    "difficult": ("difficult", "isdifficult"),
    "box": ("bbox", "box", "boundingbox"),
    "photo width": ("width", "imagewidth", "imgwidth"),
    "photo height": ("height", "imageheight", "imgheight"),
}
_OPTIONAL = ("crowd", "difficult", "box", "photo width", "photo height")


def read(path, images=None, format=None, relative=None, columns=None, classes=None, folder=None):
    """Reads a CSV table of boxes.

    The first row names the columns: image, class, the four numbers of the format or one column `bbox` that holds them,
    and optionally crowd, difficult, and the photo's width and height; common synonyms are recognized. A table without
    a header holds image, four numbers and class, in this order. A row with an empty box adds its image, as background
    if the image has no other row. Image ids count the images from 0 in the order of their first appearance.

    Args:
        path: the table, separated by commas, semicolons or tabs.
        images: folder that image names are relative to; by default the table's own.
        format: "xyxy" for corners, "xywh" for a corner and sides, "cxcywh" for the center and sides. Only columns
            named xmin, ymin, xmax, ymax need none, because a wrong guess would go unnoticed.
        relative: the numbers are fractions of the image, 0...1, instead of pixels; by default they are if the format
            is known by the columns' names and no number is above 1.
        columns: dict from image, class, crowd, difficult or one of the format's numbers to a column's name.
        classes: names in the order of the class ids; by default those of the table, sorted. One name also stands for
            a missing column of classes.
        folder: folder below which photos are looked for that are not in `images`; by default `images`.

    Returns:
        `Dataset`.

    Raises:
        ValueError: a row is faulty, which the message names, or the boxes look like another format.
        FileNotFoundError: image files are missing.
    """
    path = os.fspath(path)
    named = format is None and _has_corners(path)
    form = "xyxy" if named else format
    if form not in FORMATS:
        raise ValueError(
            f"{path}: say how its boxes are written: format='xyxy' (corners), 'xywh' (corner and sides) or 'cxcywh' "
            f"(center and sides), with relative=True for fractions of the image; got format={format!r}."
        )
    rows = _rows(path, FORMATS[form][0], columns or {}, classes)
    numbers = [abs(number) for row in rows for number in row["box"] or ()]
    if relative is None:
        relative = named and bool(numbers) and max(numbers) <= 1
    called = _descriptions(path, folder)
    for row in rows:
        row["class"] = called.get(row["class"], row["class"])
    counts = {}
    for row in rows:
        if row["box"]:
            counts[row["class"]] = counts.get(row["class"], 0) + 1
    notes = [] if classes else objects.slips(counts, path)
    classes, numbers, ignored = objects.numbered(classes or sorted(counts), path)

    names = list(dict.fromkeys(row["image"] for row in rows))
    paths, found = _photos(names, os.path.dirname(path) if images is None else os.fspath(images), folder, path)
    files.require(paths, path)
    rows_of = {name: [] for name in names}
    for row in rows:
        if row["box"] and row["class"] not in numbers:
            faults.report(f"{row['place']} is of class {row['class']!r}, which is none of {tuple(numbers)}.")
        elif row["box"]:
            rows_of[row["image"]].append(row)
    stated = [next((row["size"] for row in rows_of[name] if row["size"]), None) for name in names]
    sizes = files.upright_sizes(paths, stated)
    corners = [_corners(rows_of[name], size, form, relative) for name, size in zip(names, sizes, strict=True)]
    _check(corners, sizes, f"{path}, read with format={form!r} and relative={relative}")

    dataset = Dataset(os.path.splitext(os.path.basename(path))[0], classes, [], notes=ignored + notes)
    for index, (name, image, size, said, boxes) in enumerate(zip(names, paths, sizes, stated, corners, strict=True)):
        rows = rows_of[name]
        class_ids = [numbers[row["class"]] for row in rows]
        crowds = [row["crowd"] for row in rows]
        place = [row["place"] for row in rows].__getitem__
        objects.add(dataset, index, image, size, boxes, class_ids, place, crowds, stated_size=said)
    return objects.finished(dataset, path, found)


def is_table(path):
    """Whether a file is a table of boxes with a header: columns for an image and for four numbers or a box."""
    try:
        with open(path, "rb") as file:
            head = file.readline(2**16).decode("utf-8-sig")
    except UnicodeDecodeError:
        return False
    fields = {_plain(field) for field in re.split(r"[,;\t]", head)}
    box = fields & set(_KNOWN["box"]) or all(fields & set(_KNOWN[side]) for side in ("x1", "y1"))
    return bool(box and fields & set(_KNOWN["image"]))


def _has_corners(path):
    """Whether a table's columns say that they are corners: xmin, ymin, xmax, ymax."""
    with open(path, "rb") as file:
        head = file.readline(2**16).decode("utf-8-sig", "replace")
    fields = {_plain(field) for field in re.split(r"[,;\t]", head)}
    return all(fields & {f"{side}", f"bbox{side}"} for side in ("xmin", "ymin", "xmax", "ymax"))


def _descriptions(path, folder):
    """Names of classes by the codes that Open Images uses, from the table of them beside the boxes, if any."""
    tree = Folder(folder or os.path.dirname(path) or ".")
    found = {}
    for name in tree.ending(".csv"):
        if re.search(r"class(es|-descriptions)", os.path.basename(name)) and tree.full(name) != os.path.normpath(path):
            lines = csv.reader(files.text(tree.full(name)).splitlines())
            found |= {line[0].strip(): line[1].strip() for line in lines if len(line) == 2 and line[0].startswith("/")}
    return found


def _photos(names, images, folder, path):
    """Paths of the photos of a table, and how many photos lie below the folder."""
    tree = Folder(folder or images or ".")
    near = [os.path.relpath(images or ".", tree.path)]
    paths = []
    for name in names:
        direct = os.path.normpath(os.path.join(images, name))
        place = direct if os.path.isfile(direct) else tree.find(name, near)
        if isinstance(place, list):
            faults.report(f"{path}: {len(place)} photos are called {name}, first {place[0]} and {place[1]}.")
            place = place[0]
        paths.append(direct if place in (None, direct) else tree.full(place))
    return paths, len(tree.photos) + tree.hidden


def _rows(path, four, columns, classes=None):
    """The rows as dicts: image, class, box (four floats, or None if empty), crowd, size, and place for messages."""
    text = files.text(path)
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    try:
        lines = list(csv.reader(text.splitlines(), delimiter=separator))
    except csv.Error as error:
        raise ValueError(f"{path} is not a table: {error}.") from None
    lines = [(number, line) for number, line in enumerate(lines, 1) if any(field.strip() for field in line)]
    if not lines:
        raise ValueError(f"{path} is empty.")
    if columns or _is_header(lines[0][1]):
        positions = _positions(lines[0][1], four, columns, path, classes)
        lines = lines[1:]
    else:
        positions = dict(zip(("image", *four, "class"), range(6), strict=True))
        positions |= dict.fromkeys(_OPTIONAL)
    only = classes[0] if classes and positions["class"] is None else ""
    rows = [_row(line, positions, four, only, f"{path}, line {number}") for number, line in lines]
    rows = [row for row in rows if row]
    if not rows:
        raise ValueError(f"{path} has a header but no other rows.")
    return rows


def _is_header(fields):
    return any(_plain(field) in names for field in fields for names in _KNOWN.values()) and not any(
        _is_number(field) for field in fields
    )


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _positions(header, four, columns, path, classes):
    """The position of each column that is read; None for those that may be missing and are."""
    header = [field.strip() for field in header]
    plain = [_plain(field) for field in header]
    unknown = set(columns) - {"image", "class", "crowd", "difficult", *four}
    if unknown:
        raise ValueError(f"{path}: columns may name image, class, crowd, difficult and {four}, not {sorted(unknown)}.")
    positions = {}
    single = any(name in plain for name in _KNOWN["box"])
    optional = {*_OPTIONAL, *(four if single else ()), *(("class",) if classes and len(classes) == 1 else ())}
    for role in ("image", "class", *four, *_OPTIONAL):
        names = [columns[role]] if role in columns else [name for name in _KNOWN[role] if name in plain]
        position = None
        if names and names[0] in (header if role in columns else plain):
            position = (header if role in columns else plain).index(names[0])
        if position is None and (role in columns or role not in optional):
            raise ValueError(
                f"{path} has no column {columns.get(role, role)!r}; it has {header}. Pass columns={{...}}."
            )
        positions[role] = position
    return positions


def _plain(name):
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _row(line, positions, four, only, place):
    fields = {role: line[i].strip() if i is not None and i < len(line) else "" for role, i in positions.items()}
    box = [fields[role] for role in four]
    if fields["box"]:
        box = re.findall(r"[^\s,;\[\]()]+", fields["box"])
        if len(box) != 4:
            return faults.report(f"{place} needs four numbers in its box, but holds {fields['box']!r}.")
    if not fields["image"]:
        return faults.report(f"{place} names no image.")
    row = {"image": fields["image"], "class": fields["class"] or only, "box": None, "place": place, "size": None}
    if any(box):
        row["box"] = [objects.number(text, f"{place}, {role},") for role, text in zip(four, box, strict=True)]
        if np.isnan(row["box"]).any():
            return None
        if not row["class"]:
            return faults.report(f"{place} has a box without a class.")
    flags = [objects.flag(fields[role]) for role in ("crowd", "difficult")]
    if None in flags:
        wrong = fields["crowd" if flags[0] is None else "difficult"]
        return faults.report(f"{place}: crowd and difficult must be 0 or 1, not {wrong!r}.")
    sides = [fields[role] for role in ("photo height", "photo width")]
    if all(side.isdecimal() and 0 < int(side[:9]) for side in sides) and not {"width", "height"} & set(four):
        row["size"] = tuple(map(int, sides))
    return row | {"crowd": any(flags)}


def _corners(rows, size, format, relative):
    """The rows' boxes as corners in pixels, [N, 4]."""
    four = np.reshape([row["box"] for row in rows], (-1, 4))
    corners = np.stack(FORMATS[format][1](*four.T), 1)
    return corners * [size[1], size[0], size[1], size[0]] if relative else corners


def _check(corners, sizes, source):
    boxes = np.concatenate(corners)
    if len(boxes):
        words = formats.misread(
            boxes.astype(np.float32), np.repeat(np.float32(sizes), [len(some) for some in corners], axis=0)
        )
        if words:
            faults.report(f"{source}: the boxes {words}.")
