"""Reader of CSV tables: a row an object, with the format of its boxes named by who reads it."""

import csv
import os

import numpy as np

from kerasdet.data import faults, files, formats, objects
from kerasdet.data.dataset import Dataset

# What the four numbers of a row are, and what makes x1, y1, x2, y2 of them.
FORMATS = {
    "xyxy": (("x1", "y1", "x2", "y2"), lambda a, b, c, d: (a, b, c, d)),
    "xywh": (("x", "y", "width", "height"), lambda x, y, w, h: (x, y, x + w, y + h)),
    "cxcywh": (("cx", "cy", "width", "height"), lambda x, y, w, h: (x - w / 2, y - h / 2, x + w / 2, y + h / 2)),
}
# Names by which a column is known, in order of preference; case and punctuation do not count.
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

    The first row names the columns: image, class, the four numbers of the format, and if present crowd and difficult;
    usual synonyms are known. A table without such a row holds image, four numbers and class, in this order. A row whose
    box is empty makes its image known, as background if no other row follows. Image ids count the images in the order
    in which they first appear, from 0.

    Args:
        path: the table, separated by commas, semicolons or tabs.
        images: folder that the names of the images start from; by default the table's own.
        format: "xyxy" for corners, "xywh" for a corner and sides, "cxcywh" for the center and sides. No default: a
            guess would be wrong in silence.
        relative: the numbers are shares of the image, 0...1, instead of pixels.
        columns: dict from image, class, crowd, difficult or one of the format's numbers to a column's name.
        classes: names in the order of the class ids; by default those of the table, sorted.

    Returns:
        `Dataset`.

    Raises:
        ValueError: one line that names the table and the row, or says that the boxes look like another format.
        FileNotFoundError: one line with the number of missing image files and the first of them.
    """
    path = os.fspath(path)
    if format not in FORMATS:
        raise ValueError(
            f"{path}: say how its boxes are written, by format='xyxy' (corners), 'xywh' (corner and sides) or 'cxcywh' "
            f"(center and sides), with relative=True for shares of the image; got format={format!r}."
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
    found = {name: [] for name in names}
    for row in rows:
        if row["box"] and row["class"] not in numbers:
            faults.report(f"{row['place']} is of class {row['class']!r}, which is none of {tuple(numbers)}.")
        elif row["box"]:
            found[row["image"]].append(row)
    corners = [_corners(found[name], size, format, relative) for name, size in zip(names, sizes, strict=True)]
    _check(corners, sizes, f"{path}, read with format={format!r} and relative={relative}")

    dataset = Dataset(os.path.splitext(os.path.basename(path))[0], classes, [], notes=ignored + notes)
    for index, (name, image, size, boxes) in enumerate(zip(names, paths, sizes, corners, strict=True)):
        rows = found[name]
        kinds = [numbers[row["class"]] for row in rows]
        crowds = [row["crowd"] for row in rows]
        objects.add(dataset, index, image, size, boxes, kinds, lambda i, rows=rows: rows[i]["place"], crowds)
    return dataset


def _rows(path, four, columns):
    """The rows as dicts: image, class, box (four floats, or None where empty), crowd, and place for messages."""
    text = files.text(path)
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    lines = list(csv.reader(text.splitlines(), delimiter=separator))
    lines = [(number, line) for number, line in enumerate(lines, 1) if any(field.strip() for field in line)]
    if not lines:
        raise ValueError(f"{path} is empty.")
    if columns or _is_header(lines[0][1]):
        places = _places(lines[0][1], four, columns, path)
        lines = lines[1:]
    else:
        places = dict(zip(("image", *four, "class"), range(6), strict=True))
        places |= {"crowd": None, "difficult": None}
    rows = [_row(line, places, four, f"{path}, line {number}") for number, line in lines]
    rows = [row for row in rows if row]
    if not rows:
        raise ValueError(f"{path} has a row of names and no other.")
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


def _places(header, four, columns, path):
    """The position of each column that is read; None for crowd and difficult where there are none."""
    header = [field.strip() for field in header]
    plain = [_plain(field) for field in header]
    wrong = set(columns) - {"image", "class", "crowd", "difficult", *four}
    if wrong:
        raise ValueError(f"{path}: columns may name image, class, crowd, difficult and {four}, not {sorted(wrong)}.")
    places = {}
    for role in ("image", "class", *four, "crowd", "difficult"):
        names = [columns[role]] if role in columns else [name for name in _KNOWN[role] if name in plain]
        place = None
        if names and names[0] in (header if role in columns else plain):
            place = (header if role in columns else plain).index(names[0])
        if place is None and (role in columns or role not in ("crowd", "difficult")):
            raise ValueError(f"{path} has no column {columns.get(role, role)!r}; it has {header}. Say columns={{...}}.")
        places[role] = place
    return places


def _plain(name):
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _row(line, places, four, place):
    fields = {role: line[at].strip() if at is not None and at < len(line) else "" for role, at in places.items()}
    box = [fields[role] for role in four]
    if not fields["image"]:
        return faults.report(f"{place} names no image.")
    row = {"image": fields["image"], "class": fields["class"], "box": None, "place": place}
    if any(box):
        row["box"] = [objects.number(text, f"{place}, {role},") for role, text in zip(four, box, strict=True)]
        if np.isnan(row["box"]).any():
            return None
        if not row["class"]:
            return faults.report(f"{place} has a box of no class.")
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
