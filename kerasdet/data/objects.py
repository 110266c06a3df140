"""Shared by all readers: classes get ids, boxes are clipped, regions to ignore become crowds, losses are noted."""

import difflib
import re

import numpy as np

from kerasdet.data import faults
from kerasdet.data.dataset import Record, clip

# Names that mark a region instead of an object: general use, KITTI, VisDrone.
IGNORED = {"ignore", "ignored", "dontcare", "ignoredregion", "ignoredregions"}
IGNORE = -1

# A rare name that is spelled almost like a frequent one is probably a typo.
_ALIKE, _RARE = 0.8, 20


def numbered(names, source):
    """Numbers the classes of a data set.

    Args:
        names: class names in their order.
        source: the file or folder that defines them, for messages.

    Returns:
        classes: tuple of the names that are classes.
        numbers: dict from every name to its class id 0...K-1, or `IGNORE`.
        notes: a message for each name that is not a class.

    Raises:
        ValueError: a name occurs twice, or no class is left.
    """
    names = list(names)
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{source}: two classes have the same name {name!r}.")
    ignored = [name for name in names if re.sub(r"[\W_]", "", str(name)).lower() in IGNORED]
    classes = tuple(name for name in names if name not in ignored)
    if not classes:
        raise ValueError(f"{source} names no classes.")
    numbers = {name: index for index, name in enumerate(classes)}
    notes = [f"{source}: {name!r} is not a class; its boxes become regions to ignore." for name in ignored]
    return classes, {**numbers, **dict.fromkeys(ignored, IGNORE)}, notes


def slips(counts, source):
    """Finds class names that are probably misspelt: rare, and almost the same as a frequent one.

    Args:
        counts: dict of class name to its number of objects.
        source: the file or folder that defines them, named in messages.

    Returns:
        List of messages.
    """
    lines = []
    for name, count in counts.items():
        frequent = [other for other in counts if counts[other] >= _RARE * count]
        alike = difflib.get_close_matches(name.lower(), [other.lower() for other in frequent], 1, _ALIKE)
        if alike:
            other = next(other for other in frequent if other.lower() == alike[0])
            lines.append(f"{source}: class {name!r} has {count} of {counts[other]} {other!r}: is it misspelt?")
    return lines


def add(
    dataset, image_id, image, size, boxes, numbers, place,
    crowds=None, areas=None, segments=None, keypoints=None, stated_size=None,
):  # fmt: skip
    """Adds a picture and its objects to a data set.

    Boxes are clipped to the picture; a box without area left is dropped, with a note. A region to ignore may hide
    objects of any class, so it becomes a crowd of every class.

    Args:
        dataset: the `Dataset`.
        image_id, image: as in `Record`.
        size: (height, width) of the upright picture, pixels.
        boxes: N boxes x1 y1 x2 y2, pixels, anywhere.
        numbers: N class ids, or `IGNORE`.
        place: function from an object's index 0...N-1 to the words that name it in a note.
        crowds: N bool; by default none.
        areas: N numbers, square pixels, or None for the box's area.
        segments: N COCO segmentations, or None.
        keypoints: [N, P, 3], or None.
        stated_size: (height, width) that the annotations state, or None.
    """
    if stated_size not in (None, size):
        dataset.notes.append(
            f"image {image_id} ({image}) is stated as {stated_size[1]} x {stated_size[0]}, but is {size[1]} x "
            f"{size[0]} after its EXIF rotation, if any; its boxes are taken to refer to the latter."
        )
    stated = np.asarray(boxes, np.float32).reshape(-1, 4)
    clipped, inside = clip(stated, *size)
    for i in np.flatnonzero(~inside):
        corners = ", ".join(f"{value:g}" for value in stated[i])
        dataset.notes.append(f"{place(i)} is dropped: no part of {corners} lies inside {size[1]} x {size[0]} pixels.")
    numbers = np.asarray(numbers, np.int32).reshape(-1)
    ignored = numbers == IGNORE
    every_class = range(len(dataset.classes))
    pairs = [(i, number) for i in np.flatnonzero(inside) for number in (every_class if ignored[i] else (numbers[i],))]
    rows, classes = np.array(pairs, np.int32).reshape(-1, 2).T
    boxes = clipped[rows]
    box_areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    crowds = ignored if crowds is None else ignored | np.asarray(crowds, bool).reshape(-1)
    areas = [None] * len(stated) if areas is None else areas
    dataset.records.append(
        Record(
            id=image_id,
            image=image,
            height=size[0],
            width=size[1],
            boxes=boxes,
            classes=np.ascontiguousarray(classes),
            crowds=crowds[rows],
            areas=np.float32([area if areas[i] is None else areas[i] for i, area in zip(rows, box_areas, strict=True)]),
            segments=None if segments is None else [segments[i] for i in rows],
            keypoints=None if keypoints is None else np.asarray(keypoints, np.float32)[rows],
            stated=stated,
        )
    )


def number(text, place):
    """Parses a finite number; reports a fault and returns NaN if the text is not one."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = np.nan
    if not np.isfinite(value):
        faults.report(f"{place} needs a finite number, but holds {text!r}.")
        return np.nan
    return value
