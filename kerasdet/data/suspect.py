"""What makes the annotations of a whole data set suspicious: format, EXIF, boxes outside, copies, class ids."""

import numpy as np

from kerasdet.data import formats

_BACKGROUND = {"background", "__background__", "_background_", "bg"}


def boxes(dataset):
    """Looks at the boxes as their file states them.

    Args:
        dataset: a `Dataset`.

    Returns:
        List of faults, a line each with what to do, and whether nothing can be learned from such boxes.
    """
    faults = []
    turned = [record for record in dataset.records if formats.unturned(record)]
    if turned:
        faults.append(
            f"{dataset.name}: {len(turned)} pictures are turned by their EXIF orientation, but their boxes belong to "
            f"the picture before that, first {turned[0].image}: annotate the upright picture, or remove the tag."
        )
    ids = {record.id for record in turned}
    others = [record for record in dataset.records if record.id not in ids]
    wrong = formats.misread(*formats.of_records(others))
    if wrong:
        faults.append(f"{dataset.name}: the boxes {wrong}. Name their format to the reader, or convert the file.")
        return faults, not wrong.startswith(formats.SWAPPED)
    stray = [(record, int(formats.outside(record).sum())) for record in others]
    count, stated = sum(number for _, number in stray), sum(len(formats.stated(record)) for record in others)
    if count > formats.FEW * max(stated, 1):
        first = next(record for record, number in stray if number)
        faults.append(
            f"{dataset.name}: {count} of {stated} boxes have no area or lie by more than half outside their picture, "
            f"first in {first.name}: `--check` lists them; correct them, or see if they belong to other pictures."
        )
    copies = [(record, int(formats.repeats(record).sum())) for record in dataset.records]
    count, kept = sum(number for _, number in copies), sum(len(record.boxes) for record in dataset.records)
    if count > formats.FEW * max(kept, 1):
        first = next(record for record, number in copies if number)
        faults.append(
            f"{dataset.name}: {count} of {kept} boxes repeat another of their class, first in {first.name}: an "
            "object that is annotated twice costs precision; remove the copies."
        )
    return faults, False


def classes(dataset):
    """Looks at the class ids beside the names.

    Args:
        dataset: a `Dataset`.

    Returns:
        [K] int64 objects of each class, crowds left out; list of faults; whether nothing can be learned.
    """
    numbers = np.concatenate([np.zeros(0, np.int32), *(record.classes[~record.crowds] for record in dataset.records)])
    names = dataset.classes
    strange = numbers[(numbers < 0) | (numbers >= len(names))]
    counts = np.bincount(numbers[(numbers >= 0) & (numbers < len(names))], minlength=len(names))
    if not len(numbers):
        return counts, [f"{dataset.name} has no objects: there is nothing to learn; check its path and split."], True
    if len(strange):
        line = (
            f"{dataset.name}: {len(strange)} objects have class ids outside of 0...{len(names) - 1}, first "
            f"{strange[0]}: ids are off by one, or a name is missing from {some(names)}."
        )
        return counts, [line], True
    faults = []
    if names[0].lower() in _BACKGROUND and counts[0]:
        faults.append(
            f"{dataset.name}: {counts[0]} objects are of class '{names[0]}', which is no object: ids are off by one; "
            "name the objects only, from id 0."
        )
    unseen = [i for i, count in enumerate(counts) if not count]
    if unseen:
        hint = "; ids may be off by one" if unseen in ([0], [len(names) - 1]) else ""
        faults.append(
            f"{dataset.name}: {len(unseen)} of {len(names)} classes have no object, {some([names[i] for i in unseen])}"
            f"{hint}: check ids and names, or leave the class out."
        )
    return counts, faults, False


def some(names, most=10):
    """The first few of a list, and how many more there are."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
