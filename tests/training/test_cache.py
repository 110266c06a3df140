"""Features of a data set: written picture by picture, read back by the pictures that they are of."""

import dataclasses
import signal
import subprocess
import sys
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

    def pictures(done):
        for _ in photos.records[done:]:
            assert len(alive) <= 1
            alive.append(1)
            yield {"a": np.zeros([10], np.float32).view(Counted)}

    cache.write(tmp_path / "a.npz", photos.records, pictures)
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
        cache.write(tmp_path / "some.npz", twins, lambda done: [])
    assert not (tmp_path / "some.npz").exists()


def numbered(done, count=6):
    """Two arrays of different sizes for every picture."""
    for i in range(done, count):
        yield {"a": np.full([3, 4], i, np.float32), "b": np.full([50 * i], i, np.int32)}


def starts_and_cuts(until):
    """As `numbered`, but what comes after some pictures is a keyboard interrupt."""

    def made(done):
        yield from numbered(done, until)
        raise KeyboardInterrupt

    return made


def right(path, photos):
    """Whether a file holds what `numbered` makes, and no second file is left."""
    for i, (record, arrays) in enumerate(cache.Cached(path, photos)):
        assert record is photos.records[i] and set(arrays) == {"a", "b"}
        np.testing.assert_array_equal(arrays["a"], np.full([3, 4], i))
        np.testing.assert_array_equal(arrays["b"], np.full([50 * i], i))
    return [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_cut_call_goes_on(photos, tmp_path):
    """Without the picture that was written last, which may not be whole."""
    path, asked = tmp_path / "some.npz", []
    with pytest.raises(KeyboardInterrupt):
        cache.write(path, photos.records, starts_and_cuts(4), "one")
    assert not path.exists()
    cache.write(path, photos.records, lambda done: asked.append(done) or numbered(done), "one")
    assert asked == [3] and right(path, photos)


def test_a_file_that_ends_anywhere_goes_on(photos, tmp_path):
    """Wherever the writer was killed, the file comes out the same."""
    with pytest.raises(KeyboardInterrupt):
        cache.write(tmp_path / "some.npz", photos.records, starts_and_cuts(5))
    (left,) = tmp_path.iterdir()
    content, kept = left.read_bytes(), set()
    for length in [0, 10, *range(200, len(content), 97), len(content)]:
        asked = []
        left.write_bytes(content[:length])
        cache.write(tmp_path / "some.npz", photos.records, lambda done: asked.append(done) or numbered(done))  # noqa: B023
        assert right(tmp_path / "some.npz", photos)
        kept.update(asked)
    assert kept == {0, 1, 2, 3, 4}


KILLED = """
import os, signal, sys
import numpy as np
from kerasdet.training import cache
from tests.training import micro

def made(done):
    yield {"a": np.full([3, 4], 0, np.float32), "b": np.zeros([0], np.int32)}
    yield {"a": np.full([3, 4], 1, np.float32), "b": np.full([50], 1, np.int32)}
    class Deadly:
        def __array__(self, *_, **__):
            os.kill(os.getpid(), signal.SIGKILL)
    yield {"a": np.zeros([3, 4], np.float32), "b": Deadly()}

cache.write(sys.argv[1], micro.photos(6).records, made)
"""


def test_a_killed_program_goes_on(tmp_path):
    """In a process of its own, killed in the middle of the third picture, inside an array's member."""
    path, photos, asked = tmp_path / "some.npz", micro.photos(6), []
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], capture_output=True)
    assert done.returncode == -signal.SIGKILL and not path.exists(), done.stderr.decode()[-2000:]
    cache.write(path, photos.records, lambda done: asked.append(done) or numbered(done))
    assert asked == [2] and right(path, photos)


def test_what_was_left_of_other_features_is_dropped(photos, tmp_path):
    asked = []
    with pytest.raises(KeyboardInterrupt):
        cache.write(tmp_path / "some.npz", photos.records, starts_and_cuts(4), "one")
    cache.write(tmp_path / "some.npz", photos.records, lambda done: asked.append(done) or numbered(done), "two")
    assert asked == [0] and right(tmp_path / "some.npz", photos)


def test_features_go_on_where_they_were_cut(model, photos, tmp_path, monkeypatch):
    """The pictures that are there are not run again."""
    seen, over = [], cache.over

    def cut(model, dataset, function, batch_size=4):
        for record, arrays in over(model, dataset, function, batch_size):
            if len(seen) == 4:
                raise KeyboardInterrupt
            seen.append(record.name)
            yield record, arrays

    monkeypatch.setattr(cache, "over", cut)
    with pytest.raises(KeyboardInterrupt):
        cache.features(model, photos, tmp_path / "some.npz", brightness, 2, keep=real)
    seen.clear()
    cached = cache.features(model, photos, tmp_path / "some.npz", brightness, 2, keep=real)
    assert seen == [record.name for record in photos.records[3:]]
    for record, arrays in cached:
        np.testing.assert_allclose(arrays["mean"], record.image.mean((0, 1)), rtol=1e-5)
        assert len(arrays["areas"]) == len(record.proposals)
