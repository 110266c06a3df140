"""From a `Dataset` to batches of (images, objects), the dicts of `contract`.

Every batch is a pure function of the seed and the step: pictures and sizes are drawn by `order`, and pictures are
augmented with seeds made of the picture's number and its place in the stream. A run that resumes at a step sees the
batches that it would have seen.
"""

import contextlib

import numpy as np
import tensorflow as tf

from kerasdet.data import order, pictures, segments
from kerasdet.data import transforms as augment

MASK_SIDE = 112


def load(
    dataset, preprocess, batch_size, training=False, transforms=(), masks=False, seed=0, start=0, sizes=(), every=10,
    repeat_rare=None, part=(0, 1), grouped=True,
):  # fmt: skip
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
        sizes: in training, sides of which one is drawn every `every` batches and takes the place of the resize rule's,
            as YOLOv2 trains (arXiv:1612.08242, section 2: 320, 352 ... 608, every 10).
        every: batches between draws.
        repeat_rare: in training, the share of the pictures below which a class is rare and its pictures come more
            often, see `order.repeat_factors`; LVIS takes 0.001.
        grouped: in training, whether a batch holds wide or tall pictures only, see `order.Shuffle`; of no use where the
            resize rule brings all pictures to one size.
        part: (i, n): only the i-th of n equal parts of every training batch, for the i-th of n workers.

    Returns:
        A `tf.data.Dataset` of (images, objects); images hold `proposals` where the records have them, R being the most
        of any picture.

    Raises:
        ValueError: the data set is empty, or has no masks where they are asked for; `sizes`, `every` or `repeat_rare`
            make no sense.
    """
    if not len(dataset):
        raise ValueError(f"{dataset.name} holds no images.")
    if masks and not dataset.masked:
        raise ValueError(f"{dataset.name} has images without segmentations; load it with masks=False.")
    _check_draws(training, sizes, every, repeat_rare)
    sample = _sampler(dataset, masks)
    tall = [grouped and record.height > record.width for record in dataset.records]
    factors = None if repeat_rare is None else order.repeat_factors(dataset, repeat_rare)
    number = order.Shuffle(tall, batch_size, seed, factors) if training else lambda place: place

    def draw(seed):
        return sample(tf.random.stateless_uniform([], seed, 0, len(dataset), tf.int64))

    def one(place):
        index = number(place)
        # Stateless ops take int32 seeds; a run of 2**31 pictures may repeat.
        picture_seed = tf.stack([tf.cast(index, tf.int32) + seed, tf.cast(place % 2**31, tf.int32)])
        changed = augment.apply(sample(index), transforms, picture_seed, draw)
        if not sizes:
            return _finished(changed, preprocess(changed["pixels"]))
        kind = order.switched(place // batch_size, every, len(sizes), seed)
        rules = [lambda size=size: preprocess(changed["pixels"], size=size) for size in sizes]
        return _finished(changed, tf.switch_case(kind, rules))

    places = tf.data.Dataset.range(start * batch_size, np.iinfo(np.int64).max if training else len(dataset))
    share = batch_size // part[1]
    if part[1] > 1:
        places = places.filter(lambda place: place % batch_size // share == part[0])
        places = places.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    samples = places.map(one, num_parallel_calls=tf.data.AUTOTUNE)
    images, objects = samples.element_spec
    padding = dict.fromkeys(images), {**dict.fromkeys(objects), "classes": -1}
    batches = samples.padded_batch(share, padding_values=padding)
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


def _check_draws(training, sizes, every, repeat_rare):
    if not training and (sizes or repeat_rare is not None):
        raise ValueError("sizes and repeat_rare belong to training; evaluation sees every picture once, at one size.")
    if not all(isinstance(size, int) and size > 0 for size in sizes) or every < 1:
        raise ValueError(f"sizes must be whole pixels above 0 and every at least 1, got {sizes} and {every}.")
    if repeat_rare is not None and not 0 < repeat_rare <= 1:
        raise ValueError(f"repeat_rare must be a share of the pictures in 0...1, got {repeat_rare}.")


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
    read = pictures.reader([record.image for record in records])
    proposed = [record.proposals is not None for record in records]
    if any(proposed) and not all(proposed):
        raise ValueError(f"{dataset.name}: {records[proposed.index(False)].name} has no proposals, but others have.")
    most = max(len(record.proposals) for record in records) if all(proposed) else 0

    def sample(index):
        objects = {name: values[splits[index] : splits[index + 1]] for name, values in columns.items()}
        if masks:
            grids = tf.numpy_function(lambda i: _grids(records[i]), [index], tf.uint8)
            objects["masks"] = tf.ensure_shape(grids, [None, MASK_SIDE, MASK_SIDE])
            objects["mask_frames"] = objects["boxes"]
        if dataset.keypoints:
            objects["keypoint_pairs"] = tf.constant(_mirror_images(dataset.keypoints), tf.int32)
        if all(proposed):
            boxes = tf.numpy_function(lambda i: _filled_up(records[i].proposals, most), [index], tf.float32)
            objects["proposals"] = tf.ensure_shape(boxes, [most, 4])
        return {"pixels": read(index), "ids": ids[index], **objects}

    return sample


def _finished(sample, seen):
    """Splits an augmented sample into images, as `preprocess` returned them, and objects in network pixels."""
    sample = augment.moved(sample, seen["frames"])
    images = {key: sample[key] for key in ("ids", "proposals") if key in sample}
    objects = {key: sample[key] for key in sample.keys() - {"pixels", "keypoint_pairs", *images}}
    return {**seen, **images}, objects


def _filled(images, objects, batch_size):
    """Fills the last batch with black images of id -1 and no objects."""
    missing = batch_size - tf.shape(images["ids"])[0]
    fill = {"ids": -1, "classes": -1, "frames": 1}

    def filled(name, values):
        paddings = [[0, missing]] + [[0, 0]] * (len(values.shape) - 1)
        padded = tf.pad(values, paddings, constant_values=tf.cast(fill.get(name, 0), values.dtype))
        return tf.ensure_shape(padded, [batch_size, *values.shape[1:]])

    return tuple({name: filled(name, values) for name, values in part.items()} for part in (images, objects))


def _filled_up(boxes, count):
    return np.pad(boxes, [(0, count - len(boxes)), (0, 0)])


def _grids(record):
    """The record's masks [M, S, S] uint8, each sampled on a grid over its object's box."""
    grids = np.zeros([len(record.boxes), MASK_SIDE, MASK_SIDE], np.uint8)
    for grid, segment, (x1, y1, x2, y2) in zip(grids, record.segments, record.boxes, strict=True):
        whole = segments.decode(segment, record.height, record.width)
        steps = (np.arange(MASK_SIDE) + 0.5) / MASK_SIDE
        rows = np.clip(np.int32(y1 + steps * (y2 - y1)), 0, record.height - 1)
        columns = np.clip(np.int32(x1 + steps * (x2 - x1)), 0, record.width - 1)
        grid[:] = whole[np.ix_(rows, columns)]
    return grids


def _mirror_images(names):
    """For each keypoint the number of its mirror image: "left" and "right" swapped in its name."""

    def mirrored(name):
        swapped = name.replace("left", "\0").replace("right", "left").replace("\0", "right")
        return swapped if swapped in names else name

    return [names.index(mirrored(name)) for name in names]
