"""Recognizes the format of a data set by what lies at its path, or says what is missing there."""

import os
import re

from kerasdet.data import catalog, coco, pages, records, shapes, table, voc, yolo, yolo_yaml
from kerasdet.data.folder import Folder

_UNDERSTOOD = (
    "photos with COCO's .json, Pascal VOC's .xml, YOLO's .txt and class names, LabelMe's, Supervisely's or CreateML's "
    '.json, KITTI\'s .txt, a .csv table; .tfrecord shards; tfds:NAME; "shapes". docs/data.md shows them'
)
NAMES = {
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


def reader(path, format=None):
    """The module that reads the data set at a path; arguments and errors as in `read.read`."""
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
    for found, shows in _SIGNS:
        if shows(tree):
            return found
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
    if any(yolo_yaml.is_yaml(tree.full(name)) for name in tree.ending(".yaml", ".yml") if os.sep not in name):
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
