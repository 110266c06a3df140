"""Reads data sets of all formats: `read` looks at a path and calls the reader that understands it."""

import os

from kerasdet.data import catalog, coco, coco_folder, pages, recognize, shapes, table, voc, yolo
from kerasdet.data import proposals as proposed
from kerasdet.data.folder import Folder, part_in, part_of, stem


def read(path, split=None, proposals=None, max_proposals=2000, format=None, **options):
    """Reads a data set of any format.

    Args:
        path: "shapes", "tfds:NAME", a COCO json file, a yaml of YOLO, a CSV table, or a folder; what lies below the
            folder decides, not what it is called.
        split: the part to read. Shapes: "train" or "val". TFDS: its own syntax ("train[:10%]"). VOC and folders with
            one COCO json: the name of a list. YOLO: a key of the yaml. COCO: the beginning of a part's name, so "val"
            finds `annotations/instances_val2017.json`. Other folders: the name of the folder that holds the part. None
            takes all. A JSON file and a table have no splits.
        proposals: None, or the path of a file of `data.proposals` for all pictures.
        max_proposals: the best proposals to keep per picture.
        format: how a table writes its boxes, "xyxy", "xywh" or "cxcywh"; or which of the formats of a folder is meant,
            one of `recognize.READERS`.
        **options: options of the reader: `images`, the folder of the photos, for all but shards, TFDS and shapes;
            `annotations`, the file or folder of annotations if it does not lie below the path; `classes` of all but
            TFDS; `keypoints` of COCO; `difficult` of VOC; `relative` and `columns` of tables; `data_dir` of TFDS;
            `verify` of shards; `seed` of the shapes.

    Returns:
        `Dataset`.

    Raises:
        ValueError: the path holds nothing that is understood, or the reader refuses the data set.
        FileNotFoundError: files are missing.
    """
    path, options = _placed(os.fspath(path), options)
    dataset = _read(path, split, format, options)
    return dataset if proposals is None else proposed.attach(dataset, proposals, max_proposals)


def _placed(path, options):
    """The path of the annotations and the options, where annotations and photos lie apart."""
    options = dict(options)
    annotations = options.pop("annotations", None)
    if annotations is None:
        return path, options
    if not os.path.exists(annotations):
        raise FileNotFoundError(f"{annotations} does not exist.")
    return os.fspath(annotations), {"images": path, **options}


def _read(path, split, format, options):
    reader = recognize.reader(path, format)
    if "difficult" in options and reader is not voc:
        raise ValueError(
            f"{path} is read as {recognize.NAMES[reader]}: difficult={options['difficult']!r} is for Pascal VOC."
        )
    if reader is table:
        options = {**options, "format": format if format in table.FORMATS else None}
        if os.path.isdir(path):
            return table.read(coco_folder.file_of(path, split, _tables(path)), folder=path, **options)
        if split is not None:
            raise ValueError(f"{path} is one table; give no split.")
        return table.read(path, **options)
    if format in table.FORMATS:
        raise ValueError(f"{path} is read as {recognize.NAMES[reader]}: format={format!r} is for tables.")
    if reader is shapes:
        return shapes.read(split, **options)
    if reader is catalog:
        return catalog.read(path.removeprefix("tfds:"), split, **options)
    if reader is not coco:
        return reader.read(path, split, **options)
    if os.path.isfile(path):
        if split is not None or "images" not in options:
            raise ValueError(f"{path} is one split of a COCO data set: give images=FOLDER with it, and no split.")
        return coco.read(path, **options)
    return coco_folder.read(path, split, **options)


def splits(path, format=None, annotations=None):
    """Names of a data set's own splits.

    Args:
        path, format, annotations: as in `read`.

    Returns:
        List of the values that `read` takes as `split`; empty if the data set has no splits.

    Raises:
        ValueError, FileNotFoundError: as in `read`.
    """
    path, _ = _placed(os.fspath(path), {"annotations": annotations})
    reader = recognize.reader(path, format)
    if reader is shapes:
        return list(shapes.COUNTS)
    if reader is catalog:
        return catalog.splits(path.removeprefix("tfds:"))
    if os.path.isfile(path):
        return yolo.splits(path) if reader is yolo else []
    if reader is coco:
        return coco_folder.splits(path)
    if reader is table:
        return [name for name in _tables(path) if name is not None]
    return reader.splits(path)


def recognized(path, format=None, annotations=None):
    """The name of a data set's format, such as "Pascal VOC"; errors as in `read`."""
    path, _ = _placed(os.fspath(path), {"annotations": annotations})
    reader = recognize.reader(path, format)
    return pages.kind_of(Folder(path)) if reader is pages else recognize.NAMES[reader]


def _tables(folder):
    """The tables of a folder by the names of their parts; None if the only one names no part."""
    tree = Folder(folder)
    held = [name for name in tree.ending(".csv", ".tsv") if table.is_table(tree.full(name))]
    parts = {(stem(name) if part_of(stem(name)) else part_in(name)): name for name in held}
    named = {part: name for part, name in parts.items() if part is not None}
    if len(held) > 1 and not named:
        raise ValueError(f"{folder} holds several tables, {', '.join(held[:5])}: give one of them, with images=FOLDER.")
    return named if len(named) > 1 else {None: held[0]} if held else {}
