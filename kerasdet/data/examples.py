"""Converts a record to a tf.Example and back.

Features are named as in the TF Object Detection API. A few additional ones make the round trip exact, because the API
stores boxes as float32 fractions of the picture, and a fraction times the side often misses the original pixel.
"""

import glob
import hashlib
import io
import json
import os
import re

import numpy as np
import tensorflow as tf
from PIL import Image
from pycocotools import mask as rle

from kerasdet.data import files, tfrecord
from kerasdet.data.dataset import Encoded

PICTURE, NAME, SOURCE = "image/encoded", "image/filename", "image/source_id"
HEIGHT, WIDTH = "image/height", "image/width"
TEXT, LABEL = "image/object/class/text", "image/object/class/label"
_SIDES = tuple(f"image/object/bbox/{side}" for side in ("xmin", "ymin", "xmax", "ymax"))
_CROWD, _DIFFICULT, AREA = (f"image/object/{name}" for name in ("is_crowd", "difficult", "area"))
_MASK = "image/object/mask"
_BOXES, _SEGMENTS, _POINTS = (f"kerasdet/{name}" for name in ("boxes", "segments", "keypoints"))
# Reading needs only these; the other features are for other programs.
READ = {
    NAME, SOURCE, HEIGHT, WIDTH, TEXT, LABEL, *_SIDES, _CROWD, _DIFFICULT, AREA, _MASK, _BOXES, _SEGMENTS, _POINTS,
}  # fmt: skip
_FORMATS = {b"\xff\xd8\xff": "jpeg", b"\x89PNG": "png", b"GIF8": "gif", b"BM": "bmp", b"RIFF": "webp"}


def encode(dataset, record):
    """Makes the tf.Example of a record.

    Args:
        dataset: the `Dataset` that the record belongs to.
        record: a `Record`.

    Returns:
        `tf.train.Example`.
    """
    data, name = _encoded(record)
    side = np.float32([record.width, record.height])
    low, high = record.boxes[:, :2] / side, record.boxes[:, 2:] / side
    values = {
        PICTURE: [data],
        "image/format": [next((name for magic, name in _FORMATS.items() if data.startswith(magic)), "").encode()],
        NAME: [name.encode()],
        SOURCE: [str(record.id).encode()],
        HEIGHT: [record.height],
        WIDTH: [record.width],
        "image/key/sha256": [hashlib.sha256(data).hexdigest().encode()],
        **dict(zip(_SIDES, (*low.T, *high.T), strict=True)),
        TEXT: [dataset.classes[number].encode() for number in record.classes],
        LABEL: record.classes + 1,  # the API keeps 0 for the background
        _CROWD: record.crowds.astype(int),
        _DIFFICULT: record.crowds.astype(int),
        AREA: record.areas,
        _BOXES: record.boxes.ravel(),
    }
    if record.segments is not None:
        values[_SEGMENTS] = [json.dumps(segment).encode() for segment in record.segments]
    if record.keypoints is not None:
        points = record.keypoints.reshape(-1, 3)
        count = len(dataset.keypoints)
        values[_POINTS] = points.ravel()
        values["image/object/keypoint/x"] = points[:, 0] / side[0]
        values["image/object/keypoint/y"] = points[:, 1] / side[1]
        values["image/object/keypoint/visibility"] = points[:, 2].astype(int)
        values["image/object/keypoint/num"] = [count] * len(record.boxes)
        values["image/object/keypoint/text"] = [text.encode() for text in dataset.keypoints] * len(record.boxes)
    features = {key: _feature(value) for key, value in values.items()}
    return tf.train.Example(features=tf.train.Features(feature=features))


def _feature(values):
    if len(values) and isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if isinstance(values, np.ndarray) and values.dtype == np.float32:
        return tf.train.Feature(float_list=tf.train.FloatList(value=values.tolist()))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value) for value in values]))


def _encoded(record):
    """The bytes and the name of a record's image file; pixels become a PNG."""
    if isinstance(record.image, str):
        with open(record.image, "rb") as file:
            return file.read(), os.path.basename(record.image)
    if isinstance(record.image, Encoded):
        return record.image.read(), record.image.name
    file = io.BytesIO()
    Image.fromarray(record.pixels()).save(file, "png", compress_level=1)
    return file.getvalue(), f"{record.id}.png"


def label_map(folder):
    """Dict of number to class name, from the only label map (*.pbtxt) in a folder; empty if there is none."""
    found = sorted(glob.glob(os.path.join(glob.escape(folder), "*.pbtxt")))
    if len(found) > 1:
        raise ValueError(f"{folder} has several label maps: {', '.join(map(os.path.basename, found))}; keep one.")
    names = {}
    for item in re.findall(r"item\s*\{(.*?)\}", files.text(found[0]) if found else "", re.DOTALL):
        fields = dict(re.findall(r"""(\w+)\s*:\s*(\d+|"(?:[^"\\]|\\.)*"|'[^']*')""", item))
        name = fields.get("display_name") or fields.get("name")
        if not fields.get("id", "").isascii() or not fields.get("id", "").isdigit() or not name:
            raise ValueError(f"{found[0]}: an item needs id and name, but holds {' '.join(item.split())[:100]!r}.")
        try:
            names[int(fields["id"][:18])] = json.loads(name) if name.startswith('"') else name.strip("'")
        except ValueError as error:
            raise ValueError(f"{found[0]}: the name {name[:100]!r} is not text ({error}).") from None
    return dict(sorted(names.items()))


def size(values):
    """(height, width) as stated in an example, or None."""
    stated = [int(side) for key in (HEIGHT, WIDTH) for side in values.get(key, ())[:1]]
    return tuple(stated) if len(stated) == 2 and all(stated) else None


def boxes(values, height, width):
    """[M, 4] float32, pixels: from kerasdet's feature if present, else from the API's."""
    if _BOXES in values:
        return np.reshape(values[_BOXES], (-1, 4))
    return tfrecord.pixels([values.get(side, ()) for side in _SIDES], height, width)


def names(values, name_of):
    """The class names of the objects: from their number in a label map, else from their text."""
    if name_of and LABEL in values:
        return [name_of.get(int(label), f"number {label}") for label in values[LABEL]]
    return [text.decode(errors="replace") for text in values.get(TEXT, ())]


def crowds(values, count):
    """[M] bool: crowds and difficult objects."""
    flags = [np.asarray(values[key], bool) for key in (_CROWD, _DIFFICULT) if len(values.get(key, ()))]
    return np.any(flags, axis=0) if flags else np.zeros(count, bool)


def has_masks(values):
    """Whether each object of an example has a mask."""
    return any(len(values.get(key, ())) for key in (_SEGMENTS, _MASK))


def segments(values):
    """M COCO segmentations: from kerasdet's feature if present, else the API's PNG masks as RLE."""
    if len(values.get(_SEGMENTS, ())):
        return [json.loads(segment) for segment in values[_SEGMENTS]]
    return [_run_lengths(mask) for mask in values.get(_MASK, ())]


def keypoints(values, count, points):
    """[M, P, 3] float32; zeros if an example has none."""
    stated = values.get(_POINTS, np.zeros(0, np.float32))
    return np.reshape(stated if len(stated) else np.zeros(3 * count * points, np.float32), (count, points, 3))


def _run_lengths(mask):
    grid = np.asarray(Image.open(io.BytesIO(mask))) > 0
    code = rle.encode(np.asfortranarray(grid, np.uint8))
    return {"size": code["size"], "counts": code["counts"].decode()}
