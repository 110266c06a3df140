"""Reads data sets that TensorFlow Datasets prepares, such as `tfds:coco/2017`; pictures stay in its files."""

import os

import numpy as np

from kerasdet.data import files, objects, tfrecord
from kerasdet.data.dataset import Dataset

_LABELS = ("label", "type")
_CROWDS = ("is_crowd", "is_difficult")


def read(name, split=None, data_dir=None):
    """Reads one split of a TFDS data set with pictures and boxes.

    It needs an image feature and a sequence of objects with a bounding box. It also reads the objects' class (their
    `label`, `type` or only ClassLabel; without one, all objects share one class), `is_crowd`, `is_difficult` and
    `area`, and the picture's `image/id` and `image/filename`.

    Args:
        name: of the data set, with config and version if wanted: "coco/2017".
        split: such as "train", "train[:10%]" or "train+validation".
        data_dir: folder of prepared data sets; by default TFDS's own. A missing data set is downloaded and prepared.

    Returns:
        `Dataset`.

    Raises:
        ValueError: the data set has no such split or no boxes, or its files are not TFRecords.
    """
    import tensorflow_datasets as tfds  # takes seconds, so only this format waits for it

    builder = tfds.builder(name, data_dir=data_dir)
    builder.download_and_prepare()
    if builder.info.file_format.value != "tfrecord":
        raise ValueError(
            f"tfds:{name} is stored as {builder.info.file_format.value} in {builder.data_dir}; only tfrecord can be "
            f"read: prepare it with `tfds build {name} --file_format=tfrecord`."
        )
    if split is None:
        raise ValueError(f"tfds:{name} has the splits {sorted(builder.info.splits)}; say split=...")
    try:
        instructions = builder.info.splits[split].file_instructions
    except (KeyError, ValueError) as error:
        splits = sorted(builder.info.splits)
        raise ValueError(f"tfds:{name} has the splits {splits}, not {split!r} ({_first_line(error)}).") from None

    picture, group, fields, box = _keys(builder.info.features, tfds, name)
    label = _label(fields, tfds)
    names = fields[label].names if label else [group.removesuffix("s")]
    classes, numbers, ignored = objects.numbered(names, f"tfds:{name}")
    class_ids = [numbers[class_name] for class_name in names]

    keys = {"image/id", "image/filename", *(f"{group}/{key}" for key in (box, label, "area", *_CROWDS))}
    examples = [example for instruction in instructions for example in _examples(instruction, picture, keys)]
    sizes = files.upright_sizes([image for _, image in examples], [None] * len(examples))
    image_ids = _image_ids([values for values, _ in examples])
    dataset = Dataset(f"{name} {split}", classes, [], notes=ignored)
    for image_id, (values, image), size in zip(image_ids, examples, sizes, strict=True):
        fractions = np.reshape(values.get(f"{group}/{box}", ()), (-1, 4))[:, [1, 0, 3, 2]]  # xmin, ymin, xmax, ymax
        labels = values.get(f"{group}/{label}", np.zeros(len(fractions), int))
        flags = [values[f"{group}/{key}"] for key in _CROWDS if f"{group}/{key}" in values]
        areas = values.get(f"{group}/area", ())
        objects.add(
            dataset,
            image_id,
            image,
            size,
            boxes=_corrected(builder.name, tfrecord.pixels(fractions.T, *size), size[0]),
            numbers=[class_ids[label] for label in labels],
            place=lambda i, image=image: f"{image}: object {i + 1}",
            crowds=np.any(flags, axis=0) if flags else None,
            areas=areas if len(areas) else None,
        )
    return objects.finished(dataset, f"tfds:{name}")


def splits(name):
    """Names of the splits of a prepared data set."""
    import tensorflow_datasets as tfds

    return sorted(tfds.builder(name).info.splits)


def _corrected(name, boxes, height):
    """Boxes as the original data set defines them, if TFDS (4.9) passes on different numbers."""
    if name == "voc":  # VOC counts pixels from 1
        return boxes - [1, 1, 0, 0]
    if name == "kitti":  # y points upward
        return [0, height, 0, height] + boxes[:, [0, 3, 2, 1]] * [1, -1, 1, -1]
    return boxes


def _first_line(error):
    return str(error).strip("'\"").split("\n")[0]


def _keys(features, tfds, name):
    """Keys of the picture and of the objects, the objects' features, and the key of their box."""
    picture = next((key for key, feature in features.items() if isinstance(feature, tfds.features.Image)), None)
    for group, feature in features.items():
        fields = getattr(feature, "feature", None)
        if picture and isinstance(fields, tfds.features.FeaturesDict):
            box = next((key for key, field in fields.items() if isinstance(field, tfds.features.BBoxFeature)), None)
            if box:
                return picture, group, fields, box
    raise ValueError(f"tfds:{name} has no picture with a sequence of boxes; its features are {sorted(features)}.")


def _label(fields, tfds):
    """The key of the objects' class, or None: one class."""
    labels = [key for key, feature in fields.items() if isinstance(feature, tfds.features.ClassLabel)]
    usual = [key for key in _LABELS if key in labels]
    return (usual or (labels if len(labels) == 1 else [None]))[0]


def _examples(instruction, picture, keys):
    """The examples of a part of a shard."""
    path = os.fspath(instruction.filename)
    stop = instruction.skip + instruction.take
    for number, example in enumerate(tfrecord.examples(path, picture, "image/filename", keys)):
        if number >= stop:
            return
        if number >= instruction.skip:
            yield example


def _image_ids(examples):
    """The data set's own image ids if they are unique integers of 0 or more, else positions."""
    ids = [next(iter(values.get("image/id", ())), None) for values in examples]
    usable = all(isinstance(i, np.int64) and i >= 0 for i in ids) and len(set(ids)) == len(ids)
    return [int(i) for i in ids] if usable else list(range(len(ids)))
