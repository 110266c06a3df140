"""The thorough check of a data set: decodes every picture, lists all faults, and keeps what is sound."""

import collections
import dataclasses
import functools
import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from kerasdet import images
from kerasdet.data import coco, faults, formats, segments, suspect
from kerasdet.data.dataset import Dataset, clip
from kerasdet.data.parts import parts as read_parts
from kerasdet.data.read import read, splits
from kerasdet.data.split import thumbnail

# A GIF of one pixel.
_DOT = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)


@dataclasses.dataclass
class Findings:
    """The findings of a check.

    Attributes:
        lines: counts, one per line.
        faults: what is wrong, one message each; empty if nothing is.
        notes: what the reader dropped or changed, one message each.
        dataset: the `Dataset` itself.
        broken: what is wrong with each of its pictures, or None.
        hopeless: whether all boxes are in another format.
        looked: dict from the paths of photos to their thumbnails, for `parts`.
        drawn: dict from positions to the pixels of the pictures that were kept.
    """

    lines: list
    faults: list
    notes: list
    dataset: Dataset
    broken: list
    hopeless: bool
    looked: dict
    drawn: dict

    @functools.cached_property
    def clean(self):
        """A `Dataset` without the faulty parts; without any pictures if all boxes are in another format."""
        return dataclasses.replace(self.dataset, records=[]) if self.hopeless else _without(self.dataset, self.broken)

    def text(self, most=10):
        """All lines, but only the first `most` faults and notes."""
        parts = [*self.lines]
        for title, lines in (("notes", self.notes), ("faults", self.faults)):
            if lines:
                parts += [f"{title}: {len(lines)}", *(f"  {line}" for line in lines[:most])]
                parts += [f"  ... and {len(lines) - most} more"] if len(lines) > most else []
        return "\n".join([*parts, "something is wrong" if self.faults else "nothing is wrong"])


class _Look(NamedTuple):
    """What was seen of a photo: its size or why it cannot be decoded, and its thumbnail for the split."""

    size: tuple | None
    fault: str | None
    thumbnail: np.ndarray


def check(dataset, refused=(), workers=8, drawn=0, seen=None):
    """Checks every picture and annotation, with a progress bar. Each picture is decoded once.

    Args:
        dataset: a `Dataset`, best read inside `faults.listed`, so that reading continues after a fault.
        refused: the faults that reading found.
        workers: number of threads that decode; each holds one picture at a time.
        drawn: of how many pictures from all over the data set the pixels are kept, to draw them.
        seen: None, or a dict that is passed from one part of a folder to the next, so that photos that are in several
            parts are decoded once, but for those that are drawn.

    Returns:
        `Findings`.
    """
    seen = {} if seen is None else seen
    messages = list(dict.fromkeys(refused))
    kept = set(np.linspace(0, len(dataset) - 1, drawn).astype(int).tolist()) if len(dataset) and drawn else set()
    # TensorFlow must have begun before threads share it: beginning in several at once crashes it.
    images.decode(_DOT)
    with ThreadPoolExecutor(workers) as pool:
        looks = pool.map(lambda index: _look(dataset.records[index], index in kept, seen), range(len(dataset)))
        looks = list(tqdm(looks, total=len(dataset), unit="image", desc=dataset.name, mininterval=1))
    broken = [_fault(record, look) for record, (look, _) in zip(dataset.records, looks, strict=True)]
    # A file that could not be opened when it was read cannot be decoded either; once is enough.
    known = {line.split(": ", 1)[0] for line in messages}
    messages += [line for line in broken if line and line.split(": ", 1)[0] not in known]
    counts, class_faults, _ = suspect.classes(dataset)
    box_faults, hopeless = suspect.boxes(dataset)
    said = {words.partition("the boxes ")[2].partition(". ")[0] for words in messages} - {""}
    messages += [line for line in box_faults if line.partition("the boxes ")[2].partition(". ")[0] not in said]
    dropped = sum(_dropped(record) for record in dataset.records)
    if dropped > formats.FEW * max(sum(len(formats.stated(record)) for record in dataset.records), 1):
        stated = sum(len(formats.stated(record)) for record in dataset.records)
        messages.append(f"{dataset.name}: {dropped} of {stated} boxes are dropped: they have no area in their picture.")
    messages += class_faults
    return Findings(
        lines=_counts(dataset, counts),
        faults=messages,
        notes=list(dataset.notes) + suspect.unused(dataset, counts),
        dataset=dataset,
        broken=broken,
        hopeless=hopeless,
        looked={
            record.image: look.thumbnail
            for record, (look, _) in zip(dataset.records, looks, strict=True)
            if isinstance(record.image, str)
        },
        drawn={index: pixels for index, (_, pixels) in enumerate(looks) if pixels is not None},
    )


def examined(folder, drawn=0, **options):
    """Checks all parts of a folder, one after the other.

    Args:
        folder: as the path of `data.read`.
        drawn: as in `check`.
        options: further arguments of `data.read`.

    Yields:
        (part, dataset, findings): the name of the part or None, the `Dataset`, and its `Findings`.
    """
    places = {name: options[name] for name in ("format", "annotations") if name in options}
    seen = {}
    for part in splits(folder, **places) or [None]:
        with faults.listed() as refused:
            dataset = read(folder, part, **options)
        yield part, dataset, check(dataset, refused, drawn=drawn, seen=seen)


