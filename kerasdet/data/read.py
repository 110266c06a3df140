"""Reads data sets of all formats: `read` looks at a path and calls the reader that understands it."""

import dataclasses
import os
import re

from kerasdet.data import catalog, coco, files, pages, records, shapes, table, voc, yolo
from kerasdet.data import proposals as proposed
from kerasdet.data.folder import Folder, part_in, part_of, stem

_UNDERSTOOD = (
    "photos with COCO's .json, Pascal VOC's .xml, YOLO's .txt and class names, LabelMe's, Supervisely's or CreateML's "
    '.json, KITTI\'s .txt, a .csv table; .tfrecord shards; tfds:NAME; "shapes". docs/data.md shows them'
)
_NAMES = {
    shapes: "the built-in shapes",
    catalog: "TensorFlow Datasets",
    coco: "COCO",
    records: "TFRecord",
    table: "CSV",
    voc: "Pascal VOC",
    yolo: "YOLO",
    pages: "one page a photo",
}
# What `format` may say if a folder could be several things.
READERS = {"coco": coco, "voc": voc, "yolo": yolo, "csv": table, "tfrecord": records}
READERS |= {kind.lower(): pages for kind in pages.KINDS}
# Words in files of formats that are not read, the tool that writes them, and what it can write instead.
_FOREIGN = {
    '"shape_attributes"': "the VGG Image Annotator: export as COCO",
    '"completed_by"': "Label Studio: export as COCO, YOLO or Pascal VOC",
    '"original_width"': "Label Studio: export as COCO, YOLO or Pascal VOC",
    '"dm_format_version"': "Datumaro: export as COCO, YOLO or Pascal VOC",
    '"asset"': "VoTT: export as CSV or Pascal VOC",
    "<annotations>": "CVAT: export as COCO, YOLO or Pascal VOC",
}


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
            one of `READERS`.
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
    reader = _reader(path, format)
    if "difficult" in options and reader is not voc:
        raise ValueError(f"{path} is read as {_NAMES[reader]}: difficult={options['difficult']!r} is for Pascal VOC.")
    if reader is table:
        options = {**options, "format": format if format in table.FORMATS else None}
        if os.path.isdir(path):
            return table.read(_file_of(path, split, _tables(path)), folder=path, **options)
        if split is not None:
            raise ValueError(f"{path} is one table; give no split.")
        return table.read(path, **options)
    if format in table.FORMATS:
        raise ValueError(f"{path} is read as {_NAMES[reader]}: format={format!r} is for tables.")
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
    return _coco(path, split, **options)


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
    reader = _reader(path, format)
    if reader is shapes:
        return list(shapes.COUNTS)
    if reader is catalog:
        return catalog.splits(path.removeprefix("tfds:"))
    if os.path.isfile(path):
        return yolo.splits(path) if reader is yolo else []
    if reader is coco:
        names = list(_jsons(path))
        return [_without_year(name, names) for name in names] if names != [None] else _lists(path)
    if reader is table:
        return [name for name in _tables(path) if name is not None]
    return reader.splits(path)


def recognized(path, format=None, annotations=None):
    """The name of a data set's format, such as "Pascal VOC"; errors as in `read`."""
    path, _ = _placed(os.fspath(path), {"annotations": annotations})
    reader = _reader(path, format)
    return pages.kind_of(Folder(path)) if reader is pages else _NAMES[reader]


def _reader(path, format=None):
    """The module that reads the data set at a path."""
    if path == "shapes":
        return shapes
    if path.startswith("tfds:"):
        return catalog
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path} does not exist. Read are {_UNDERSTOOD}.")
    if format is not None and format not in table.FORMATS:
        if format.lower() not in READERS:
            raise ValueError(f"format must be one of {[*table.FORMATS, *READERS]}, got {format!r}.")
        return READERS[format.lower()]
    ending = os.path.splitext(path)[1].lower()
    by_ending = {".json": coco, ".yaml": yolo, ".yml": yolo, ".csv": table, ".tsv": table}
    if os.path.isfile(path) and ending in by_ending:
        return by_ending[ending]
    if os.path.isfile(path):
        raise ValueError(f"{path} is no data set. Read are {_UNDERSTOOD}.")
    tree = Folder(path)
    # The order matters: a specific sign comes before one that other formats' folders may show as well.
    for reader, shows in _SIGNS:
        if shows(tree):
            return reader
    raise ValueError(f"{path}: {_foreign(tree)}")


