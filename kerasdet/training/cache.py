"""Runs a function over a data set and writes what it returns into one `.npz`: proposals and features, once for many.

Files of proposals are those of `data.proposals`. A file of features holds, picture by picture, arrays of any shape
under "NUMBER/KEY", beside `names` [N], `checks` [N] and `note` as there. It is written and read one picture at a time,
so that it may be larger than the memory.
"""

import os
import zipfile
import zlib

import numpy as np
import tensorflow as tf

from kerasdet import images as image
from kerasdet.data import pipeline, proposals


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
        found = over(model, dataset, function, batch_size)
        write(path, ((record, keep(record, arrays) if keep else arrays) for record, arrays in found), note)
    return Cached(path, dataset)


def write(path, pictures, note=""):
    """Writes a file of features picture by picture, under another name until it is complete.

    Args:
        path: of the file, ending in .npz.
        pictures: yields records and their dicts of arrays; holding one at a time is enough.
        note: how they were made.

    Raises:
        ValueError: two pictures have one name.
    """
    names, checks = [], []
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    writing = f"{path}.writing.npz"
    with zipfile.ZipFile(writing, "w") as file:

        def add(member, array):
            with file.open(f"{member}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=False)

        for number, (record, arrays) in enumerate(pictures):
            names.append(proposals.name(record))
            checks.append(proposals.check(record))
            for key, array in arrays.items():
                add(f"{number}/{key}", array)
        if len(set(names)) < len(names):
            raise ValueError(f"{path}: two pictures have one name; features go by it: rename one.")
        add("names", np.array(names, str))
        add("checks", np.array(checks, np.int64))
        add("note", np.array(note))
    os.replace(writing, path)


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
