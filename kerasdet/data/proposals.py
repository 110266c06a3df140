"""Files of proposals: for each picture of a data set boxes where objects may be, the best first.

A file is a `.npz` of three arrays without pickled objects: `names` [N], what tells the pictures apart (`name`);
`splits` [N + 1], the rows of picture i being `splits[i]` ... `splits[i + 1]`; and `boxes` [rows, 4] float32, x1 y1 x2
y2 in pixels of the upright original picture. A fourth one, `note`, says how they were made.
"""

import dataclasses
import os
import zipfile

import numpy as np

from kerasdet import boxes as box
from kerasdet.data.dataset import clip

KEYS = ("names", "splits", "boxes")


def name(record):
    """What a file calls a picture: its file's name without folders, or "image ID" where it has no file.

    Args:
        record: a `Record`; no window of a picture.
    """
    if isinstance(record.image, np.ndarray):
        return record.name
    return os.path.basename(getattr(record.image, "name", record.image))


def write(path, found, note=""):
    """Writes a file, under another name until it is complete.

    Args:
        path: of the file, ending in .npz.
        found: dict of a picture's name to its boxes [R, 4], best first.
        note: how they were made.
    """
    splits = np.cumsum([0, *map(len, found.values())])
    boxes = np.concatenate([np.zeros((0, 4)), *found.values()]).astype(np.float32)
    writing = f"{path}.writing.npz"
    np.savez_compressed(writing, names=np.array(list(found), str), splits=splits, boxes=boxes, note=note)
    os.replace(writing, path)


def read(path, note=None):
    """Reads a file.

    Args:
        path: of the file.
        note: None, or how they must have been made.

    Returns:
        Dict of a picture's name to its boxes [R, 4], best first.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no file of proposals, or they were made otherwise.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no proposals there; `tools.make_proposals` writes them.")
    try:
        with np.load(path, allow_pickle=False) as file:
            names, splits, boxes = (file[key] for key in KEYS)
            made = str(file["note"]) if "note" in file else ""
    except (ValueError, KeyError, OSError, EOFError, AttributeError, TypeError, zipfile.BadZipFile):
        raise ValueError(f"{path} is no file of proposals, a .npz with the arrays {', '.join(KEYS)}.") from None
    if boxes.shape != (splits[-1], 4) or len(splits) != len(names) + 1:
        raise ValueError(f"{path}: the arrays {', '.join(KEYS)} do not fit each other.")
    if note not in (None, made):
        raise ValueError(f"{path} was made by {made or 'something else'!r}, not by {note!r}: name another file.")
    return {str(key): boxes[i:j] for key, i, j in zip(names, splits[:-1], splits[1:], strict=True)}


def of_files(path, files):
    """The proposals of image files.

    Args:
        path: of a file of proposals.
        files: paths of images.

    Returns:
        Dict of an image's path to its boxes [R, 4], best first.

    Raises:
        FileNotFoundError, ValueError: see `read`; or one line that names an image that the file does not know.
    """
    found = read(path)
    for file in files:
        if os.path.basename(file) not in found:
            raise ValueError(f"{path} has no proposals for {file}.")
    return {file: found[os.path.basename(file)] for file in files}


def attach(dataset, path, count=2000):
    """Gives each picture of a data set its proposals.

    Args:
        dataset: a `Dataset`.
        path: of a file of proposals.
        count: at most so many a picture, the first.

    Returns:
        A `Dataset` whose records have proposals inside their pictures.

    Raises:
        FileNotFoundError, ValueError: see `read`; or one line that names the picture that the file does not know, that
            another one is called like, or whose proposals are not finite.
    """
    found = read(path)
    records, seen = [], {}
    for record in dataset.records:
        key = name(record)
        if key not in found:
            missing = sum(name(one) not in found for one in dataset.records)
            raise ValueError(f"{path} has no proposals for {record.name}, one of {missing} such pictures.")
        if key in seen:
            raise ValueError(f"{path}: {seen[key]} and {record.name} have one name; proposals go by it: rename one.")
        seen[key] = record.name
        boxes = found[key][:count]
        if not np.isfinite(boxes).all():
            raise ValueError(f"{path}: the proposals of {record.name} are not all finite.")
        records.append(dataclasses.replace(record, proposals=clip(boxes, record.height, record.width)[0]))
    return dataclasses.replace(dataset, records=records)


def recall(dataset, counts=(100, 300, 1000, 2000), overlaps=(0.5, 0.7)):
    """The share of the objects that some proposal covers.

    Args:
        dataset: a `Dataset` with proposals.
        counts: numbers of proposals a picture, the first.
        overlaps: least IoU of a proposal that covers an object.

    Returns:
        [len(counts), len(overlaps)] float64 in 0...1; crowds do not count.
    """
    best = [np.zeros((0, len(counts)))]
    for record in dataset.records:
        wanted = record.boxes[~record.crowds]
        overlap = np.pad(np.asarray(box.iou(wanted, record.proposals)), [(0, 0), (1, 0)])
        best.append(np.maximum.accumulate(overlap, axis=1)[:, np.minimum(counts, overlap.shape[1] - 1)])
    return (np.concatenate(best)[:, :, None] >= np.asarray(overlaps)).mean(0)
