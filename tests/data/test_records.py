"""TFRecord shards: the round trip is exact, interrupted writing continues, damage is named, other shards are read."""

import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools import mask as rle

from kerasdet import data
from kerasdet.data import examples, records, shapes, tfrecord


@pytest.fixture(scope="module")
def dataset():
    pictures = [shapes.picture("val", index) for index in range(5)]
    rng = np.random.default_rng(0)
    for picture in pictures:
        picture.boxes = np.sort(rng.uniform(0, 250, (len(picture.boxes), 2, 2)).astype("f4"), 1).reshape(-1, 4)
        picture.image = picture.image[:251, :253]
        picture.height, picture.width = 251, 253
    return data.Dataset("five", shapes.CLASSES, pictures, (3, 5, 7, 9, 11, 13), shapes.KEYPOINTS, ["a note"])


def assert_same(one, other):
    assert (one.name, one.classes, one.category_ids, one.keypoints, one.notes) == (
        other.name, other.classes, other.category_ids, other.keypoints, other.notes,
    )  # fmt: skip
    for record, twin in zip(one.records, other.records, strict=True):
        assert (record.id, record.height, record.width) == (twin.id, twin.height, twin.width)
        assert record.segments == twin.segments
        for key in ("boxes", "classes", "crowds", "areas", "keypoints"):
            np.testing.assert_array_equal(getattr(record, key), getattr(twin, key), err_msg=key)
        np.testing.assert_array_equal(record.pixels(), twin.pixels())


def test_round_trip(dataset, tmp_path):
    """Boxes at random places: from the API's shares alone some would come back a bit off."""
    records.write(dataset, tmp_path / "out", shards=2)
    assert_same(records.read(tmp_path / "out", verify=True), dataset)
    places, side = np.random.default_rng(0).uniform(0, 250, 10_000).astype("f4"), np.float32(253)
    assert 0.001 < np.mean((np.float64(places / side) * 253).astype("f4") != places) < 0.1


def test_fields_of_the_object_detection_api(dataset, tmp_path):
    """Read by TensorFlow's own parser."""
    records.write(dataset, tmp_path / "out", shards=1)
    raw = next(iter(tf.data.TFRecordDataset(str(tmp_path / "out/records-00000-of-00001.tfrecord"))))
    ragged = tf.io.VarLenFeature
    parsed = tf.io.parse_single_example(
        raw,
        {
            "image/encoded": tf.io.FixedLenFeature([], tf.string),
            "image/format": tf.io.FixedLenFeature([], tf.string),
            "image/height": tf.io.FixedLenFeature([], tf.int64),
            "image/source_id": tf.io.FixedLenFeature([], tf.string),
            "image/object/bbox/xmax": ragged(tf.float32),
            "image/object/class/text": ragged(tf.string),
            "image/object/class/label": ragged(tf.int64),
            "image/object/is_crowd": ragged(tf.int64),
            "image/object/keypoint/y": ragged(tf.float32),
        },
    )
    record = dataset.records[0]
    np.testing.assert_array_equal(tf.io.decode_png(parsed["image/encoded"]), record.image)
    assert (parsed["image/format"], parsed["image/height"], parsed["image/source_id"]) == (b"png", 251, b"0")
    np.testing.assert_allclose(parsed["image/object/bbox/xmax"].values, record.boxes[:, 2] / 253, rtol=1e-6)
    np.testing.assert_array_equal(parsed["image/object/class/label"].values, record.classes + 1)
    assert parsed["image/object/class/text"].values[0] == shapes.CLASSES[record.classes[0]].encode()
    np.testing.assert_allclose(
        parsed["image/object/keypoint/y"].values, record.keypoints[..., 1].ravel() / 251, rtol=1e-6
    )


def test_interrupted_writing_continues(dataset, tmp_path, monkeypatch):
    """The third shard fails; the second call writes it alone."""
    encode, written = examples.encode, []

    def failing(dataset, record):
        if record.id == 3:
            raise KeyboardInterrupt
        return encode(dataset, record)

    def counting(dataset, record):
        written.append(record.id)
        return encode(dataset, record)

    monkeypatch.setattr(examples, "encode", failing)
    with pytest.raises(KeyboardInterrupt):
        records.write(dataset, tmp_path, shards=3, workers=1)
    with pytest.raises(ValueError, match="writing was cut off"):
        records.read(tmp_path)
    monkeypatch.setattr(examples, "encode", counting)
    records.write(dataset, tmp_path, shards=3, workers=1)
    assert 0 not in written and {2, 3} <= set(written)
    assert_same(records.read(tmp_path, verify=True), dataset)
    written.clear()
    records.write(dataset, tmp_path, shards=3)
    assert written == []


def test_another_data_set_is_not_mixed_in(dataset, tmp_path):
    records.write(dataset, tmp_path, shards=2)
    for shards, other in ((3, dataset), (2, data.Dataset("two", shapes.CLASSES, dataset.records[:2]))):
        with pytest.raises(ValueError, match="holds shards of another data set"):
            records.write(other, tmp_path, shards=shards)


