"""Reads YOLO text labels, one .txt file per image, one line per object: from a yaml, lists or plain folders."""

import glob
import os

import numpy as np

from kerasdet.data import faults, files, formats, objects, yolo_rows, yolo_yaml
from kerasdet.data.dataset import Dataset
from kerasdet.data.folder import Folder, is_hidden, is_photo, part_in, part_of
from kerasdet.data.tally import Tally

# Files of class names, one a line: labelImg's and Label Studio's, darknet's, Roboflow's.
NAMES = ("classes.txt", "obj.names", "_darknet.labels", "predefined_classes.txt")
_UNREAD = {".tif", ".tiff", ".avif", ".dng", ".mpo", ".pfm"}


def read(path, split=None, classes=None, images=None):
    """Reads one split of a YOLO data set.

    Rows are `class cx cy w h`, or `class x1 y1 x2 y2 x3 y3 ...` for a polygon, in fractions of the upright picture. The
    labels of `images/a.jpg` are in `labels/a.txt` (the last folder `images` of the path is replaced) or next to the
    picture. A picture whose file is missing or empty is background. Image ids are positions in the split, from 0.

    Args:
        path: a yaml with `names`, a folder that holds one, darknet's `obj.names` with its lists, or a folder of photos
            and labels with a file of class names, one a line.
        split: "train", "val" or "test", or the name of the folder of that part; None for all photos.
        classes: names in the order of the class ids, if no file has them.
        images: folder of the photos; by default they are looked for below the folder.

    Returns:
        `Dataset`; its records carry `segments` if every object is a polygon.

    Raises:
        ValueError: a file is faulty; the message names the file and the line.
        FileNotFoundError: folders, lists or images are missing.
    """
    path = os.fspath(path)
    source = yolo_yaml.find(path)
    folder = os.path.dirname(source) or "." if source else path
    notes, tally = [], Tally()
    tree = Folder(images or folder)
    if source:
        held = yolo_yaml.content(source)
        names = classes or yolo_yaml.names(held, source)
        entries = yolo_yaml.entries(held, split, source)
        pictures = [path for one in entries for path in (_pictures_in(one, notes) if isinstance(one, str) else one)]
        pictures = list(dict.fromkeys(pictures))
    else:
        source = path
        names = classes or _class_file(path)
        pictures = _plain(tree, path, split, notes)
    classes, numbers, ignored = objects.numbered(names, source)
    class_ids = [numbers[name] for name in names]
    files.require(pictures, source)
    labels = [_label(picture) for picture in pictures]
    if not any(labels):
        raise FileNotFoundError(
            f"{source}: none of {len(pictures)} images has a label file, such as {_partner(pictures[0])}."
        )
    sizes = files.upright_sizes(pictures, [None] * len(pictures))
    rows = [yolo_rows.read(label, len(class_ids)) if label else [] for label in labels]
    _count(pictures, labels, tally)
    yolo_rows.check_pose(rows, source)
    _check_format(rows, sizes, source)

    name = os.path.basename(os.path.abspath(folder))
    dataset = Dataset(
        name if split is None else f"{name} {split}", classes, [], notes=notes + ignored, written="centers", tally=tally
    )
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
            place=lambda i, label=label, found=found: f"{label}, line {found[i][0]}",
            areas=[yolo_rows.area(points) for points in scaled] if masked else None,
            segments=[[points.ravel().tolist()] for points in scaled] if masked else None,
        )
    return objects.finished(dataset, source, len(tree.photos) + tree.hidden)


def splits(path):
    """Names of the splits of a yaml, of darknet's lists, or of the folders that hold them."""
    path = os.fspath(path)
    source = yolo_yaml.find(path)
    if source:
        return yolo_yaml.splits(yolo_yaml.content(source))
    tree = Folder(path)
    lists = [os.path.splitext(name)[0] for name in _darknet_lists(tree)]
    inside = glob.glob("images/*/", root_dir=path) + glob.glob("*/images/", root_dir=path)
    rooms = {name.replace("images", "").strip(os.sep) for name in inside if not is_hidden(name)}
    return sorted(lists or rooms or {part_in(name) for name in tree.photos} - {None})


def _darknet_lists(tree):
    """Text files beside the photos' folders that list photos: `train.txt` of darknet and CVAT."""
    names = [name for name in tree.ending(".txt") if os.sep not in name and part_of(os.path.splitext(name)[0])]
    return [name for name in names if any(map(is_photo, files.text(tree.full(name)).split("\n", 1)[0:1]))]


