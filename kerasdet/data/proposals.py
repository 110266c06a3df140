"""Files of proposals: for each picture of a data set boxes where objects may be, the best first.

A file is a `.npz` of three arrays without pickled objects: `names` [N], what tells the pictures apart (`name`);
`splits` [N + 1], the rows of picture i being `splits[i]` ... `splits[i + 1]`; and `boxes` [rows, 4] float32, x1 y1 x2
y2 in pixels of the upright original picture. Where they are there, `note` says how they were made, and `checks` [N]
which picture of a name was meant: the bytes of its file, or the CRC-32 of pixels in memory; -1 is not known.
"""

import dataclasses
import os
import zipfile
import zlib

import numpy as np

from kerasdet import boxes as box
from kerasdet.data.dataset import Encoded, clip

KEYS = ("names", "splits", "boxes")


def name(record):
    """What a file calls a picture: its file's name without folders, or "image ID" where it has no file.

    Args:
        record: a `Record`; no window of a picture.
    """
    if isinstance(record.image, np.ndarray):
        return record.name
    return os.path.basename(getattr(record.image, "name", record.image))


def check(record):
    """What tells a picture from others of its name, see the module."""
    if isinstance(record.image, np.ndarray):
        return zlib.crc32(np.ascontiguousarray(record.image))
    return record.image.length if isinstance(record.image, Encoded) else os.path.getsize(record.image)


def by_name(dataset):
    """The records of a data set by their names in a file.

    Raises:
        ValueError: two pictures have one name.
    """
    found = {}
    for record in dataset.records:
        key = name(record)
        if key in found:
            raise ValueError(f"{found[key].name} and {record.name} have one name; proposals go by it: rename one.")
        found[key] = record
    return found


def write(path, found, note="", checks=None):
    """Writes a file, under another name until it is complete.

    Args:
        path: of the file, ending in .npz.
        found: dict of a picture's name to its boxes [R, 4], best first.
        note: how they were made.
        checks: dict of a picture's name to its `check`, as far as they are known.
    """
    numbers = np.array([(checks or {}).get(key, -1) for key in found], np.int64)
    splits = np.cumsum([0, *map(len, found.values())])
    boxes = np.concatenate([np.zeros((0, 4)), *found.values()]).astype(np.float32)
    writing = f"{path}.writing.npz"
    np.savez_compressed(
        writing, names=np.array(list(found), str), splits=splits, boxes=boxes, note=note, checks=numbers
    )
    os.replace(writing, path)


def read(path, note=None):
    """Reads a file.

    Args:
        path: of the file.
        note: None, or how they must have been made.

    Returns:
        Dict of a picture's name to its boxes [R, 4], best first; and of its name to its `check`, where that is known.

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
            checks = file["checks"] if "checks" in file else np.full(len(names), -1)
    except (ValueError, KeyError, OSError, EOFError, AttributeError, TypeError, zipfile.BadZipFile):
        raise ValueError(f"{path} is no file of proposals, a .npz with the arrays {', '.join(KEYS)}.") from None
    if boxes.shape != (splits[-1], 4) or len(splits) != len(names) + 1 or len(checks) != len(names):
        raise ValueError(f"{path}: the arrays {', '.join(KEYS)} do not fit each other.")
    if note not in (None, made):
        raise ValueError(f"{path} was made by {made or 'something else'!r}, not by {note!r}: name another file.")
    found = {str(key): boxes[i:j] for key, i, j in zip(names, splits[:-1], splits[1:], strict=True)}
    return found, {key: int(number) for key, number in zip(found, checks, strict=True) if number >= 0}


def agree(path, picture, known, now):
    """Checks that a file means this picture.

    Args:
        path: of the file of proposals.
        picture: for the message.
        known: what the file says of it, or None.
        now: its `check`.

    Raises:
        ValueError: it was made for another one.
    """
    if known not in (None, now):
        raise ValueError(f"{path} was made for another picture of the name of {picture}; give each data set a file.")


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
    found, checks = read(path)
    for file in files:
        key = os.path.basename(file)
        if key not in found:
            raise ValueError(f"{path} has no proposals for {file}.")
        agree(path, file, checks.get(key), os.path.getsize(file) if key in checks else None)
    return {file: found[os.path.basename(file)] for file in files}


def attach(dataset, path, count=None):
    """Gives each picture of a data set its proposals.

    Args:
        dataset: a `Dataset`.
        path: of a file of proposals.
        count: at most so many a picture, the first; None for all.

    Returns:
        A `Dataset` whose records have proposals inside their pictures.

    Raises:
        FileNotFoundError, ValueError: see `read`; or one line that names the picture that the file does not know, that
            another one is called like, or whose proposals are another picture's or not finite.
    """
    found, checks = read(path)
    records = []
    for key, record in by_name(dataset).items():
        if key not in found:
            missing = sum(name(one) not in found for one in dataset.records)
            raise ValueError(f"{path} has no proposals for {record.name}, one of {missing} such pictures.")
        agree(path, record.name, checks.get(key), check(record) if key in checks else None)
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
