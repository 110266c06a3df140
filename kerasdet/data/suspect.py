"""Looks for suspicious annotations in a data set: format, EXIF, boxes outside, copies, class ids."""

import numpy as np

from kerasdet.data import formats
from kerasdet.data.split import contents

_BACKGROUND = {"background", "__background__", "_background_", "bg"}


def boxes(dataset):
    """Checks the boxes as their file states them.

    Args:
        dataset: a `Dataset`.

    Returns:
        List of faults, each a message that says what to do, and whether nothing can be learned from such boxes.
    """
    faults = []
    turned = [record for record in dataset.records if formats.unturned(record)]
    if turned:
        faults.append(
            f"{dataset.name}: {len(turned)} pictures are turned by their EXIF orientation, but their boxes fit the "
            f"unrotated picture, first {turned[0].image}: annotate the upright picture, or strip the tag."
        )
    ids = {record.id for record in turned}
    others = [record for record in dataset.records if record.id not in ids]
    wrong = formats.misread(*formats.of_records(others), dataset.written)
    if wrong:
        faults.append(f"{dataset.name}: the boxes {wrong}. Tell the reader their format, or convert the file.")
        return faults, not wrong.startswith(formats.SWAPPED)
    outside = [(record, int(formats.outside(record).sum())) for record in others]
    count, stated = sum(boxes for _, boxes in outside), sum(len(formats.stated(record)) for record in others)
    if count > formats.FEW * max(stated, 1):
        first = next(record for record, boxes in outside if boxes)
        faults.append(
            f"{dataset.name}: {count} of {stated} boxes have no area or lie mostly outside their picture, "
            f"first in {first.name}: `--check` lists them; correct them, or see if they belong to other pictures."
        )
    copies = [(record, int(formats.repeats(record).sum())) for record in dataset.records]
    count, kept = sum(boxes for _, boxes in copies), sum(len(record.boxes) for record in dataset.records)
    if count > formats.FEW * max(kept, 1):
        first = next(record for record, boxes in copies if boxes)
        faults.append(
            f"{dataset.name}: {count} of {kept} boxes repeat another of their class, first in {first.name}: an "
            "object that is annotated twice costs precision; remove the copies."
        )
    return faults, False


def classes(dataset):
    """Compares the class ids with the names.

    Args:
        dataset: a `Dataset`.

    Returns:
        [K] int64 objects of each class, without crowds; list of faults; whether nothing can be learned.
    """
    ids = np.concatenate([np.zeros(0, np.int32), *(record.classes[~record.crowds] for record in dataset.records)])
    names = dataset.classes
    invalid = ids[(ids < 0) | (ids >= len(names))]
    counts = np.bincount(ids[(ids >= 0) & (ids < len(names))], minlength=len(names))
    if not len(ids):
        return counts, [f"{dataset.name} has no objects: there is nothing to learn; check its path and split."], True
    if len(invalid):
        line = (
            f"{dataset.name}: {len(invalid)} objects have class ids outside of 0...{len(names) - 1}, first "
            f"{invalid[0]}: ids are off by one, or a name is missing from {some(names)}."
        )
        return counts, [line], True
    faults = []
    if names[0].lower() in _BACKGROUND and counts[0]:
        faults.append(
            f"{dataset.name}: {counts[0]} objects are of class '{names[0]}', which is not an object: ids are off by "
            "one; name only the objects, from id 0."
        )
    return counts, faults, False


def unused(dataset, counts):
    """Notes on classes without objects: a part need not have all of them, and a list may know more than were labeled.

    Args:
        dataset: a `Dataset`.
        counts: what `classes` returned.
    """
    unseen = [i for i, count in enumerate(counts) if not count]
    if not unseen or len(unseen) == len(counts):
        return []
    hint = "; ids may be off by one" if unseen in ([0], [len(counts) - 1]) else ""
    names = some([dataset.classes[i] for i in unseen], 3)
    return [
        f"{dataset.name}: {len(unseen)} of {len(counts)} classes have no object, {names}{hint}: check ids and names."
    ]


def between(train, validation):
    """Compares the parts of a data set.

    Args:
        train, validation: `Dataset`s.

    Returns:
        List of faults, and whether nothing can be measured.
    """
    faults, hopeless = [], False
    if not any((~record.crowds).any() for record in validation.records):
        what = f"all {len(validation)} photos are background" if len(validation) else "it has no photos"
        faults.append(
            f"{validation.name} has no objects, {what}: nothing can be measured on it; label some, or split again."
        )
        hopeless = True
    known = dict(zip(contents(train), train.records, strict=True))
    pairs = [
        (record, known[key])
        for key, record in zip(contents(validation), validation.records, strict=True)
        if key in known
    ]
    if pairs:
        first = " = ".join(record.name for record in pairs[0])
        faults.append(
            f"{len(pairs)} of {len(validation)} validation pictures are in the training set too, first {first}: AP "
            "will be too high; split again."
        )
    return faults, hopeless


def some(names, most=10):
    """The first few names of a list as text, and how many more there are."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
