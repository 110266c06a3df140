"""Reads a folder as two data sets, for training and for validation."""

import dataclasses
import os

from kerasdet.data.read import read, splits
from kerasdet.data.split import split

# Names of the splits in the formats that have them.
TRAIN, VALIDATION = ("train", "trainval"), ("val", "valid", "validation")


def parts(folder, share=0.2, seed=0, listed=None, **options):
    """Reads a folder in two parts: its own splits if it has both, else those of a list, else a new split.

    Args:
        folder: as the path of `read`.
        share: share of the images for validation if neither the folder nor a list defines the parts, 0...1.
        seed: seed of that split, see `split`.
        listed: None, or what `names` returned for the two parts of an earlier split.
        options: further arguments of `read`, such as `proposals`.

    Returns:
        (train, validation), two `Dataset`s.

    Raises:
        ValueError, FileNotFoundError: as in `read`; or a listed image is missing.
    """
    available = splits(folder)
    train = next((name for name in TRAIN if name in available), None)
    validation = next((name for name in VALIDATION if name in available), None)
    if train and validation:
        return read(folder, train, **options), read(folder, validation, **options)
    dataset = read(folder, train, **options)
    if listed is None:
        return split(dataset, share, seed)
    return tuple(_chosen(dataset, folder, wanted) for wanted in listed)


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


def _chosen(dataset, folder, wanted):
    records = dict(zip(names(dataset, folder), dataset.records, strict=True))
    missing = [name for name in wanted if name not in records]
    if missing:
        raise FileNotFoundError(f"{folder}: {len(missing)} of {len(wanted)} images are gone, first {missing[0]}.")
    return dataclasses.replace(dataset, records=[records[name] for name in wanted])
