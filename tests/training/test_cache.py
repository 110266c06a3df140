"""Features of a data set: written picture by picture, read back by the pictures that they are of."""

import dataclasses
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdet import data
from kerasdet.training import cache
from tests.training import micro


@pytest.fixture(scope="module")
def model():
    return micro.make()


@pytest.fixture(scope="module")
def photos():
    """Six pictures: with batches of four the last one is filled up. Each has as many proposals as its number."""
    photos = micro.photos(6)
    rng = np.random.default_rng(0)
    for i, record in enumerate(photos.records):
        corners = rng.uniform(0, 16, [i, 2])
        record.proposals = np.float32(np.concatenate([corners, corners + rng.uniform(4, 16, [i, 2])], 1))
    return photos


def brightness(images):
    """Of each picture the mean of its colors, and of each of its proposals its area."""
    sides = images["proposals"][..., 2:] - images["proposals"][..., :2]
    return {"mean": tf.reduce_mean(images["pixels"], [1, 2]), "areas": sides[..., 0] * sides[..., 1]}


def real(record, arrays):
    """Without the padding up to the picture with the most proposals."""
    return {**arrays, "areas": arrays["areas"][: len(record.proposals)]}


def test_features_are_those_of_each_picture(model, photos, tmp_path):
    cached = cache.features(model, photos, tmp_path / "some.npz", brightness, 4, keep=real)
    assert len(cached) == 6 and len(list(cached)) == 6
    for (record, arrays), expected in zip(cached, photos.records, strict=True):
        assert record is expected and set(arrays) == {"mean", "areas"}
        np.testing.assert_allclose(arrays["mean"], expected.image.mean((0, 1)), rtol=1e-5)
        x1, y1, x2, y2 = expected.proposals.T
        assert arrays["areas"].shape == (len(expected.proposals),)
        np.testing.assert_allclose(arrays["areas"], (x2 - x1) * (y2 - y1), rtol=1e-5)
    some = dataclasses.replace(photos, records=photos.records[4:1:-2])  # fewer, in another order
    for record, arrays in cache.Cached(tmp_path / "some.npz", some):
        np.testing.assert_array_equal(arrays["mean"], cached[record]["mean"])
    assert [path.name for path in tmp_path.iterdir()] == ["some.npz"]


def test_features_are_made_once_and_again_for_other_weights(photos, tmp_path):
    model, runs = micro.make(), []

    def counted(images):
        tf.py_function(lambda: runs.append(1), [], [])
        return {"logits": model.network(images)["logits"]}

    for expected in (2, 2):  # batches of four, once
        cached = cache.features(model, photos, tmp_path / "some.npz", counted, 4)
        assert len(runs) == expected
    before = cached[photos.records[0]]["logits"]
    model.class_head.bias.assign_add(np.ones(6, np.float32))
    cached = cache.features(model, photos, tmp_path / "some.npz", counted, 4)
    assert len(runs) == 4
    np.testing.assert_allclose(cached[photos.records[0]]["logits"], before + 1, rtol=1e-5)


def test_no_more_than_a_batch_is_held(photos, tmp_path):
    """`write` takes a picture and drops it before it asks for the next; reading holds one."""
    alive = []

    class Counted(np.ndarray):
        def __del__(self):
            alive.remove(1)

    def pictures():
        for record in photos.records:
            assert len(alive) <= 1
            alive.append(1)
            yield record, {"a": np.zeros([10], np.float32).view(Counted)}

    cache.write(tmp_path / "a.npz", pictures())
    with zipfile.ZipFile(tmp_path / "a.npz") as file:
        assert [f"{i}/a.npy" for i in range(6)] == file.namelist()[:6]


def test_half_precision_is_read_as_float32(model, photos, tmp_path):
    def half(images):
        return {"a": tf.cast(images["ids"], tf.bfloat16), "b": tf.cast(images["ids"], tf.float16)}

    for _, arrays in cache.features(model, photos, tmp_path / "a.npz", half):
        assert arrays["a"].dtype == np.float32 and arrays["b"].dtype == np.float16


def test_files_of_other_pictures_and_damaged_ones_are_refused(model, photos, tmp_path):
    path = tmp_path / "some.npz"
    cache.features(model, photos, path, brightness)
    with pytest.raises(ValueError, match="some.npz has no features of .*106: give each data set a file"):
        cache.features(model, micro.photos(7), path, brightness)
    with pytest.raises(ValueError, match="some.npz was made for another picture of the name of .*100"):
        cache.Cached(path, micro.photos(1, seed=5))
    content = bytearray(path.read_bytes())
    content[content.index(b"NUMPY") + 130] ^= 1  # in the first array's numbers
    path.write_bytes(content)
    with pytest.raises(ValueError, match="the features of .*100 are damaged: remove the file"):
        list(cache.Cached(path, photos))
    path.write_bytes(content[:1000])
    with pytest.raises(ValueError, match="is no file of features, or it is damaged"):
        cache.Cached(path, photos)
    with pytest.raises(FileNotFoundError):
        cache.Cached(tmp_path / "none.npz", photos)


def test_pictures_of_one_name_are_refused(model, photos, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        keras.utils.save_img(tmp_path / folder / "one.png", photos.records[0].image)
    twins = [dataclasses.replace(photos.records[0], image=str(tmp_path / folder / "one.png")) for folder in "ab"]
    with pytest.raises(ValueError, match="have one name"):
        cache.features(model, data.Dataset("twins", micro.CLASSES, twins), tmp_path / "some.npz", brightness)
    with pytest.raises(ValueError, match="two pictures have one name"):
        cache.write(tmp_path / "some.npz", ((record, {}) for record in twins))
    assert not (tmp_path / "some.npz").exists()


def test_a_cut_call_leaves_no_file(photos, tmp_path):
    def cut():
        yield photos.records[0], {"a": np.zeros(3)}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.write(tmp_path / "some.npz", cut())
    assert not (tmp_path / "some.npz").exists()
