"""Runs a function over a data set and writes what it returns into one `.npz`: proposals and features, once for many.

Files of proposals are those of `data.proposals`. A file of features holds, picture by picture, arrays of any shape
under "NUMBER/KEY", beside `names` [N], `checks` [N] and `note` as there. It is written and read one picture at a time,
so that it may be larger than the memory. A program that was killed while it wrote goes on where it stopped.
"""

import dataclasses
import os
import pathlib
import struct
import zipfile
import zlib

import numpy as np
import tensorflow as tf

from kerasdet import images as image
from kerasdet.data import pipeline, proposals

# Of a member of a zip file: what stands before its name, and its sizes as `force_zip64` writes them.
HEADER, SIZES = struct.Struct("<4s5H3I2H"), struct.Struct("<2Q")


def over(model, dataset, function, batch_size=4):
    """Runs a function over a data set, one batch at a time.

    Args:
        model: a `Detector`, for its `preprocess`.
        dataset: a `Dataset` of whole pictures.
        function: from the images dict of `contract` to a dict of tensors [B, ...]; traced once.
        batch_size: pictures at once.

    Yields:
        Each record and its dict of arrays, without B.

    Raises:
        ValueError: two pictures have one name, or one cannot be decoded.
    """
    proposals.by_name(dataset)
    batches = pipeline.load(dataset, model.preprocess, batch_size)

    def one_batch(images, objects):
        # NumPy's files know no bfloat16.
        return {
            key: tf.cast(values, tf.float32) if values.dtype == tf.bfloat16 else values
            for key, values in function(images).items()
        }

    run = tf.function(one_batch, input_signature=batches.element_spec)
    records = iter(dataset.records)
    with pipeline.named(dataset):
        for batch in batches:
            found = {key: values.numpy() for key, values in run(*batch).items()}
            # The last batch is filled up behind the last record.
            for i, record in zip(range(batch_size), records, strict=False):
                yield record, {key: values[i] for key, values in found.items()}


def propose(model, dataset, path, batch_size=4, training=False):
    """Writes the regions that a detector proposes, for another to learn from (Faster R-CNN, section 3.2).

    Args:
        model: a `Detector` with a verb `proposals(outputs, images, training)` that returns [B, R, 4] boxes in network
            pixels, best first, without area where padded.
        dataset: a `Dataset`.
        path: of the file, see `data.proposals`.
        batch_size: pictures at once.
        training: whether as many proposals per picture as training takes, or as inference.

    Raises:
        ValueError: the detector proposes no regions.
    """
    if not hasattr(model, "proposals"):
        raise ValueError(f"{type(model).__name__} proposes no regions that another stage could learn from.")

    def proposed(images):
        found = model.proposals(model.network(images), images, training)
        return {"boxes": image.from_frames(found, images["frames"])}

    boxes, checks = {}, {}
    for record, found in over(model, dataset, proposed, batch_size):
        key, rows = proposals.name(record), found["boxes"]
        boxes[key], checks[key] = rows[(rows[:, 2:] > rows[:, :2]).all(-1)], proposals.check(record)
    proposals.write(path, boxes, checks=checks)


def features(model, dataset, path, function, batch_size=4, keep=None):
    """What a function of a detector returns for every picture of a data set, from the file or made now.

    It is made again if the weights of the detector are no longer those that it was made with.

    Args:
        model: a `Detector`.
        dataset: a `Dataset` of whole pictures.
        path: of the file, ending in .npz; give each data set and function its own.
        function: see `over`; it runs the detector.
        batch_size: pictures at once.
        keep: None, or a function from a record and its dict of arrays to the dict that is written, such as the rows
            of the record's own proposals without their padding.

    Returns:
        A `Cached`.

    Raises:
        ValueError: see `over` and `Cached`.
    """
    note = f"weights {fingerprint(model):08x}"
    if not os.path.isfile(path) or Cached(path).note != note:

        def made(done):
            rest = dataclasses.replace(dataset, records=dataset.records[done:])
            for record, arrays in over(model, rest, function, batch_size) if rest.records else ():
                yield keep(record, arrays) if keep else arrays

        write(path, dataset.records, made, note)
    return Cached(path, dataset)


