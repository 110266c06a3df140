"""The thorough check of a data set: decodes every picture, lists all faults, and keeps what is sound."""

import collections
import dataclasses
import json
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from kerasdet.data import coco, formats, suspect
from kerasdet.data.dataset import Dataset, clip


@dataclasses.dataclass
class Findings:
    """The findings of a check.

    Attributes:
        lines: counts, one per line.
        faults: what is wrong, one message each; empty if nothing is.
        notes: what the reader dropped or changed, one message each.
        clean: a `Dataset` without the faulty parts; without any pictures if all boxes are in another format.
    """

    lines: list
    faults: list
    notes: list
    clean: Dataset

    def text(self, most=10):
        """All lines, but only the first `most` faults and notes."""
        parts = [*self.lines]
        for title, lines in (("notes", self.notes), ("faults", self.faults)):
            if lines:
                parts += [f"{title}: {len(lines)}", *(f"  {line}" for line in lines[:most])]
                parts += [f"  ... and {len(lines) - most} more"] if len(lines) > most else []
        return "\n".join([*parts, "something is wrong" if self.faults else "nothing is wrong"])


def check(dataset, refused=(), workers=8):
    """Checks every picture and annotation, with a progress bar.

    Args:
        dataset: a `Dataset`, best read inside `faults.listed`, so that reading continues after a fault.
        refused: the faults that reading found.
        workers: number of threads that decode; each holds one picture at a time.

    Returns:
        `Findings`.
    """
    messages = list(dict.fromkeys(refused))
    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(_fault, dataset.records)
        broken = list(tqdm(results, total=len(dataset), unit="image", desc=dataset.name, mininterval=1))
    messages += [line for line in broken if line]
    counts, class_faults, _ = suspect.classes(dataset)
    box_faults, hopeless = suspect.boxes(dataset)
    dropped = sum(_dropped(record) for record in dataset.records)
    if dropped:
        stated = sum(len(formats.stated(record)) for record in dataset.records)
        messages.append(f"{dataset.name}: {dropped} of {stated} boxes are dropped: they have no area in their picture.")
    messages += box_faults + class_faults
    clean = dataclasses.replace(dataset, records=[]) if hopeless else _without(dataset, broken)
    return Findings(_counts(dataset, counts), messages, list(dataset.notes), clean)


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


def _fault(record):
    """Says what is wrong with a picture, or returns None."""
    try:
        height, width = record.pixels().shape[:2]
    except (ValueError, OSError) as error:
        return str(error)
    if (height, width) != (record.height, record.width):
        return (
            f"{record.image}: is stated as {record.width} x {record.height}, but is {width} x {height}: its boxes "
            "belong to another picture, or the size is wrong."
        )
    return None


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
    return [
        f"{dataset.name}: {len(records)} pictures, {objects.count(0)} of them without objects",
        f"{sum(objects)} boxes, {crowds} of them regions to ignore, at most {max(objects, default=0)} in a picture",
        "classes: " + suspect.some([f"{n} {c}" for n, c in zip(dataset.classes, counts, strict=True)], 20),
        "sizes: " + suspect.some([f"{size} ({count})" for size, count in sizes.most_common()]),
    ]
