"""Reads CSV tables with one row per object; the caller names the format of the boxes."""

import csv
import os

import numpy as np

from kerasdet.data import faults, files, formats, objects
from kerasdet.data.dataset import Dataset

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
    "crowd": ("crowd", "iscrowd"),
    "difficult": ("difficult", "isdifficult"),
}
_TRUE, _FALSE = {"1", "1.0", "true", "yes"}, {"", "0", "0.0", "false", "no"}


def read(path, images=None, format=None, relative=False, columns=None, classes=None):
    """Reads a CSV table of boxes.

    The first row names the columns: image, class, the four numbers of the format, and optionally crowd and difficult;
    common synonyms are recognized. A table without a header holds image, four numbers and class, in this order. A row
    with an empty box adds its image, as background if the image has no other row. Image ids count the images from 0 in
    the order of their first appearance.

    Args:
        path: the table, separated by commas, semicolons or tabs.
        images: folder that image names are relative to; by default the table's own.
        format: "xyxy" for corners, "xywh" for a corner and sides, "cxcywh" for the center and sides. There is no
            default because a wrong guess would go unnoticed.
        relative: the numbers are fractions of the image, 0...1, instead of pixels.
        columns: dict from image, class, crowd, difficult or one of the format's numbers to a column's name.
        classes: names in the order of the class ids; by default those of the table, sorted.

    Returns:
        `Dataset`.

    Raises:
        ValueError: a row is faulty, which the message names, or the boxes look like another format.
        FileNotFoundError: image files are missing.
    """
    path = os.fspath(path)
    if format not in FORMATS:
        raise ValueError(
            f"{path}: say how its boxes are written: format='xyxy' (corners), 'xywh' (corner and sides) or 'cxcywh' "
            f"(center and sides), with relative=True for fractions of the image; got format={format!r}."
        )
    rows = _rows(path, FORMATS[format][0], columns or {})
    counts = {}
    for row in rows:
        if row["box"]:
            counts[row["class"]] = counts.get(row["class"], 0) + 1
    notes = [] if classes else objects.slips(counts, path)
    classes, numbers, ignored = objects.numbered(classes or sorted(counts), path)

    names = list(dict.fromkeys(row["image"] for row in rows))
    folder = os.path.dirname(path) if images is None else os.fspath(images)
    paths = [os.path.join(folder, name) for name in names]
    files.require(paths, path)
    sizes = files.upright_sizes(paths, [None] * len(paths))
    rows_of = {name: [] for name in names}
    for row in rows:
        if row["box"] and row["class"] not in numbers:
            faults.report(f"{row['place']} is of class {row['class']!r}, which is none of {tuple(numbers)}.")
        elif row["box"]:
            rows_of[row["image"]].append(row)
    corners = [_corners(rows_of[name], size, format, relative) for name, size in zip(names, sizes, strict=True)]
    _check(corners, sizes, f"{path}, read with format={format!r} and relative={relative}")

    dataset = Dataset(os.path.splitext(os.path.basename(path))[0], classes, [], notes=ignored + notes)
    for index, (name, image, size, boxes) in enumerate(zip(names, paths, sizes, corners, strict=True)):
        rows = rows_of[name]
        class_ids = [numbers[row["class"]] for row in rows]
        crowds = [row["crowd"] for row in rows]
        objects.add(dataset, index, image, size, boxes, class_ids, lambda i, rows=rows: rows[i]["place"], crowds)
    return dataset


def _rows(path, four, columns):
    """The rows as dicts: image, class, box (four floats, or None if empty), crowd, and place for messages."""
    text = files.text(path)
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    lines = list(csv.reader(text.splitlines(), delimiter=separator))
    lines = [(number, line) for number, line in enumerate(lines, 1) if any(field.strip() for field in line)]
    if not lines:
        raise ValueError(f"{path} is empty.")
    if columns or _is_header(lines[0][1]):
        positions = _positions(lines[0][1], four, columns, path)
        lines = lines[1:]
    else:
        positions = dict(zip(("image", *four, "class"), range(6), strict=True))
        positions |= {"crowd": None, "difficult": None}
    rows = [_row(line, positions, four, f"{path}, line {number}") for number, line in lines]
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


def _positions(header, four, columns, path):
    """The position of each column that is read; None for crowd and difficult if they are missing."""
    header = [field.strip() for field in header]
    plain = [_plain(field) for field in header]
    unknown = set(columns) - {"image", "class", "crowd", "difficult", *four}
    if unknown:
        raise ValueError(f"{path}: columns may name image, class, crowd, difficult and {four}, not {sorted(unknown)}.")
    positions = {}
    for role in ("image", "class", *four, "crowd", "difficult"):
        names = [columns[role]] if role in columns else [name for name in _KNOWN[role] if name in plain]
        position = None
        if names and names[0] in (header if role in columns else plain):
            position = (header if role in columns else plain).index(names[0])
        if position is None and (role in columns or role not in ("crowd", "difficult")):
            raise ValueError(
                f"{path} has no column {columns.get(role, role)!r}; it has {header}. Pass columns={{...}}."
            )
        positions[role] = position
    return positions


def _plain(name):
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _row(line, positions, four, place):
    fields = {role: line[i].strip() if i is not None and i < len(line) else "" for role, i in positions.items()}
    box = [fields[role] for role in four]
    if not fields["image"]:
        return faults.report(f"{place} names no image.")
    row = {"image": fields["image"], "class": fields["class"], "box": None, "place": place}
    if any(box):
        row["box"] = [objects.number(text, f"{place}, {role},") for role, text in zip(four, box, strict=True)]
        if np.isnan(row["box"]).any():
            return None
        if not row["class"]:
            return faults.report(f"{place} has a box without a class.")
    flags = [fields["crowd"].lower(), fields["difficult"].lower()]
    for flag in flags:
        if flag not in _TRUE | _FALSE:
            return faults.report(f"{place}: crowd and difficult must be 0 or 1, not {flag!r}.")
    return row | {"crowd": any(flag in _TRUE for flag in flags)}


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
