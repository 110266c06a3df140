"""Measures images per second of the data pipeline, compared with decoding JPEGs alone: the floor."""

import functools
import glob
import io
import pathlib
import statistics
import tempfile
import time

import numpy as np
import tensorflow as tf
from PIL import Image

from kerasdet import images
from kerasdet.benchmark import measure
from kerasdet.data import Dataset, Record, pipeline, shapes

HEIGHT, WIDTH, SIDE = 480, 640, 512
OBJECTS = 8
FLOOR = "decode_jpeg alone"
TRANSFORMS = {
    "flip, jitter-crop, pad": (("flip", 0.5), ("scale_jitter", SIDE, 0.5, 2.0)),
    "flip": (("flip", 0.5),),
    "flip, zoom, color": (("flip", 0.5), ("zoom", 0.5, 2.0), ("color",)),
    "photometric, expand, sample-crop, flip": (("photometric",), ("expand",), ("sample_crop",), ("flip", 0.5)),
    "flip, scale jitter, hsv": (("flip", 0.5), ("scale_jitter", SIDE, 0.5, 2.0), ("hsv",)),
    "mosaic": (("mosaic", SIDE),),
}


def write(folder, count):
    """Draws JPEG files of 640 x 480 pixels, quality 95, from `data.shapes`.

    Args:
        folder: existing folder.
        count: number of files.

    Returns:
        List of their paths.
    """
    paths = []
    for number in range(count):
        picture = Image.fromarray(shapes.picture("train", number).image).resize((WIDTH, HEIGHT), Image.BICUBIC)
        grain = np.random.default_rng(number).normal(0, 6, (HEIGHT, WIDTH, 3))
        data = io.BytesIO()
        Image.fromarray(np.uint8(np.clip(picture + grain, 0, 255))).save(data, "JPEG", quality=95)
        paths.append(str(pathlib.Path(folder) / f"{number:05d}.jpg"))
        pathlib.Path(paths[-1]).write_bytes(data.getvalue())
    return paths


def read(paths):
    """Makes a data set of image files, each with eight random objects.

    Args:
        paths: paths of the files.

    Returns:
        A `Dataset`.
    """
    records = []
    for number, path in enumerate(paths):
        with Image.open(path) as picture:
            width, height = picture.size
        low = np.random.default_rng(number).uniform(0, 0.7, (OBJECTS, 2))
        boxes = np.float32(np.concatenate([low, low + 0.3], 1) * [width, height, width, height])
        objects = {"classes": np.zeros(OBJECTS, np.int32), "crowds": np.zeros(OBJECTS, bool)}
        records.append(Record(number, path, height, width, boxes, areas=(boxes[:, 2] - boxes[:, 0]) ** 2, **objects))
    return Dataset("files", ("object",), records)


def files(pattern, rounds):
    """Like `inputs`, on the files of a pattern such as "photos/*.jpg", or on 64 drawn ones if it is None.

    Raises:
        FileNotFoundError: there are no such files.
    """
    if pattern is None:
        with tempfile.TemporaryDirectory() as folder:
            return inputs(write(folder, 64), rounds)
    paths = sorted(glob.glob(pattern))
    if not paths:
        raise FileNotFoundError(f"{pattern}: no such files.")
    return inputs(paths, rounds)


def inputs(paths, rounds, batch_size=8, batches=20):
    """Measures the pipeline and its floor in turns, between the cases of the machine.

    Args:
        paths: paths of JPEG files.
        rounds: rounds of each case.
        batch_size: images per batch.
        batches: batches per round.

    Returns:
        Dict with the report of `measure.measure` under "input"; lines also have `floor_share`, the share of their time
        that decoding alone takes, at the medians.
    """
    dataset = read(paths)
    preprocess = functools.partial(images.preprocess, rule=("letterbox", SIDE, SIDE))
    streams = {FLOOR: _decoded(paths, batch_size)}
    for name, transforms in TRANSFORMS.items():
        streams[name] = pipeline.load(dataset, preprocess, batch_size, training=True, transforms=transforms)
    machine = measure.machine_cases()
    seconds = {name: [] for name in (*machine, *streams)}
    for i in range(rounds + 1):
        round_times = {name: times[0] for name, times in measure.interleaved(machine, 1).items()}
        round_times |= {name: _seconds(stream, batches) for name, stream in streams.items()}
        for name in round_times if i > 0 else ():  # the first round warms the disk's cache
            seconds[name].append(round_times[name])
    speed = measure.machine(seconds)
    case, floor = measure.Case(None, images=batches * batch_size), statistics.median(seconds[FLOOR])
    lines = [measure.row(name, case, seconds[name], speed) for name in streams]
    for line in lines:
        line["floor_share"] = 1e3 * floor / line["median_ms"]
    return {"input": {"machine": speed, "cases": lines}}


def _decoded(paths, batch_size):
    """Only reads and decodes; a batch holds the pictures' heights."""

    def height(path):
        pixels = tf.io.decode_jpeg(tf.io.read_file(path), channels=3, dct_method="INTEGER_ACCURATE")
        return tf.shape(pixels)[0] + tf.cast(pixels[0, 0, 0], tf.int32)

    files = tf.data.Dataset.from_tensor_slices(paths).shuffle(len(paths), seed=0).repeat()
    return files.map(height, tf.data.AUTOTUNE).batch(batch_size).prefetch(tf.data.AUTOTUNE)


def _seconds(stream, batches):
    """Seconds for some batches, after five batches of warm-up."""
    iterator = iter(stream)
    for _ in range(5):
        next(iterator)
    begin = time.perf_counter()
    for _ in range(batches):
        next(iterator)
    return time.perf_counter() - begin
