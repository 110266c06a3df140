"""TFRecord files of tf.Examples, read without their pictures: those are addressed, and fetched when they are needed."""

import mmap
import os
import struct

import numpy as np
import tensorflow as tf

from kerasdet.data.dataset import Encoded

# A record: its length (uint64), a checksum of that (uint32), the data, a checksum of the data (uint32).
_HEAD, _FOOT = 12, 4


def examples(path, picture, name, keys):
    """Reads the tf.Examples of a file in order.

    Args:
        path: of the TFRecord file, uncompressed.
        picture: key of the feature that holds the encoded picture.
        name: key of the feature that holds the picture's name; where it is missing, the picture is called by its place.
        keys: the other features to read.

    Yields:
        (features, `Encoded`): a dict from key to its values, an array of numbers or a list of bytes, and the picture's
        address, which is None where an example has no picture.

    Raises:
        ValueError: one line that names the file; it is cut short or no TFRecord of tf.Examples.
    """
    if not os.path.getsize(path):
        return
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for number, record in enumerate(_records(data, path)):
            try:
                features = dict(_features(data, *record))
                place = _bytes(data, *features.pop(picture)) if picture in features else None
                values = {key: _values(data[slice(*feature)]) for key, feature in features.items() if key in keys}
            except (ValueError, IndexError, KeyError) as error:
                raise ValueError(f"{path}: record {number} is no tf.Example with one picture ({error}).") from None
            if place is None:
                yield values, None
                continue
            called = (values.get(name) or [b""])[0].decode(errors="replace") or f"record {number}"
            yield values, Encoded(path, place[0], place[1] - place[0], called)


def pixels(corners, height, width):
    """Boxes from shares of a picture, as tf.Examples hold them, to pixels.

    A share is a float32, and times the side it misses a whole pixel by a hair; so thousandths of pixels are rounded.

    Args:
        corners: four sequences of M floats 0...1: xmin, ymin, xmax, ymax.
        height, width: of the picture, pixels.

    Returns:
        [M, 4] float32.
    """
    shares = np.stack([np.float64(side) for side in corners], -1)
    return np.round(shares * [width, height, width, height], 3).astype(np.float32)


def _records(data, path):
    """Where each record's data begins and ends."""
    place = 0
    while place < len(data):
        start = place + _HEAD
        stop = start + struct.unpack("<Q", data[place : place + 8])[0] if start <= len(data) else start
        place = stop + _FOOT
        if place > len(data):
            raise ValueError(f"{path} is cut short or compressed or no TFRecord: a record reaches past its end.")
        yield start, stop


def _features(data, start, stop):
    """Key of each feature of an Example, and where its message lies.

    An Example (tensorflow/core/example/example.proto) holds Features in its field 1; these hold a map in field 1, whose
    entries have the key in field 1 and the Feature in field 2.
    """
    for _, *features in _fields(data, start, stop):
        for _, *entry in _fields(data, *features):
            parts = {number: place for number, *place in _fields(data, *entry)}
            yield data[slice(*parts[1])].decode(), parts.get(2, (0, 0))


def _bytes(data, start, stop):
    """Where the one value of a Feature lies: it holds a BytesList in its field 1, and that the value in its field 1."""
    ((_, *values),) = _fields(data, start, stop)
    ((_, *place),) = _fields(data, *values)
    return place


def _values(message):
    feature = tf.train.Feature.FromString(message)
    kind = feature.WhichOneof("kind")
    if kind == "bytes_list":
        return list(feature.bytes_list.value)
    return np.array(getattr(feature, kind).value if kind else (), {"int64_list": np.int64}.get(kind, np.float32))


def _fields(data, start, stop):
    """Number, begin and end of the fields of a message that has messages, strings and bytes only."""
    while start < stop:
        tag, start = _varint(data, start)
        length, start = _varint(data, start)
        if tag & 7 != 2 or start + length > stop:
            raise ValueError(f"a field of wire type {tag & 7} and {length} bytes at byte {start}")
        yield tag >> 3, start, start + length
        start += length


def _varint(data, place):
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
