"""Shared by all readers: classes get ids, boxes are clipped, regions to ignore become crowds, losses are counted."""

import difflib
import math
import os
import re

import numpy as np

from kerasdet.data import faults, formats
from kerasdet.data.dataset import Record, clip
from kerasdet.data.tally import Tally, counted

# Names that mark a region instead of an object: general use, KITTI, VisDrone.
IGNORED = {"ignore", "ignored", "dontcare", "ignoredregion", "ignoredregions"}
IGNORE = -1

# A rare name that is spelled almost like a frequent one is probably a typo.
_ALIKE, _RARE = 0.8, 20
_FLAGS = {
    **dict.fromkeys(("1", "1.0", "true", "yes"), True),
    **dict.fromkeys(("", "0", "0.0", "false", "no", "none", "unspecified"), False),
}
_SLIPS = 0.2
# What it means if the annotations state another size than the photo has.
_TURNED = "{photo is|photos are} stated in {its|their} size before the EXIF rotation; boxes refer to the upright photo"
_SWAPPED = "{photo is|photos are} stated with width and height swapped; boxes refer to the photo as it is"
_MISSTATED = "{photo is|photos are} stated in a wrong size; boxes refer to the photo as it is, because they fit it"
_OTHER_SIZE = "of another size than {its|their} annotations: use the photos that were annotated, or scale the boxes"
_RESIZED = "{photo is|photos are} " + _OTHER_SIZE


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
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"{source}: a class is named {name!r}; a name is text, with a letter or digit at least.")
        if names.count(name) > 1:
            raise ValueError(f"{source}: two classes have the same name {name!r}.")
    ignored = [name for name in names if re.sub(r"[\W_]", "", name).lower() in IGNORED]
    classes = tuple(name for name in names if name not in ignored)
    if not classes:
        raise ValueError(f"{source} names no classes.")
    numbers = {name: index for index, name in enumerate(classes)}
    notes = [f"{source}: {name!r} is not a class; its boxes become regions to ignore." for name in ignored]
    return classes, {**numbers, **dict.fromkeys(ignored, IGNORE)}, notes


def slips(counts, source):
    """Finds class names that are probably misspelt: rare, and almost the same as a frequent one; or of another case.

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
    spellings = {}
    for name in counts:
        spellings.setdefault(re.sub(r"[\s_-]+", " ", name).strip().casefold(), []).append(name)
    for names in spellings.values():
        if len(names) > 1:
            shown = " and ".join(f"{name!r} ({counts[name]} objects)" for name in names)
            lines.append(f"{source}: the names {shown} are classes of their own: if they are one, give them one name.")
    return lines


def add(
    dataset, image_id, image, size, boxes, numbers, place,
    crowds=None, areas=None, segments=None, keypoints=None, stated_size=None,
):  # fmt: skip
    """Adds a picture and its objects to a data set.

    Boxes are clipped to the picture; a box without area left is dropped and counted. A region to ignore may hide
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
    dataset.tally = dataset.tally or Tally()
    stated = np.asarray(boxes, np.float32).reshape(-1, 4)
    dataset.tally.annotations += len(stated)
    if stated_size not in (None, size):
        kind, name = _resized(image, size, stated_size, stated)
        dataset.tally.note(kind, [name])
    clipped, inside = clip(stated, *size)
    lost = [place(i) for i in np.flatnonzero(~inside)]
    dataset.tally.note("{box is|boxes are} dropped because no part of {it lies in its|them lies in their} photo", lost)
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


def finished(dataset, source, found=None):
    """Completes the counts of a data set, and refuses photos of another size than the one that was annotated.

    Args:
        dataset: a `Dataset` to which all pictures were added.
        source: the file or folder that it comes from.
        found: how many photos lie below the folder, if the reader knows.

    Returns:
        The data set.

    Raises:
        ValueError: boxes were drawn on photos of another size.
    """
    dataset.tally = dataset.tally or Tally()
    dataset.tally.found = found
    kinds = dataset.tally.kinds
    resized, first = kinds.get(_RESIZED, (0, []))
    # Boxes that reach beyond the stated size were drawn on the photo as it is; few of them are slips.
    misstated = kinds.get(_MISSTATED, (0, []))[0]
    if resized and misstated > _SLIPS * (resized + misstated):
        del kinds[_RESIZED]
        kinds[_MISSTATED] = (resized + misstated, first)
    elif resized > formats.FEW * len(dataset):
        del kinds[_RESIZED]
        faults.report(counted(source, f"of {len(dataset)} photos {{is|are}} {_OTHER_SIZE}", resized, first[:1]))
    dataset.notes += dataset.tally.lines(source)
    return dataset


def _resized(image, size, said, boxes):
    """What another stated size means, and the photo with both sizes."""
    what = f"{name_of(image)}, stated as {said[1]} x {said[0]}, but {size[1]} x {size[0]}"
    if said == size[::-1]:
        turned = formats.orientation(image) in (5, 6, 7, 8) if not isinstance(image, np.ndarray) else False
        return _TURNED if turned else _SWAPPED, what
    if (
        len(boxes)
        and (boxes[:, 2:] > np.float32(said[::-1]) + formats.SLACK).any()
        or max(abs(one - other) for one, other in zip(size, said, strict=True)) <= formats.SLACK
    ):
        return _MISSTATED, what
    across, down = size[1] / said[1], size[0] / said[0]
    ratio = f"{across:.3g}" if math.isclose(across, down, rel_tol=0.02) else f"{across:.3g} x {down:.3g}"
    return _RESIZED, f"{what}, {ratio} times as large"


def name_of(image):
    """The name of a record's image in a message: its file without folders."""
    return os.path.basename(image) if isinstance(image, str) else str(image)


def hull(box, degrees):
    """The upright box around one that is rotated about its center.

    Args:
        box: x1, y1, x2, y2 before the rotation, pixels.
        degrees: the rotation, in either direction.

    Returns:
        x1, y1, x2, y2.
    """
    x1, y1, x2, y2 = box
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    width, height = (x2 - x1) * cos + (y2 - y1) * sin, (x2 - x1) * sin + (y2 - y1) * cos
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def is_finite(value):
    """Whether something read from a file is a number that is finite and fits a float32."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e30


def flag(value):
    """Parses a flag such as `difficult` or `iscrowd`, from number or text; None if it is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return _FLAGS.get(str(value).strip().lower())


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
