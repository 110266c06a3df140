"""Reads the pictures of records inside a graph, whatever they are kept in."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kerasdet import images as image
from kerasdet.data.dataset import Encoded
from kerasdet.data.tiles import Window


def reader(pictures):
    """Makes the function that reads one of many pictures.

    Files are read and decoded by the graph's own operators: TensorFlow crashes when the threads of a pipeline call it
    from Python.

    Args:
        pictures: list of what `Record.image` may be.

    Returns:
        A function from a number, scalar int64 tensor, to pixels [H, W, 3] uint8.
    """
    pictures = [_seen(picture) for picture in pictures]
    kinds = [next(kind for kind in _READERS if isinstance(picture, kind)) for picture in pictures]
    present = list(dict.fromkeys(kinds))
    readers = []
    for kind in present:
        some = pictures[kinds.index(kind)]  # stands where pictures of other kinds are
        readers.append(_READERS[kind]([one if isinstance(one, kind) else some for one in pictures]))
    if len(readers) == 1:
        return readers[0]
    which = tf.constant([present.index(kind) for kind in kinds])
    return lambda index: tf.switch_case(which[index], [lambda read=read: read(index) for read in readers])


class _Heic(NamedTuple):
    """A photo that no operator of TensorFlow decodes."""

    path: str


def _seen(picture):
    """The window of an array is an array."""
    if isinstance(picture, str) and picture.lower().endswith((".heic", ".heif")):
        return _Heic(picture)
    held = isinstance(picture, Window) and isinstance(picture.record.image, np.ndarray)
    return picture.pixels() if held else picture


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
    whole = reader([window.record.image for window in windows])
    boxes = tf.constant([window.box for window in windows])

    def read(index):
        x1, y1, x2, y2 = tf.unstack(boxes[index])
        return whole(index)[y1:y2, x1:x2]

    return read


_READERS = {str: _files, _Heic: _heics, Encoded: _encoded, np.ndarray: _arrays, Window: _windows}