def parts(folder, looked, known=None, **options):
    """Does what training does first: reads the parts or splits the folder, compares them, and decodes masks.

    Args:
        folder: as the path of `data.read`.
        looked: dict from the paths of photos to their thumbnails.
        known: None, or a dict from names of parts to what reading them without a fault gave.
        options: further arguments of `data.read`.

    Returns:
        Lines that say which parts there are, and faults.
    """
    try:
        train, validation = read_parts(folder, looked=looked, known=known, **options)
    except (ValueError, FileNotFoundError) as error:
        return [], [str(error)]
    own = train.notes + validation.notes
    lines = [
        f"training on {train.name}, {len(train)} photos, validation on {validation.name}, {len(validation)} photos"
    ]
    lines += [f"  {note}" for note in dict.fromkeys(own) if "near-duplicates" in note or "is only in" in note]
    found, _ = suspect.between(train, validation)
    for dataset in (train, validation):
        found += [line for line in map(_masks, dataset.records) if line][:1]
    return lines, found


def _masks(record):
    """Decodes the masks of a record as training does."""
    for number, segment in enumerate(record.segments or (), 1):
        try:
            mask = segments.decode(segment, record.height, record.width)
        except (ValueError, TypeError) as error:
            return f"{record.name}: mask {number} cannot be decoded ({error})."
        if mask.shape != (record.height, record.width):
            return f"{record.name}: mask {number} is of another size than its photo, {mask.shape}."
    return None


def write(dataset, path):
    """Writes a data set as a COCO file.

    Args:
        dataset: a `Dataset` whose pictures are files, such as `Findings.clean`.
        path: path of the JSON file.

    Returns:
        The folder that the file names in it are relative to.

    Raises:
        ValueError: there are no pictures, or they are not files.
    """
    paths = [record.image for record in dataset.records]
    if not paths or not all(isinstance(path, str) for path in paths):
        raise ValueError(f"{dataset.name}: no JSON file, because nothing sound is left or its pictures are not files.")
    root = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    content = coco.content(dataset)
    for image, file in zip(content["images"], paths, strict=True):
        image["file_name"] = os.path.relpath(file, root)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file)
    return root


def _look(record, keep, seen):
    """What is seen of a picture, which is remembered if it is a file, and its pixels if they are kept."""
    path = record.image if isinstance(record.image, str) else None
    if path in seen and not keep:
        return seen[path], None
    try:
        pixels = record.pixels()
    except (ValueError, OSError) as error:
        look, pixels = _Look(None, str(error), np.zeros((8, 9), np.int16)), None
    else:
        look = _Look(pixels.shape[:2], None, thumbnail(pixels))
    if path is not None:
        seen[path] = look
    return look, pixels if keep else None


def _fault(record, look):
    """What is wrong with a picture, or None."""
    if look.fault is not None or look.size == (record.height, record.width):
        return look.fault
    height, width = look.size
    return (
        f"{record.image}: is stated as {record.width} x {record.height}, but is {width} x {height}: its boxes "
        "belong to another picture, or the size is wrong."
    )


def _dropped(record):
    """How many of the stated boxes the reader dropped because they have no area in their picture."""
    return int(np.sum(~clip(formats.stated(record), record.height, record.width)[1]))


def _without(dataset, broken):
    """The data set without broken pictures, pictures whose boxes are not turned, and copies of boxes."""
    records = []
    for record, fault in zip(dataset.records, broken, strict=True):
        if not fault and not formats.unturned(record):
            keep = ~formats.repeats(record) & (record.classes >= 0) & (record.classes < len(dataset.classes))
            records.append(_only(record, keep))
    return dataclasses.replace(dataset, records=records, notes=[])


def _only(record, keep):
    parts = {name: getattr(record, name)[keep] for name in ("boxes", "classes", "crowds", "areas")}
    if record.segments is not None:
        parts["segments"] = [segment for segment, kept in zip(record.segments, keep, strict=True) if kept]
    if record.keypoints is not None:
        parts["keypoints"] = record.keypoints[keep]
    return dataclasses.replace(record, **parts, stated=None)


def _counts(dataset, counts):
    records = dataset.records
    sizes = collections.Counter(f"{record.width} x {record.height}" for record in records)
    objects = [len(record.boxes) for record in records]
    crowds = sum(int(record.crowds.sum()) for record in records)
    tally = dataset.tally
    kept = f"{tally.annotations} annotations, " if tally else ""
    most = max(objects, default=0)
    disk = f"{tally.found} photos on disk, " if tally and tally.found is not None else ""
    return [
        f"{dataset.name}: {disk}{len(records)} pictures, {objects.count(0)} of them without objects",
        f"{kept}{sum(objects)} boxes, {crowds} of them regions to ignore, at most {most} in a picture",
        "classes: " + suspect.some([f"{n} {c}" for n, c in zip(dataset.classes, counts, strict=True)], 20),
        "sizes: " + suspect.some([f"{size} ({count})" for size, count in sizes.most_common()]),
    ]