def write(path, records, made, note=""):
    """Writes a file of features picture by picture, under another name until it is complete.

    What a killed program left under that name is kept, if it was for the same pictures and note.

    Args:
        path: of the file, ending in .npz.
        records: the pictures.
        made: a function from a number of pictures to an iterable of the dicts of arrays of those that come after;
            holding one at a time is enough.
        note: how they are made.

    Raises:
        ValueError: two pictures have one name.
    """
    names, checks = ([of(record) for record in records] for of in (proposals.name, proposals.check))
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: two pictures have one name; features go by it: rename one.")
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    # Its name says what it is for, so that no other file's pictures are taken for those of this one.
    mark = zlib.crc32(repr((names, checks, note)).encode())
    writing = pathlib.Path(f"{path}.{mark:08x}.writing.npz")
    for other in set(writing.parent.glob(f"{pathlib.Path(path).name}.*.writing.npz")) - {writing}:
        other.unlink()
    members, done = _left(writing)
    with zipfile.ZipFile(writing, "a" if done else "w") as file:
        file.filelist += members
        file.NameToInfo.update({one.filename: one for one in members})

        def add(member, array):
            with file.open(f"{member}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=False)

        for number, arrays in enumerate(made(done), done):
            for key, array in arrays.items():
                add(f"{number}/{key}", array)
        add("names", np.array(names, str))
        add("checks", np.array(checks, np.int64))
        add("note", np.array(note))
    os.replace(writing, path)


def _left(path):
    """What a killed writer left: members of a file, which is cut behind the last whole picture, and how many are whole.

    Returns:
        List of `zipfile.ZipInfo`, and a number; none and 0 where nothing can be kept.
    """
    if not path.is_file():
        return [], 0
    with open(path, "r+b") as stream:
        members = list(_members(stream))
        # Of the picture that was written last, some arrays may be missing.
        last = max((int(one.filename.split("/")[0]) for one, _ in members if "/" in one.filename), default=0)
        members = [pair for pair in members if pair[0].filename.split("/")[0] != str(last)]
        if last:
            stream.truncate(members[-1][1])
    return ([one for one, _ in members], last) if last else ([], 0)


def _members(stream):
    """The whole members of a zip file that lacks its end, where its list of members would be, and where each ends.

    Each member begins with a header whose sizes are filled in when the member is whole.
    """
    length, place = stream.seek(0, os.SEEK_END), 0
    while place + HEADER.size <= length:
        stream.seek(place)
        mark, *_, check, _, _, named, more = HEADER.unpack(stream.read(HEADER.size))
        if mark != b"PK\3\4":
            return
        one = zipfile.ZipInfo(stream.read(named).decode())
        extra = stream.read(more)
        one.header_offset, one.CRC = place, check
        one.file_size, one.compress_size = SIZES.unpack(extra[4:20].ljust(SIZES.size, b"\0"))
        place = stream.tell() + one.compress_size
        if not one.file_size or place > length:
            return
        yield one, place


class Cached:
    """A file of features, read picture by picture: iterating gives pairs of a record and its dict of arrays, and
    `cached[record]` gives those of one.

    Args:
        path: of a file that `write` wrote.
        dataset: the `Dataset` whose pictures are read, some of the file's or all; None to read the note alone.

    Raises:
        FileNotFoundError: there is no file.
        ValueError: it is no file of features, lacks a picture, or means another one of its name.
    """

    def __init__(self, path, dataset=None):
        self.path = path
        self.records = [] if dataset is None else list(proposals.by_name(dataset).values())
        try:
            self.file = np.load(path, allow_pickle=False)
            names, checks, note = (self.file[key] for key in ("names", "checks", "note"))
        except (KeyError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile):
            raise ValueError(f"{path} is no file of features, or it is damaged: remove it.") from None
        self.note = str(note)
        self.keys = {}
        for member in self.file.files:
            number, _, key = member.partition("/")
            if key:
                self.keys.setdefault(int(number), []).append(key)
        self.numbers = {str(name): number for number, name in enumerate(names)}
        for record in self.records:
            number = self.numbers.get(proposals.name(record))
            if number is None:
                raise ValueError(f"{path} has no features of {record.name}: give each data set a file.")
            proposals.agree(path, record.name, int(checks[number]), proposals.check(record))

    def __len__(self):
        return len(self.records)

    def __getitem__(self, record):
        number = self.numbers[proposals.name(record)]
        try:
            return {key: self.file[f"{number}/{key}"] for key in self.keys.get(number, ())}
        except (ValueError, EOFError, zipfile.BadZipFile):
            raise ValueError(f"{self.path}: the features of {record.name} are damaged: remove the file.") from None

    def __iter__(self):
        return ((record, self[record]) for record in self.records)


def fingerprint(model):
    """A number that tells the weights of a model from others: the CRC-32 of their bytes."""
    number = 0
    for weight in model.weights:
        number = zlib.crc32(np.ascontiguousarray(weight), number)
    return number
