"""Reads the pictures of records inside a graph, however they are stored."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kerasdet import images as image
from kerasdet.data.dataset import Encoded
from kerasdet.data.tiles import Window


def reader(pictures):
    """Makes a function that reads one of many pictures.

    Files are read and decoded by the graph's own operators, because TensorFlow crashes when the threads of a pipeline
    call it from Python.

    Args:
        pictures: list of values that `Record.image` may have.

    Returns:
        A function from an index, scalar int64 tensor, to pixels [H, W, 3] uint8.
    """
    pictures = [_prepared(picture) for picture in pictures]
    storage = [next(kind for kind in _READERS if isinstance(picture, kind)) for picture in pictures]
    kinds = list(dict.fromkeys(storage))
    readers = []
    for kind in kinds:
        # All readers take the same index, so each list is as long as `pictures`; a picture of this kind fills the gaps.
        filler = pictures[storage.index(kind)]
        readers.append(_READERS[kind]([picture if isinstance(picture, kind) else filler for picture in pictures]))
    if len(readers) == 1:
        return readers[0]
    reader_of = tf.constant([kinds.index(kind) for kind in storage])
    return lambda index: tf.switch_case(reader_of[index], [lambda read=read: read(index) for read in readers])


class _Heic(NamedTuple):
    """A photo that no TensorFlow operator can decode."""

    path: str


def _prepared(picture):
    """Marks HEIC photos, and replaces the window of an array by its pixels."""
    if isinstance(picture, str) and picture.lower().endswith((".heic", ".heif")):
        return _Heic(picture)
    in_memory = isinstance(picture, Window) and isinstance(picture.record.image, np.ndarray)
    return picture.pixels() if in_memory else picture


def _files(paths):
    paths = tf.constant(paths)
    return lambda index: image.read(paths[index])


def _encoded(pictures):
    names = tf.constant([str(picture) for picture in pictures])

    def read(index):
        data = tf.numpy_function(lambda i: pictures[i].read(), [index], tf.string)
        return image.decode(tf.ensure_shape(data, []), names[index])

    return read


def _arrays(pictures):
    return _from_python(lambda i: pictures[i])


def _heics(photos):
    return _from_python(lambda i: image.load(photos[i].path))


def _from_python(function):
    return lambda index: tf.ensure_shape(tf.numpy_function(function, [index], tf.uint8), [None, None, 3])


def _windows(windows):
    read_picture = reader([window.record.image for window in windows])
    boxes = tf.constant([window.box for window in windows])

    def read(index):
        x1, y1, x2, y2 = tf.unstack(boxes[index])
        return read_picture(index)[y1:y2, x1:x2]

    return read


_READERS = {str: _files, _Heic: _heics, Encoded: _encoded, np.ndarray: _arrays, Window: _windows}
