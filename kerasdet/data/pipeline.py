"""From a `Dataset` to batches of (images, objects), the dicts of `contract`.

Every batch is a pure function of the seed and the step: pictures are drawn by a stateless shuffle of their numbers and
augmented with seeds made of the picture's number and its place in the stream. A run that resumes at a step sees the
batches that it would have seen.
"""

import contextlib

import numpy as np
import tensorflow as tf
from pycocotools import mask as rle

from kerasdet import images as image
from kerasdet.data import transforms as augment

MASK_SIDE = 112


def load(dataset, preprocess, batch_size, training=False, transforms=(), masks=False, seed=0, start=0):
    """Makes the batches.

    Args:
        dataset: a `Dataset`.
        preprocess: the model's `preprocess`.
        batch_size: images a batch; the last batch of a pass is filled with black images of id -1.
        training: an endless shuffled stream; else one pass in order.
        transforms: tuples of `data.transforms`, applied before `preprocess`.
        masks: whether objects carry masks.
        seed: of the stream.
        start: step to start at.

    Returns:
        A `tf.data.Dataset` of (images, objects).

    Raises:
        ValueError: the data set is empty, or has no masks where they are asked for.
    """
    if not len(dataset):
        raise ValueError(f"{dataset.name} holds no images.")
    if masks and any(record.segments is None for record in dataset.records):
        raise ValueError(f"{dataset.name} has images without segmentations; load it with masks=False.")
    sample = _sampler(dataset, masks)

    def one(place):
        index = _shuffled(place, len(dataset), seed) if training else place
        # Stateless ops take int32 seeds; a run of 2**31 pictures may repeat.
        picture_seed = tf.stack([tf.cast(index, tf.int32) + seed, tf.cast(place % 2**31, tf.int32)])
        return _finished(augment.apply(sample(index), transforms, picture_seed), preprocess)

    places = tf.data.Dataset.range(start * batch_size, np.iinfo(np.int64).max if training else len(dataset))
    pictures = places.map(one, num_parallel_calls=tf.data.AUTOTUNE)
    images, objects = pictures.element_spec
    padding = dict.fromkeys(images), {**dict.fromkeys(objects), "classes": -1}
    batches = pictures.padded_batch(batch_size, padding_values=padding)
    if not training:
        batches = batches.map(lambda images, objects: _filled(images, objects, batch_size))
    return batches.prefetch(tf.data.AUTOTUNE)


@contextlib.contextmanager
def named(*datasets):
    """Inside, a picture that TensorFlow cannot decode becomes one line that names its file.

    Args:
        datasets: the `Dataset`s that are being read.

    Raises:
        ValueError: the line.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError:
        for dataset in datasets:
            for record in dataset.records:
                record.pixels()
        raise


def _shuffled(place, count, seed):
    """The picture at a place of the endless stream: pass p over the data is the p-th stateless shuffle."""
    order = tf.stack([tf.constant(seed, tf.int64), place // count])
    return tf.random.experimental.index_shuffle(
        place % count, tf.cast(order, tf.int32), tf.constant(count - 1, tf.int64)
    )


def _sampler(dataset, masks):
    """A function from a record's number to the sample dict, on tensors."""
    records = dataset.records
    ids = tf.constant([record.id for record in records], tf.int64)
    splits = tf.constant(np.cumsum([0] + [len(record.boxes) for record in records]), tf.int64)
    columns = {
        "boxes": np.concatenate([record.boxes for record in records]).astype(np.float32).reshape(-1, 4),
        "classes": np.concatenate([record.classes for record in records]).astype(np.int32),
        "crowds": np.concatenate([record.crowds for record in records]).astype(bool),
    }
    if dataset.keypoints:
        columns["keypoints"] = np.concatenate([record.keypoints for record in records]).astype(np.float32)
    columns = {name: tf.constant(values) for name, values in columns.items()}
    if all(isinstance(record.image, str) for record in records):
        paths = tf.constant([record.image for record in records])

        def pixels(index):
            return image.read(paths[index])
    else:

        def pixels(index):
            return tf.ensure_shape(tf.numpy_function(lambda i: records[i].pixels(), [index], tf.uint8), [None, None, 3])

    def sample(index):
        objects = {name: values[splits[index] : splits[index + 1]] for name, values in columns.items()}
        if masks:
            grids = tf.numpy_function(lambda i: _grids(records[i]), [index], tf.uint8)
            objects["masks"] = tf.ensure_shape(grids, [None, MASK_SIDE, MASK_SIDE])
            objects["mask_frames"] = objects["boxes"]
        if dataset.keypoints:
            objects["keypoint_pairs"] = tf.constant(_mirror_images(dataset.keypoints), tf.int32)
        return {"pixels": pixels(index), "ids": ids[index], **objects}

    return sample


def _finished(sample, preprocess):
    """Splits an augmented sample into images and objects in network pixels."""
    sample.pop("keypoint_pairs", None)
    images = {**preprocess(sample.pop("pixels")), "ids": sample.pop("ids")}
    frame = images["frames"]
    for key in ("boxes", "mask_frames"):
        if key in sample:
            sample[key] = image.to_frames(sample[key], frame)
    if "keypoints" in sample:
        points, seen = tf.split(sample["keypoints"], [2, 1], axis=-1)
        sample["keypoints"] = tf.concat([points * frame[:2] + frame[2:], seen], axis=-1)
    return images, sample


def _filled(images, objects, batch_size):
    """Fills the last batch with black images of id -1 and no objects."""
    missing = batch_size - tf.shape(images["ids"])[0]
    fill = {"ids": -1, "classes": -1, "frames": 1}

    def filled(name, values):
        paddings = [[0, missing]] + [[0, 0]] * (len(values.shape) - 1)
        padded = tf.pad(values, paddings, constant_values=tf.cast(fill.get(name, 0), values.dtype))
        return tf.ensure_shape(padded, [batch_size, *values.shape[1:]])

    return tuple({name: filled(name, values) for name, values in part.items()} for part in (images, objects))


def _grids(record):
    """The record's masks [M, S, S] uint8, each sampled on a grid over its object's box."""
    grids = np.zeros([len(record.boxes), MASK_SIDE, MASK_SIDE], np.uint8)
    for grid, segment, (x1, y1, x2, y2) in zip(grids, record.segments, record.boxes, strict=True):
        whole = _decoded(segment, record.height, record.width)
        steps = (np.arange(MASK_SIDE) + 0.5) / MASK_SIDE
        rows = np.clip(np.int32(y1 + steps * (y2 - y1)), 0, record.height - 1)
        columns = np.clip(np.int32(x1 + steps * (x2 - x1)), 0, record.width - 1)
        grid[:] = whole[np.ix_(rows, columns)]
    return grids


def _decoded(segment, height, width):
    """A COCO segmentation (polygons, or RLE of either kind) as [H, W] uint8."""
    if isinstance(segment, list):
        segment = rle.merge(rle.frPyObjects(segment, height, width))
    elif isinstance(segment["counts"], list):
        segment = rle.frPyObjects(segment, height, width)
    return rle.decode(segment)


def _mirror_images(names):
    """For each keypoint the number of its mirror image: "left" and "right" swapped in its name."""

    def mirrored(name):
        swapped = name.replace("left", "\0").replace("right", "left").replace("\0", "right")
        return swapped if swapped in names else name

    return [names.index(mirrored(name)) for name in names]
