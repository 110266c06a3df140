"""Copies of large photos at the size that training needs, made once, because decoding 12 megapixels takes too long."""

import dataclasses
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import tensorflow as tf

from kerasdet import images

# Photos less than this many times larger than their copy are not copied: decoding them costs little more.
WORTH = 1.5


def shrunk(dataset, side, folder=None):
    """Replaces the large photos of a data set with copies.

    Copies are resized as in detectors, bilinearly and without antialiasing, so training sees the same pixels as
    detection. They are cached by the photo's path, modification time and size; existing copies are reused.

    Args:
        dataset: a `Dataset` of image files; photos with masks are not replaced.
        side: shorter side of a copy, pixels.
        folder: folder for the copies; by default `photos` in KERASDET_CACHE, or in ~/.cache/kerasdet.

    Returns:
        A `Dataset` with the same ids and classes, with boxes, areas, keypoints and proposals in pixels of the copies.

    Raises:
        ValueError: a photo cannot be decoded; the message names its file.
    """
    home = os.environ.get("KERASDET_CACHE") or os.path.join(os.path.expanduser("~"), ".cache", "kerasdet")
    folder = folder or os.path.join(home, "photos")
    large = [i for i, record in enumerate(dataset.records) if _is_large(record, side)]
    if not large:
        return dataset
    os.makedirs(folder, exist_ok=True)
    progress = keras.utils.Progbar(len(large), unit_name="photo")
    records = list(dataset.records)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for i, record in zip(large, pool.map(lambda i: _copy(records[i], side, folder), large), strict=True):
            records[i] = record
            progress.add(1)
    return dataclasses.replace(dataset, records=records)


def _is_large(record, side):
    photo = isinstance(record.image, str) and record.segments is None
    return photo and min(record.height, record.width) > WORTH * side


def _copy(record, side, folder):
    """The record of the copy, which is written if it does not exist."""
    scale = side / min(record.height, record.width)
    height, width = round(record.height * scale), round(record.width * scale)
    state = os.stat(record.image)
    key = f"{os.path.abspath(record.image)} {state.st_mtime_ns} {state.st_size} {height}x{width}"
    path = os.path.join(folder, hashlib.sha256(key.encode()).hexdigest()[:32] + ".jpg")
    if not os.path.exists(path):
        pixels = tf.image.resize(images.load(record.image), (height, width), "bilinear", antialias=False)
        encoded = tf.io.encode_jpeg(tf.cast(tf.round(pixels), tf.uint8), quality=95, chroma_downsampling=False)
        tf.io.write_file(f"{path}.{os.getpid()}", encoded)
        os.replace(f"{path}.{os.getpid()}", path)
    x, y = width / record.width, height / record.height
    keypoints, proposals = record.keypoints, record.proposals
    return dataclasses.replace(
        record,
        image=path,
        height=height,
        width=width,
        boxes=record.boxes * np.float32([x, y, x, y]),
        areas=record.areas * np.float32(x * y),
        keypoints=None if keypoints is None else keypoints * np.float32([x, y, 1]),
        proposals=None if proposals is None else proposals * np.float32([x, y, x, y]),
        stated=None,
    )
