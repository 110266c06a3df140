"""One image set gives the same batches in every format, bit for bit."""

import dataclasses

import numpy as np
import pytest

from kerasdet import data, images
from kerasdet.data import pipeline, records
from tests.data import scenes


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("formats")


@pytest.fixture(scope="module")
def truth(home):
    return scenes.truth(str(home / "photos"))


@pytest.fixture(scope="module")
def expected(truth):
    return batches(truth)


def batches(dataset):
    stream = pipeline.load(dataset, lambda pixels: images.preprocess(pixels, ("shorter", 96, 128), 32), 4)
    return [tuple({key: value.numpy() for key, value in part.items()} for part in batch) for batch in stream]


def assert_same(dataset, truth, expected, notes=()):
    """The same batches, with notes that hold these words and no others."""
    assert dataset.classes == truth.classes and len(dataset) == len(truth)
    assert [words in note for words, note in zip(notes, dataset.notes, strict=True)] == [True] * len(notes)
    for one, other in zip(batches(dataset), expected, strict=True):
        for part, twin in zip(one, other, strict=True):
            assert part.keys() == twin.keys()
            for key in part:
                np.testing.assert_array_equal(part[key], twin[key], err_msg=key)


def test_coco(home, truth, expected):
    scenes.coco(truth, home / "labels.json")
    dataset = data.read(home / "labels.json", images=home / "photos")
    assert_same(dataset, truth, expected)
    assert dataset.category_ids[0] == 10


def test_voc(home, truth, expected):
    scenes.voc(truth, home / "voc")
    assert_same(data.read(home / "voc", "val"), truth, expected)


def test_yolo(home, truth):
    """The format knows no crowds: the picture with one is left out."""
    scenes.yolo(truth, home / "yolo")
    dataset = data.read(home / "yolo", "val")
    assert len(dataset) == len(truth)
    dataset, truth = (
        dataclasses.replace(one, records=[record for record in one.records if record.id != scenes.CROWDED])
        for one in (dataset, truth)
    )
    assert_same(dataset, truth, batches(truth), ["1 photo has no label file and is background: images/03.png"])


def test_table(home, truth, expected):
    scenes.table(truth, home / "boxes.csv")
    assert_same(data.read(home / "boxes.csv", images=home / "photos", format="xyxy"), truth, expected)


def test_tfds(home, truth, expected):
    scenes.tfds_set(truth, str(home / "tfds"))
    dataset = data.read("tfds:tiny_scenes", "train", data_dir=str(home / "tfds"))
    assert_same(dataset, truth, expected)
    assert dataset.records[0].image.name == "00.png"
    part = data.read("tfds:tiny_scenes", "train[25%:50%]", data_dir=str(home / "tfds"))
    assert [record.id for record in part.records] == [3, 4, 5]
    with pytest.raises(ValueError, match=r"tfds:tiny_scenes has the splits \['train'\], not 'val'"):
        data.read("tfds:tiny_scenes", "val", data_dir=str(home / "tfds"))


def test_records(home, truth, expected):
    records.write(truth, home / "records" / "val", shards=3)
    dataset = data.read(home / "records", "val")
    assert_same(dataset, truth, expected)
    with open(truth.records[4].image, "rb") as file:
        assert dataset.records[4].image.read() == file.read()  # copied, not encoded again