def test_damage_is_named(dataset, tmp_path):
    records.write(dataset, tmp_path, shards=2)
    shard = tmp_path / "records-00001-of-00002.tfrecord"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:50] + bytes([whole[50] ^ 1]) + whole[51:])
    with pytest.raises(ValueError, match=r"records-00001-of-00002\.tfrecord has another SHA-256"):
        records.read(tmp_path, verify=True)
    shard.write_bytes(whole[:-9])
    with pytest.raises(ValueError, match=r"records-00001-of-00002\.tfrecord has \d+ bytes, in manifest.json \d+"):
        records.read(tmp_path)
    with pytest.raises(ValueError, match=r"records-00001.*cut short"):
        list(tfrecord.examples(str(shard), "image/encoded", "image/filename", ()))
    shard.unlink()
    with pytest.raises(FileNotFoundError, match="1 of 2 files are missing"):
        records.read(tmp_path)


def _foreign(path, **more):
    """A shard as the API's own scripts write them: normalized boxes, a JPEG, labels from 1."""
    file = io.BytesIO()
    Image.new("RGB", (300, 200), "red").save(file, "jpeg")
    values = {
        "image/encoded": [file.getvalue()],
        "image/filename": [b"red.jpg"],
        "image/source_id": [b"red"],
        "image/object/bbox/xmin": np.float32([30 / 300, 0]),
        "image/object/bbox/ymin": np.float32([20 / 200, 0]),
        "image/object/bbox/xmax": np.float32([61 / 300, 1]),
        "image/object/bbox/ymax": np.float32([33 / 200, 1]),
        "image/object/class/text": [b"egg", b"crack"],
        "image/object/class/label": [7, 3],
        "image/object/difficult": [0, 1],
        **more,
    }
    features = {key: examples._feature(value) for key, value in values.items()}
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def test_shards_from_other_writers(tmp_path):
    _foreign(tmp_path / "train.record-00000-of-00001")
    (record,) = (dataset := records.read(tmp_path, "train")).records
    assert dataset.classes == ("crack", "egg") and record.id == 0 and (record.height, record.width) == (200, 300)
    np.testing.assert_array_equal(record.boxes, np.float32([[30, 20, 61, 33], [0, 0, 300, 200]]))
    assert record.classes.tolist() == [1, 0] and record.crowds.tolist() == [False, True]
    (tmp_path / "labels.pbtxt").write_text("item { id: 3\n name: 'crack' }\nitem {\n name: \"egg\"\n id: 7 }")
    dataset = records.read(tmp_path)
    assert dataset.classes == ("crack", "egg") and dataset.category_ids == (3, 7)
    assert dataset.records[0].classes.tolist() == [1, 0]


def test_a_line_break_in_the_name_of_a_class_is_one_line(tmp_path):
    _foreign(tmp_path / "a.tfrecord")
    (tmp_path / "labels.pbtxt").write_text('item { id: 3 name: "cra\nck" }')
    with pytest.raises(ValueError) as refused:
        records.read(tmp_path)
    assert r"""labels.pbtxt: the name '"cra\nck"' is not text""" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_masks_from_other_writers(tmp_path):
    mask = np.zeros((200, 300), np.uint8)
    mask[20:33, 30:61] = 1
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "png")
    _foreign(tmp_path / "a.tfrecord", **{"image/object/mask": [file.getvalue()] * 2})
    segment = records.read(tmp_path).records[0].segments[0]
    np.testing.assert_array_equal(rle.decode(segment), mask)


def test_refused(tmp_path):
    _foreign(tmp_path / "a.tfrecord", **{"image/object/class/text": [], "image/object/class/label": []})
    with pytest.raises(ValueError, match="names no classes"):
        records.read(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no shards b"):
        records.read(tmp_path, "b")
    (tmp_path / "a.tfrecord").write_bytes(b"\x1f\x8b" + bytes(40))
    with pytest.raises(ValueError, match=r"a\.tfrecord"):
        records.read(tmp_path, classes=["egg"])


def test_broken_picture_is_named(dataset, tmp_path):
    _foreign(tmp_path / "a.tfrecord", **{"image/encoded": [b"\xff\xd8\xffno picture"], "image/height": [9],
                                         "image/width": [9]})  # fmt: skip
    read = records.read(tmp_path)
    with pytest.raises(ValueError, match=r"red\.jpg in .*a\.tfrecord: cannot be decoded"):
        read.records[0].pixels()


def test_manifest(dataset, tmp_path):
    records.write(dataset, tmp_path, shards=2)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["images"] == 5 and manifest["objects"] == sum(len(record.boxes) for record in dataset.records)
    assert [shard["images"] for shard in manifest["shards"]] == [3, 2]
    assert 'name: "circle"' in (tmp_path / "label_map.pbtxt").read_text()
