"""Reads TFRecord files of tf.Examples without their pictures; only the pictures' addresses are kept."""

import mmap
import os
import struct

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from kerasdet.data.dataset import Encoded

# A record: its length (uint64), a checksum of that (uint32), the data, a checksum of the data (uint32).
_HEAD, _FOOT = 12, 4


def examples(path, picture, name, keys):
    """Reads the tf.Examples of a file in order.

    Args:
        path: path of the TFRecord file, uncompressed.
        picture: key of the feature that holds the encoded picture.
        name: key of the feature that holds the picture's name; without it, the picture is named by its position.
        keys: the other features to read.

    Yields:
        (features, `Encoded`): a dict from key to its values, an array of numbers or a list of bytes, and the picture's
        address, or None if an example has no picture.

    Raises:
        ValueError: the file is cut short or is not a TFRecord of tf.Examples.
    """
    if not os.path.getsize(path):
        return
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for number, record in enumerate(_records(data, path)):
            try:
                features = dict(_features(data, *record))
                address = _bytes(data, *features.pop(picture)) if picture in features else None
                values = {key: _values(data[slice(*feature)]) for key, feature in features.items() if key in keys}
            except (ValueError, IndexError, KeyError, DecodeError) as error:
                raise ValueError(f"{path}: record {number} is not a tf.Example with one picture ({error}).") from None
            if address is None:
                yield values, None
                continue
            picture_name = (values.get(name) or [b""])[0].decode(errors="replace") or f"record {number}"
            yield values, Encoded(path, address[0], address[1] - address[0], picture_name)


def pixels(corners, height, width):
    """Converts boxes from fractions of a picture, as in tf.Examples, to pixels.

    Results are rounded to thousandths of a pixel because a float32 fraction times the side often misses a whole pixel
    by a tiny amount.

    Args:
        corners: four sequences of M floats 0...1: xmin, ymin, xmax, ymax.
        height, width: size of the picture, pixels.

    Returns:
        [M, 4] float32.
    """
    fractions = np.stack([np.float64(side) for side in corners], -1)
    return np.round(fractions * [width, height, width, height], 3).astype(np.float32)


def _records(data, path):
    """Begin and end of each record's data."""
    position = 0
    while position < len(data):
        start = position + _HEAD
        stop = start + struct.unpack("<Q", data[position : position + 8])[0] if start <= len(data) else start
        position = stop + _FOOT
        if position > len(data):
            raise ValueError(f"{path} is cut short, compressed or not a TFRecord: a record extends past its end.")
        yield start, stop


# The protocol buffers are parsed by hand because TensorFlow's parser would copy the pictures, which are nearly all of
# the file.
def _features(data, start, stop):
    """Key of each feature of an Example, and begin and end of its message.

    An Example (tensorflow/core/example/example.proto) holds Features in its field 1; these hold a map in field 1, whose
    entries have the key in field 1 and the Feature in field 2.
    """
    for _, *features in _fields(data, start, stop):
        for _, *entry in _fields(data, *features):
            parts = {number: span for number, *span in _fields(data, *entry)}
            yield data[slice(*parts[1])].decode(), parts.get(2, (0, 0))


def _bytes(data, start, stop):
    """Begin and end of the single value of a Feature: its field 1 is a BytesList, whose field 1 is the value."""
    ((_, *values),) = _fields(data, start, stop)
    ((_, *span),) = _fields(data, *values)
    return span


def _values(message):
    feature = tf.train.Feature.FromString(message)
    kind = feature.WhichOneof("kind")
    if kind == "bytes_list":
        return list(feature.bytes_list.value)
    return np.array(getattr(feature, kind).value if kind else (), {"int64_list": np.int64}.get(kind, np.float32))


def _fields(data, start, stop):
    """Number, begin and end of each field of a message that holds only messages, strings and bytes."""
    while start < stop:
        tag, start = _varint(data, start)
        length, start = _varint(data, start)
        if tag & 7 != 2 or start + length > stop:
            raise ValueError(f"a field of wire type {tag & 7} and {length} bytes at byte {start}")
        yield tag >> 3, start, start + length
        start += length


def _varint(data, position):
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