def _shows_voc(tree):
    found = tree.ending(".xml")
    return any(_begins(tree.full(name), b"<annotation") for name in [*found[:20], *found[-20:]])


def _begins(path, words):
    with open(path, "rb") as file:
        head = file.read(2**12)
    return re.search(words + rb"[\s>/]", head.replace(b"\0", b"")) is not None


def _shows_yolo(tree):
    folder = tree.path
    texts = tree.ending(".txt")
    if any(yolo.is_yaml(tree.full(name)) for name in tree.ending(".yaml", ".yml") if os.sep not in name):
        return True
    return bool(texts) and (
        yolo.class_file(folder) is not None or any("labels" in os.path.dirname(name).split(os.sep) for name in texts)
    )


def _shows_records(tree):
    names = [name for name in tree.files if name.count(os.sep) < 2]
    return any(
        os.path.basename(name) == records.MANIFEST or re.search(r"\.(tf)?records?(-\d+-of-\d+)?$", name)
        for name in names
    )


_SIGNS = (
    (voc, _shows_voc),
    (coco, lambda tree: any(coco.holds(tree.full(name)) for name in tree.ending(".json"))),
    (pages, lambda tree: pages.kind_of(tree) is not None),
    (yolo, _shows_yolo),
    (records, _shows_records),
    (table, lambda tree: any(table.is_table(tree.full(name)) for name in tree.ending(".csv", ".tsv"))),
    (coco, lambda tree: bool(tree.ending(".json")) and _foreign_tool(tree) is None),
)


def _foreign(tree):
    """Says what a folder lacks that nothing is read from."""
    tool = _foreign_tool(tree)
    if tool is not None:
        return f"this is {tool}."
    what = f"holds {len(tree.photos)} photos, but no annotations" if tree.photos else "holds no annotations"
    return f"{what} of a known format. Read are {_UNDERSTOOD}."


def _foreign_tool(tree):
    for name in tree.ending(".json", ".xml")[:5]:
        with open(tree.full(name), "rb") as file:
            head = file.read(2**16).decode("utf-8", "replace")
        for words, tool in _FOREIGN.items():
            if words in head:
                return f"{tool}; {name} is its own format"
    return None


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


def _file_of(folder, split, found):
    """The one file of a part; `found` is a dict from the parts' names to files."""
    names = [name for name in found if name is not None]
    matches = [name for name in found if name == split] or [name for name in names if name.startswith(split or "")]
    if len(matches) != 1:
        raise ValueError(f"{folder} has the splits {names}; split={split!r} does not choose one of them.")
    return os.path.join(folder, found[matches[0]])


def _tables(folder):
    """The tables of a folder by the names of their parts; None if the only one names no part."""
    tree = Folder(folder)
    held = [name for name in tree.ending(".csv", ".tsv") if table.is_table(tree.full(name))]
    parts = {(stem(name) if part_of(stem(name)) else part_in(name)): name for name in held}
    named = {part: name for part, name in parts.items() if part is not None}
    if len(held) > 1 and not named:
        raise ValueError(f"{folder} holds several tables, {', '.join(held[:5])}: give one of them, with images=FOLDER.")
    return named if len(named) > 1 else {None: held[0]} if held else {}


def _coco(folder, split, images=None, **options):
    """A part of a folder of COCO files."""
    found = _jsons(folder)
    if list(found) == [None]:
        return _listed(folder, found[None], split, images, **options)
    path = _file_of(folder, split, found)
    name = next(name for name, file in found.items() if os.path.join(folder, file) == path)
    beside = os.path.dirname(path)
    rooms = [os.path.join(folder, *parts) for parts in (("images", name), (name,), ("images",), ("data",))]
    # Photos lie beside an exporter's file, else in the first of these that exists, else anywhere below the folder.
    room = beside if name and os.path.basename(beside) == name else next(filter(os.path.isdir, rooms), folder)
    if images is None and not Folder(folder).photos:
        raise FileNotFoundError(f"{folder} has no image folder for {name}: none of {', '.join(rooms[:3])} exists.")
    return coco.read(path, os.fspath(images or room), folder=os.fspath(images or folder), **options)


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
