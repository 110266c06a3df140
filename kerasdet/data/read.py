"""One door for all formats: `read` looks at a path and calls the reader that understands it."""

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
    shapes: "the embedded shapes",
    catalog: "TensorFlow Datasets",
    coco: "COCO",
    records: "TFRecord",
    table: "CSV",
    voc: "Pascal VOC",
    yolo: "YOLO",
}
# What annotation services call the file that lies beside the images of a split.
_BESIDE = "_annotations.coco.json"


def read(path, split=None, proposals=None, max_proposals=2000, **options):
    """Reads a data set, whatever its format.

    Args:
        path: "shapes", "tfds:NAME", a COCO json file, a data.yaml, a CSV table, or a folder of COCO, Pascal VOC, YOLO
            or TFRecord shards.
        split: which part of it: "train" or "val" of the shapes, TFDS's own ("train[:10%]"), the list's name in a VOC
            folder, the key in a data.yaml, the folder of shards, and in a COCO folder the beginning of what follows
            `instances_`: "val" finds `annotations/instances_val2017.json`, whose images lie in `val2017/`,
            `images/val2017/` or `images/`. Where the folder holds one json file, the list `SPLIT.txt` of names of its
            images; None takes all. A json file and a table have none.
        proposals: None, or the path of a file of `data.proposals` for all its pictures.
        max_proposals: at most so many of them a picture, the best.
        **options: of the reader: `images` and `keypoints` of COCO; `classes` of VOC, YOLO, tables and shards;
            `difficult` of VOC; `format`, `relative`, `images` and `columns` of tables; `data_dir` of TFDS; `verify` of
            shards; `seed` of the shapes.

    Returns:
        `Dataset`.

    Raises:
        ValueError: one line that names the path and what would be understood, or the reader's own.
        FileNotFoundError: one line, for missing files.
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
    """Names of the parts that a data set has of its own.

    Args:
        path: as in `read`.

    Returns:
        List of what `read` takes as split; empty where it takes None.

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
        return [_year_less(name, names) for name in names] or _lists(path)
    return reader.splits(path) if reader in (voc, yolo, records) else []


def recognized(path):
    """The name of the format that lies at a path, such as "Pascal VOC"; errors as in `read`."""
    return _NAMES[_reader(os.fspath(path))]


def _reader(path):
    """The module that reads what lies at a path."""
    if path == "shapes":
        return shapes
    if path.startswith("tfds:"):
        return catalog
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path} does not exist. Understood are: {_UNDERSTOOD}.")
    ending = os.path.splitext(path)[1].lower()
    by_ending = {".json": coco, ".yaml": yolo, ".yml": yolo, ".csv": table, ".tsv": table}
    if os.path.isfile(path) and ending in by_ending:
        return by_ending[ending]
    signs = (
        (voc, ("Annotations/*.xml", "*.xml", "VOC*/Annotations", "VOCdevkit/VOC*/Annotations")),
        (coco, ("annotations/instances_*.json", f"*/{_BESIDE}", _BESIDE)),
        (yolo, (*yolo.YAMLS, "labels", "*/labels", "classes.txt")),
        (records, (records.MANIFEST, f"*/{records.MANIFEST}", "*.tfrecord*", "*.record", "*.record-*")),
        (coco, ("*.json",)),
    )
    for reader, patterns in signs:
        if any(glob.glob(pattern, root_dir=path) for pattern in patterns):
            return reader
    raise ValueError(f"{path} holds nothing that is understood. Understood are: {_UNDERSTOOD}.")


def _coco_splits(folder):
    """What follows `instances_`, or the folders that hold images and their file; "" is the folder itself."""
    found = sorted(glob.glob("instances_*.json", root_dir=os.path.join(folder, "annotations")))
    names = [name.removeprefix("instances_").removesuffix(".json") for name in found]
    beside = sorted(glob.glob(f"*/{_BESIDE}", root_dir=folder) + glob.glob(_BESIDE, root_dir=folder))
    return names or [os.path.dirname(name) for name in beside]


def _year_less(name, names):
    """A split's name without its year, where `read` finds it so."""
    short = re.sub(r"\d+$", "", name)
    return short if sum(other.startswith(short) for other in names) == 1 else name


def _coco_split(folder, split):
    """What follows `instances_` in the one file of the split."""
    names = _coco_splits(folder)
    fitting = [name for name in names if name == split] or [name for name in names if name.startswith(split or "")]
    if len(fitting) != 1:
        raise ValueError(f"{folder} has the splits {names}; split={split!r} does not choose one of them.")
    return fitting[0]


def _coco_files(folder, name):
    """The annotation file of a split, and the folder of its images where that is settled."""
    usual = os.path.join(folder, "annotations", f"instances_{name}.json")
    beside = os.path.join(folder, name)
    return (usual, None) if os.path.exists(usual) else (os.path.join(beside, _BESIDE), beside)


def _coco_images(folder, name):
    places = [os.path.join(folder, *parts) for parts in ((name,), ("images", name), ("images",))]
    for place in places:
        if os.path.isdir(place):
            return place
    raise FileNotFoundError(f"{folder} has no image folder for {name}: none of {', '.join(places)} exists.")


def _lists(folder):
    return sorted(name.removesuffix(".txt") for name in glob.glob("*.txt", root_dir=folder))


def _listed(folder, split, images=None, **options):
    """What one json file in a folder holds of the images that the list of a split names."""
    found = sorted(glob.glob("*.json", root_dir=folder))
    if len(found) > 1:
        raise ValueError(
            f"{folder} holds several json files, {', '.join(found)}: give one of them, with images=FOLDER."
        )
    inner = os.path.join(folder, "images")
    images = os.fspath(images or (inner if os.path.isdir(inner) else folder))
    whole = coco.read(os.path.join(folder, found[0]), images, **options)
    if split is None:
        return whole
    page = os.path.join(folder, f"{split}.txt")
    if not os.path.isfile(page):
        raise FileNotFoundError(f"{folder} has no split '{split}': there is no {page}; the lists are {_lists(folder)}.")
    names = [os.path.relpath(record.image, images) for record in whole.records]
    known = {key: r for name, r in zip(names, whole.records, strict=True) for key in (name, os.path.splitext(name)[0])}
    wanted = [line.strip() for line in files.text(page).splitlines() if line.strip()]
    missing = [name for name in wanted if name not in known]
    if missing:
        raise ValueError(
            f"{page}: {len(missing)} of {len(wanted)} names are no images of {found[0]}, first {missing[0]!r}."
        )
    name = f"{os.path.basename(os.path.abspath(folder))} {split}"
    return dataclasses.replace(whole, name=name, records=[known[name] for name in wanted])
