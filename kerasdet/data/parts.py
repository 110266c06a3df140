"""One folder, two data sets: what to train on and what to validate on."""

import dataclasses
import os

from kerasdet.data.read import read, splits
from kerasdet.data.split import split

# What the parts are called in the formats that name them.
TRAIN, VALIDATION = ("train", "trainval"), ("val", "valid", "validation")


def parts(folder, share=0.2, seed=0, listed=None, **options):
    """Reads a folder in two parts: its own, if it names both, else those of a list, else a split.

    Args:
        folder: as the path of `read`.
        share: of the images that validate where neither the folder nor a list says it, 0...1.
        seed: of that split, see `split`.
        listed: None, or what `names` gave for the two parts of an earlier split.
        options: further arguments of `read`, such as `proposals`.

    Returns:
        (train, validation), two `Dataset`s.

    Raises:
        ValueError, FileNotFoundError: of `read`; or a listed image is gone.
    """
    known = splits(folder)
    train = next((name for name in TRAIN if name in known), None)
    validation = next((name for name in VALIDATION if name in known), None)
    if train and validation:
        return read(folder, train, **options), read(folder, validation, **options)
    whole = read(folder, train, **options)
    if listed is None:
        return split(whole, share, seed)
    return tuple(_chosen(whole, folder, wanted) for wanted in listed)


def names(dataset, folder):
    """What tells the images of a folder's data set apart: their paths from the folder on, or their ids.

    Args:
        dataset: a `Dataset`.
        folder: where it was read from.

    Returns:
        List of strings.
    """
    files = (r.image if isinstance(r.image, str) else None for r in dataset.records)
    return [os.path.relpath(f, folder) if f else str(r.id) for f, r in zip(files, dataset.records, strict=True)]


def _chosen(dataset, folder, wanted):
    records = dict(zip(names(dataset, folder), dataset.records, strict=True))
    missing = [one for one in wanted if one not in records]
    if missing:
        raise FileNotFoundError(f"{folder}: {len(missing)} of {len(wanted)} images are gone, first {missing[0]}.")
    return dataclasses.replace(dataset, records=[records[one] for one in wanted])
