"""Reads data sets of all formats: `read` looks at a path and calls the reader that understands it."""

import dataclasses
import glob
import os
import re

from kerasdet.data import catalog, coco, files, records, shapes, table, voc, yolo
from kerasdet.data import proposals as proposed

_UNDERSTOOD = (
    'the word "shapes"; tfds:NAME (TensorFlow Datasets); a COCO .json file, with images=FOLDER; a folder with '
    "annotations/instances_SPLIT.json or SPLIT/_annotations.coco.json, or with one .json file, images/ and lists "
    "SPLIT.txt (COCO); a folder with XML files in Annotations/ or in itself (Pascal VOC); a data.yaml, or a folder "
    'with one or with images/, labels/ and classes.txt (YOLO); a .csv table, with format="xyxy", "xywh" or "cxcywh"; a '
    "folder with .tfrecord shards"
)
_NAMES = {
    shapes: "the built-in shapes",
    catalog: "TensorFlow Datasets",
    coco: "COCO",
    records: "TFRecord",
    table: "CSV",
    voc: "Pascal VOC",
    yolo: "YOLO",
}
# The name that annotation services give to the file next to the images of a split.
_BESIDE_IMAGES = "_annotations.coco.json"


def read(path, split=None, proposals=None, max_proposals=2000, **options):
    """Reads a data set of any format.

    Args:
        path: "shapes", "tfds:NAME", a COCO json file, a data.yaml, a CSV table, or a folder of COCO, Pascal VOC, YOLO
            or TFRecord shards.
        split: the part to read. Shapes: "train" or "val". TFDS: its own syntax ("train[:10%]"). VOC: the name of a
            list. YOLO: a key of data.yaml. Shards: a folder. COCO: the beginning of what follows `instances_`, so "val"
            finds `annotations/instances_val2017.json`, whose images lie in `val2017/`, `images/val2017/` or `images/`;
            in a folder with one JSON file, the list `SPLIT.txt` of names of its images, or None for all. A JSON file
            and a table have no splits.
        proposals: None, or the path of a file of `data.proposals` for all pictures.
        max_proposals: the best proposals to keep per picture.
        **options: options of the reader: `images` and `keypoints` of COCO; `classes` of VOC, YOLO, tables and shards;
            `difficult` of VOC; `format`, `relative`, `images` and `columns` of tables; `data_dir` of TFDS; `verify` of
            shards; `seed` of the shapes.

    Returns:
        `Dataset`.

    Raises:
        ValueError: the path holds nothing that is understood, or the reader refuses the data set.
        FileNotFoundError: files are missing.
    """
    dataset = _read(os.fspath(path), split, **options)
    return dataset if proposals is None else proposed.attach(dataset, proposals, max_proposals)


def _read(path, split, **options):
    reader = _reader(path)
    if "difficult" in options and reader is not voc:
        raise ValueError(f"{path} is read as {_NAMES[reader]}: difficult={options['difficult']!r} is for Pascal VOC.")
    if reader is shapes:
        return shapes.read(split, **options)
    if reader is catalog:
        return catalog.read(path.removeprefix("tfds:"), split, **options)
    if reader is table:
        if split is not None:
            raise ValueError(f"{path} is one table; give no split.")
        return table.read(path, **options)
    if reader is not coco:
        return reader.read(path, split, **options)
    if os.path.isfile(path):
        if split is not None or "images" not in options:
            raise ValueError(f"{path} is one split of a COCO data set: give images=FOLDER with it, and no split.")
        return coco.read(path, **options)
    if not _coco_splits(path):
        return _listed(path, split, **options)
    name = _coco_split(path, split)
    annotations, images = _coco_files(path, name)
    return coco.read(annotations, options.pop("images", None) or images or _coco_images(path, name), **options)


def splits(path):
    """Names of a data set's own splits.

    Args:
        path: as in `read`.

    Returns:
        List of the values that `read` takes as `split`; empty if the data set has no splits.

    Raises:
        ValueError, FileNotFoundError: as in `read`.
    """
    path = os.fspath(path)
    reader = _reader(path)
    if reader is shapes:
        return list(shapes.COUNTS)
    if reader is catalog:
        return catalog.splits(path.removeprefix("tfds:"))
    if reader is coco and os.path.isdir(path):
        names = _coco_splits(path)
        return [_without_year(name, names) for name in names] or _lists(path)
    return reader.splits(path) if reader in (voc, yolo, records) else []


def recognized(path):
    """The name of a data set's format, such as "Pascal VOC"; errors as in `read`."""
    return _NAMES[_reader(os.fspath(path))]


