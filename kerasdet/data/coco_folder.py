"""Reads folders of COCO files: which file is which part, where its photos lie, and lists that split a lone file."""

import dataclasses
import os
import re

from kerasdet.data import coco, files
from kerasdet.data.folder import Folder, part_in, part_of, stem


def read(folder, split, images=None, **options):
    """Reads a part of a folder of COCO files.

    Args:
        folder: path of the folder.
        split: the beginning of the part's name; the name of a list if the folder has one file.
        images: folder of the photos; by default they are looked for.
        options: further ones of `coco.read`.
    """
    found = _jsons(folder)
    if list(found) == [None]:
        return _listed(folder, found[None], split, images, **options)
    path = file_of(folder, split, found)
    name = next(name for name, file in found.items() if os.path.join(folder, file) == path)
    beside = os.path.dirname(path)
    rooms = [os.path.join(folder, *parts) for parts in (("images", name), (name,), ("images",), ("data",))]
    # Photos lie beside an exporter's file, else in the first of these that exists, else anywhere below the folder.
    room = beside if name and os.path.basename(beside) == name else next(filter(os.path.isdir, rooms), folder)
    if images is None and not Folder(folder).photos:
        raise FileNotFoundError(f"{folder} has no image folder for {name}: none of {', '.join(rooms[:3])} exists.")
    return coco.read(path, os.fspath(images or room), folder=os.fspath(images or folder), **options)


def splits(folder):
    """Names of a folder's parts."""
    names = list(_jsons(folder))
    return [_without_year(name, names) for name in names] if names != [None] else _lists(folder)


def file_of(folder, split, found):
    """The one file of a part; `found` is a dict from the parts' names to files."""
    names = [name for name in found if name is not None]
    matches = [name for name in found if name == split] or [name for name in names if name.startswith(split or "")]
    if len(matches) != 1:
        raise ValueError(f"{folder} has the splits {names}; split={split!r} does not choose one of them.")
    return os.path.join(folder, found[matches[0]])


def _jsons(folder):
    """The COCO files of a folder by the names of their parts; None is the only file's name if it names no part."""
    tree = Folder(folder)
    every = tree.ending(".json")
    usual = [name for name in every if os.path.basename(name).lower().startswith("instances_")]
    beside = [name for name in every if os.path.basename(name) == "_annotations.coco.json"]
    if usual:
        return {stem(name)[len("instances_") :]: name for name in usual}
    if beside:
        return (
            {os.path.dirname(name): name for name in beside}
            if beside != ["_annotations.coco.json"]
            else {None: beside[0]}
        )
    held = [name for name in every if coco.holds(tree.full(name))]
    parts = {(stem(name) if part_of(stem(name)) else part_in(name)): name for name in held}
    if len(parts) == len(held) and None not in parts:
        return parts
    named = {part: name for part, name in parts.items() if part is not None}
    if len(held) > 1 and len(named) > 1 and len(named) == len(held) - 1:
        return named  # the one without a part is the whole
    found = held or every
    if len(found) > 1:
        raise ValueError(
            f"{folder} holds several JSON files, {', '.join(found[:5])}: give one of them, with images=FOLDER."
        )
    return {None: found[0]}


def _without_year(name, names):
    """A split's name without its year, if `read` finds it by that."""
    short = re.sub(r"\d+$", "", name)
    return short if sum(other.startswith(short) for other in names) == 1 else name


def _lists(folder):
    """Names of the text files of a folder that list photos."""
    tree = Folder(folder)
    known = {name for photo in tree.photos for name in (os.path.basename(photo), stem(photo))}
    found = []
    for name in tree.ending(".txt"):
        if os.sep not in name:
            lines = [line.strip() for line in files.text(tree.full(name)).splitlines() if line.strip()]
            if lines and 2 * sum(os.path.basename(line.replace("\\", "/")) in known for line in lines) >= len(lines):
                found.append(stem(name))
    return sorted(found)


def _listed(folder, file, split, images=None, **options):
    """The images of a folder's one JSON file that the list of a split names."""
    inner = os.path.join(folder, "images")
    near = os.fspath(images or (inner if os.path.isdir(inner) else folder))
    dataset = coco.read(os.path.join(folder, file), near, folder=os.fspath(images or folder), **options)
    if split is None:
        return dataset
    path = os.path.join(folder, f"{split}.txt")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{folder} has no split '{split}': there is no {path}; the lists are {_lists(folder)}.")
    record_of = {os.path.relpath(record.image, near): record for record in dataset.records}
    record_of |= {os.path.basename(name): record for name, record in record_of.items()}
    record_of |= {os.path.splitext(name)[0]: record for name, record in record_of.items()}
    wanted = [line.strip() for line in files.text(path).splitlines() if line.strip()]
    missing = [name for name in wanted if name not in record_of]
    if missing:
        raise ValueError(
            f"{path}: {len(missing)} of {len(wanted)} names are not images of {file}, first {missing[0]!r}."
        )
    name = f"{os.path.basename(os.path.abspath(folder))} {split}"
    return dataclasses.replace(dataset, name=name, records=[record_of[name] for name in wanted], tally=None)