def _plain(tree, folder, split, notes):
    """Paths of the pictures of a folder without a yaml."""
    lists = [name for name in _darknet_lists(tree) if os.path.splitext(name)[0] == split]
    if lists:
        return yolo_yaml.listed(tree.full(lists[0]), (folder,))
    candidates = [os.path.join(folder, *parts) for parts in (("images", split or ""), (split or "", "images"))]
    inner = next((os.path.normpath(one) for one in candidates if os.path.isdir(one)), None)
    if inner is not None:
        return _pictures_in(inner, notes)
    pictures = [tree.full(name) for name in tree.photos if split is None or part_in(name) == split]
    if not pictures:
        raise FileNotFoundError(f"{folder} has no split {split!r}: neither {candidates[0]} nor {candidates[1]} exists.")
    return pictures


def class_file(folder):
    """The path of the file of class names of a folder, or None."""
    for inner in ("", "labels", "train"):
        for name in NAMES:
            if os.path.isfile(os.path.join(folder, inner, name)):
                return os.path.join(folder, inner, name)
    found = [name for name in sorted(os.listdir(folder)) if name.lower().endswith(".names") and not is_hidden(name)]
    return os.path.join(folder, found[0]) if found else None


def _class_file(folder):
    path = class_file(folder)
    if path is None:
        raise FileNotFoundError(
            f"{folder} names no classes: write {os.path.join(folder, NAMES[0])}, one name a line, or give classes."
        )
    lines = [line.strip() for line in files.text(path).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if not all(lines):
        raise ValueError(
            f"{path}, line {lines.index('') + 1} is empty: it is unclear which number the next name has; "
            "remove it, or write a name."
        )
    return lines


def _pictures_in(folder, notes):
    """Paths of all visible photos below a folder, sorted; files in unsupported image formats are noted."""
    tree = Folder(folder)
    unread = [tree.full(name) for name in tree.files if os.path.splitext(name)[1].lower() in _UNREAD]
    if unread:
        notes.append(f"{folder}: {len(unread)} files have an unsupported format, first {unread[0]}; save them as JPEG.")
    pictures = [tree.full(name) for name in tree.files if is_photo(name)]
    if not pictures:
        raise FileNotFoundError(f"{folder} holds no images.")
    used = {_label(picture) for picture in pictures}
    folders = {os.path.dirname(label) for label in used if label}
    unused = sorted({os.path.join(parent, name) for parent in folders for name in os.listdir(parent)} - used)
    unused = [path for path in unused if path.endswith(".txt") and os.path.basename(path) not in NAMES]
    unused = [path for path in unused if not is_hidden(os.path.basename(path)) and not _is_list(path)]
    if unused:
        notes.append(f"{folder}: {len(unused)} label files have no image and are ignored, first {unused[0]}.")
    return pictures


def _is_list(path):
    return part_of(os.path.splitext(os.path.basename(path))[0]) is not None


def _count(pictures, labels, tally):
    """Photos without labels, and photos that share a label file, as two photos of one name do."""
    alone = [picture for picture, label in zip(pictures, labels, strict=True) if not label]
    tally.note("{photo has|photos have} no label file and {is|are} background", alone)
    owner, shared = {}, []
    for picture, label in zip(pictures, labels, strict=True):
        if label and label in owner:
            shared.append(f"{picture} with {os.path.basename(owner[label])}")
        owner.setdefault(label, picture)
    tally.note(
        "{photo shares its|photos share their} label file with another photo of that name: rename one, or remove it",
        shared,
    )


def _check_format(rows, sizes, source):
    """Refuses boxes that are no centers and sides."""
    found = [(points * [size[1], size[0]], size) for some, size in zip(rows, sizes, strict=True)
             for _, _, points in some if len(points) == 2]  # fmt: skip
    boxes = np.float32([points.ravel() for points, _ in found]).reshape(-1, 4)
    words = formats.misread(boxes, np.float32([size for _, size in found]).reshape(-1, 2), "centers")
    if words:
        faults.report(f"{source}: the boxes {words}. Rows must hold class, center x, center y, width, height.")


def _label(picture):
    """The path of a picture's label file, or None."""
    beside = os.path.splitext(picture)[0] + ".txt"
    return next((path for path in (_partner(picture), beside) if os.path.exists(path)), None)


def _partner(picture):
    """The path of a picture's label file in `labels`, whether or not it exists."""
    before, folder, after = f"{os.sep}{picture}".rpartition(f"{os.sep}images{os.sep}")
    path = f"{before}{os.sep}labels{os.sep}{after}" if folder else f"{os.sep}{picture}"
    return os.path.splitext(path)[0][1:] + ".txt"
