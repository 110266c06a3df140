"""Reads a folder as two data sets, for training and for validation."""

import dataclasses
import os

import numpy as np

from kerasdet.data import faults
from kerasdet.data.folder import part_of
from kerasdet.data.read import read, splits
from kerasdet.data.split import split

# Names of the parts in the formats that have them, best first.
TRAIN, VALIDATION = ("train", "training", "trainval"), ("val", "valid", "validation")


def parts(folder, share=0.2, seed=0, listed=None, looked=None, known=None, **options):
    """Reads a folder in two parts: its own splits if it has both, else those of a list, else a new split.

    A part is known by the words train, val, valid, validation or test in its name, in any case. What is for testing is
    never read. A folder whose only part is for validation, or whose parts are the same photos, is split.

    Args:
        folder: as the path of `read`.
        share: share of the images for validation if neither the folder nor a list defines the parts, 0...1.
        seed: seed of that split, see `split`.
        listed: None, or what `names` returned for the two parts of an earlier split.
        looked: None, or a dict from the paths of photos to their thumbnails, if they are decoded already.
        known: None, or a dict from names of splits to their `Dataset`s, if they are read already.
        options: further arguments of `read`, such as `proposals`.

    Returns:
        (train, validation), two `Dataset`s of the same classes.

    Raises:
        ValueError, FileNotFoundError: as in `read`; or a listed image is missing; or the folder only has parts that are
            not for training.
    """
    known = known or {}

    def part(name):
        return known[name] if name in known else read(folder, name, **options)

    train, validation = own(folder, **_places(options))
    if train and validation:
        found, other = part(train), part(validation)
        if names(found, folder) != names(other, folder):
            return found, aligned(other, found)
        same = f"{folder}: its parts {train!r} and {validation!r} are the same {len(found)} photos, which are split."
        dataset = dataclasses.replace(found, notes=[*found.notes, same])
    else:
        dataset = part(train)
    if listed is None:
        images = [record.image if isinstance(record.image, str) else None for record in dataset.records]
        whole = looked is not None and all(image in looked for image in images)
        return split(dataset, share, seed, [looked[image] for image in images] if whole else None)
    return _again(dataset, folder, listed)


def own(folder, **places):
    """Names of a folder's own parts for training and validation, None where it has none.

    Args:
        folder: as the path of `read`.
        places: `format` and `annotations`, as in `read`.

    Returns:
        (train, validation).

    Raises:
        ValueError: the folder only has parts that are not for training.
    """
    available = splits(folder, **places)
    train, validation = _called(available, TRAIN), _called(available, VALIDATION)
    if train is None and any(map(part_of, available)):
        others = [name for name in available if part_of(name) is None] or [
            name for name in available if name == validation
        ]
        if len(others) != 1 or (validation in others and len(available) > 1):
            raise ValueError(
                f"{folder} has the parts {available}, and it is unclear which to train on: call it 'train'."
            )
        train = others[0]
    return train, validation if validation != train else None


def named(folder, word, **places):
    """The name of a folder's own part that a word means, such as "test" or "validation".

    Raises:
        ValueError: there is none.
    """
    available = splits(folder, **places)
    name = next((name for name in available if name == word), None) or _called(available, (word,))
    if name is None:
        raise ValueError(f"{folder} has no part {word!r}; its parts are {available}.")
    return name


def aligned(dataset, other):
    """A data set with its classes in the order of another one's, as the model numbers them.

    Args:
        dataset, other: `Dataset`s whose classes may differ in order and number.

    Returns:
        The data set, with the classes of the other one.

    Raises:
        ValueError: it has objects of a class that the other one lacks.
    """
    if dataset.classes == other.classes:
        return dataset
    number_of = {name: number for number, name in enumerate(other.classes)}
    numbers = np.array([number_of.get(name, -1) for name in dataset.classes], np.int32)
    for number, name in enumerate(dataset.classes):
        count = sum(int((record.classes == number).sum()) for record in dataset.records)
        if numbers[number] < 0 and count:
            faults.report(
                f"{dataset.name}: {count} objects are of class {name!r}, which {other.name} lacks: its classes "
                f"are {other.classes}."
            )
    ids = dict(zip(dataset.classes, dataset.category_ids, strict=True))
    free = iter(range(max(ids.values()) + 1, max(ids.values()) + 2 + len(other.classes)))
    records = [
        dataclasses.replace(record, classes=numbers[record.classes].astype(np.int32)) for record in dataset.records
    ]
    category_ids = [ids[name] if name in ids else next(free) for name in other.classes]
    return dataclasses.replace(dataset, classes=other.classes, category_ids=category_ids, records=records)


def names(dataset, folder):
    """Unique names of the images in a folder's data set: their paths relative to the folder, or their ids.

    Args:
        dataset: a `Dataset`.
        folder: the folder that it was read from.

    Returns:
        List of strings.
    """
    files = (r.image if isinstance(r.image, str) else None for r in dataset.records)
    return [os.path.relpath(f, folder) if f else str(r.id) for f, r in zip(files, dataset.records, strict=True)]


def _places(options):
    return {name: options[name] for name in ("format", "annotations") if name in options}


def _called(available, words):
    """The part that one of some words names: exactly, or else as one of the words in its name."""
    lower = {name.lower(): name for name in available}
    exact = next((lower[word] for word in words if word in lower), None)
    part = part_of(words[0])
    return exact or next((name for name in available if part and part_of(name) == part), None)


def _again(dataset, folder, listed):
    """The two parts of an earlier split; photos that came since stay out."""
    records = dict(zip(names(dataset, folder), dataset.records, strict=True))
    wanted = [name for part in listed for name in part]
    missing = [name for name in wanted if name not in records]
    if missing:
        raise FileNotFoundError(f"{folder}: {len(missing)} of {len(wanted)} images are gone, first {missing[0]}.")
    new = [name for name in records if name not in set(wanted)]
    notes = dataset.notes
    if new:
        notes = notes + [
            f"{folder}: {len(new)} photos came after this run was begun and stay out of it, first {new[0]}: to train "
            "on them, start a new run with --init_from this one."
        ]
    return tuple(dataclasses.replace(dataset, records=[records[name] for name in part], notes=notes) for part in listed)