def _reader(path):
    """The module that reads the data set at a path."""
    if path == "shapes":
        return shapes
    if path.startswith("tfds:"):
        return catalog
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path} does not exist. Supported: {_UNDERSTOOD}.")
    ending = os.path.splitext(path)[1].lower()
    by_ending = {".json": coco, ".yaml": yolo, ".yml": yolo, ".csv": table, ".tsv": table}
    if os.path.isfile(path) and ending in by_ending:
        return by_ending[ending]
    # The order matters: a specific sign comes before one that other formats' folders may show as well.
    signs = (
        (voc, ("Annotations/*.xml", "*.xml", "VOC*/Annotations", "VOCdevkit/VOC*/Annotations")),
        (coco, ("annotations/instances_*.json", f"*/{_BESIDE_IMAGES}", _BESIDE_IMAGES)),
        (yolo, (*yolo.YAMLS, "labels", "*/labels", "classes.txt")),
        (records, (records.MANIFEST, f"*/{records.MANIFEST}", "*.tfrecord*", "*.record", "*.record-*")),
        (coco, ("*.json",)),
    )
    for reader, patterns in signs:
        if any(glob.glob(pattern, root_dir=path) for pattern in patterns):
            return reader
    raise ValueError(f"{path} holds no data set of a known format. Supported: {_UNDERSTOOD}.")


def _coco_splits(folder):
    """What follows `instances_`, or the folders that hold images and their file; "" is the folder itself."""
    found = sorted(glob.glob("instances_*.json", root_dir=os.path.join(folder, "annotations")))
    names = [name.removeprefix("instances_").removesuffix(".json") for name in found]
    beside = sorted(glob.glob(f"*/{_BESIDE_IMAGES}", root_dir=folder) + glob.glob(_BESIDE_IMAGES, root_dir=folder))
    return names or [os.path.dirname(name) for name in beside]


def _without_year(name, names):
    """A split's name without its year, if `read` finds it by that."""
    short = re.sub(r"\d+$", "", name)
    return short if sum(other.startswith(short) for other in names) == 1 else name


def _coco_split(folder, split):
    """What follows `instances_` in the one file of the split."""
    names = _coco_splits(folder)
    matches = [name for name in names if name == split] or [name for name in names if name.startswith(split or "")]
    if len(matches) != 1:
        raise ValueError(f"{folder} has the splits {names}; split={split!r} does not choose one of them.")
    return matches[0]


def _coco_files(folder, name):
    """The annotation file of a split, and the folder of its images if that is certain."""
    usual = os.path.join(folder, "annotations", f"instances_{name}.json")
    beside = os.path.join(folder, name)
    return (usual, None) if os.path.exists(usual) else (os.path.join(beside, _BESIDE_IMAGES), beside)


def _coco_images(folder, name):
    candidates = [os.path.join(folder, *parts) for parts in ((name,), ("images", name), ("images",))]
    for candidate in candidates:
        if os.path.isdir(candidate):
            return candidate
    raise FileNotFoundError(f"{folder} has no image folder for {name}: none of {', '.join(candidates)} exists.")


def _lists(folder):
    return sorted(name.removesuffix(".txt") for name in glob.glob("*.txt", root_dir=folder))


def _listed(folder, split, images=None, **options):
    """The images of a folder's one JSON file that the list of a split names."""
    found = sorted(glob.glob("*.json", root_dir=folder))
    if len(found) > 1:
        raise ValueError(
            f"{folder} holds several JSON files, {', '.join(found)}: give one of them, with images=FOLDER."
        )
    inner = os.path.join(folder, "images")
    images = os.fspath(images or (inner if os.path.isdir(inner) else folder))
    dataset = coco.read(os.path.join(folder, found[0]), images, **options)
    if split is None:
        return dataset
    path = os.path.join(folder, f"{split}.txt")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{folder} has no split '{split}': there is no {path}; the lists are {_lists(folder)}.")
    record_of = {os.path.relpath(record.image, images): record for record in dataset.records}
    record_of |= {os.path.splitext(name)[0]: record for name, record in record_of.items()}
    wanted = [line.strip() for line in files.text(path).splitlines() if line.strip()]
    missing = [name for name in wanted if name not in record_of]
    if missing:
        raise ValueError(
            f"{path}: {len(missing)} of {len(wanted)} names are not images of {found[0]}, first {missing[0]!r}."
        )
    name = f"{os.path.basename(os.path.abspath(folder))} {split}"
    return dataclasses.replace(dataset, name=name, records=[record_of[name] for name in wanted])
