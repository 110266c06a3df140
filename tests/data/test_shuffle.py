"""Batches of one orientation: their order, and how much padding they save.

KERASDET_DATA names a folder with `coco`, whose pictures the last test batches:
KERASDET_DATA=… pytest tests/data/test_shuffle.py
"""

import functools
import math
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import data, images, training
from kerasdet.data import order, pipeline
from tests.data.test_pipeline import arrays, assert_same, ids, load, record
from tests.training import micro

TALL = np.arange(23) % 3 == 1  # 8 of 23
BATCH = 4
WIDE_SIZE, TALL_SIZE = (24, 32), (32, 24)


def drawn(shuffle, places):
    """The pictures at these places, in their order."""
    return np.array(list(tf.data.Dataset.from_tensor_slices(np.int64(places)).map(shuffle).as_numpy_iterator()))


def records():
    return [record(i, size=TALL_SIZE if tall else WIDE_SIZE, count=1) for i, tall in enumerate(TALL)]


def test_a_batch_has_one_orientation_and_tall_ones_are_evenly_spaced():
    batches = drawn(order.Shuffle(TALL, BATCH, 3), range(60 * BATCH)).reshape(60, BATCH)
    tall = TALL[batches]
    assert (tall.all(1) | ~tall.any(1)).all()
    for batch in range(61):
        assert tall[:batch, 0].sum() == math.floor(batch * TALL.mean())


@pytest.mark.parametrize("group", [TALL, ~TALL], ids=["tall", "wide"])
def test_a_pass_over_an_orientation_shows_each_picture_once(group):
    stream = drawn(order.Shuffle(TALL, BATCH, 3), range(120 * BATCH))
    own = stream[group[stream]]
    count = group.sum()
    passes = [tuple(own[i : i + count]) for i in range(0, len(own) - count + 1, count)]
    assert len(passes) > 10 and len(set(passes)) == len(passes)
    for one in passes:
        np.testing.assert_array_equal(np.sort(one), np.flatnonzero(group))


def test_a_place_depends_on_the_seed_and_on_nothing_before_it():
    whole = drawn(order.Shuffle(TALL, BATCH, 5), range(200))
    places = np.random.default_rng(0).permutation(200)
    np.testing.assert_array_equal(drawn(order.Shuffle(TALL, BATCH, 5), places), whole[places])
    assert not np.array_equal(drawn(order.Shuffle(TALL, BATCH, 6), range(200)), whole)


def test_a_later_start_and_the_parts_of_two_workers():
    options = {"training": True, "seed": 2, "transforms": [("flip", 0.5)]}
    whole = arrays(load(records(), BATCH, **options).take(9))
    shapes = {image["pixels"].shape[1:3] for image, _ in whole}
    assert shapes == {WIDE_SIZE, TALL_SIZE}  # nothing is padded
    assert_same(whole[5:], arrays(load(records(), BATCH, start=5, **options).take(4)))
    halves = [arrays(load(records(), BATCH, part=(i, 2), **options).take(9)) for i in range(2)]
    assert ids(whole) == [one for pair in zip(*halves, strict=True) for one in ids(pair)]
    assert {image["pixels"].shape[1:3] for image, _ in halves[1]} == shapes


def test_rare_pictures_keep_their_factors():
    """In each pass over an orientation a picture comes as often as its factor says, rounded down or up; tall batches
    are as frequent as tall pictures with their factors."""
    factors = 1 + np.arange(23) % 4 / 2
    stream = drawn(order.Shuffle(TALL, BATCH, 1, factors), range(600 * BATCH))
    tall = TALL[stream.reshape(600, BATCH)]
    assert (tall.all(1) | ~tall.any(1)).all()
    assert tall[:, 0].sum() == math.floor(600 * factors[TALL].sum() / factors.sum())
    for group in (TALL, ~TALL):
        length = math.ceil(factors[group].sum())
        own = stream[group[stream]]
        passes = own[: len(own) // length * length].reshape(-1, length)
        counts = np.stack([np.bincount(one, minlength=23) for one in passes])[:, group]
        exact = factors[group] * length / factors[group].sum()
        assert len(passes) > 40 and np.all(counts >= np.floor(exact)) and np.all(counts <= np.ceil(exact))
        np.testing.assert_allclose(counts.mean(0), exact, atol=0.2)


def test_too_few_of_an_orientation_are_not_grouped():
    few = np.arange(23) < 3
    batches = drawn(order.Shuffle(few, BATCH, 0), range(23 * BATCH)).reshape(BATCH, 23)
    np.testing.assert_array_equal(np.sort(batches, axis=1), np.tile(np.arange(23), [BATCH, 1]))


class Stopped(Exception):
    """Raised where the batches would be made."""


@pytest.mark.parametrize(
    "rule, grouped",
    [
        (("shorter", 32, 64), True),
        (("keep",), True),
        *[((name, 32, 32), False) for name in ("stretch", "squeeze", "letterbox", "corner")],
    ],
    ids=str,
)
def test_a_training_groups_what_would_be_padded(rule, grouped, monkeypatch, tmp_path):
    seen = []

    def stop(*_, grouped=True, **__):
        seen.append(grouped)
        raise Stopped

    monkeypatch.setattr(pipeline, "load", stop)
    with pytest.raises(Stopped):
        training.fit(micro.make(resize=rule), micro.photos(), None, tmp_path, steps=1, warmup=0)
    assert seen == [grouped]


def padded(batches):
    """The share of pixels that lie outside the pictures' windows."""
    total = real = 0
    for image, _ in batches:
        windows = image["windows"].numpy()
        total += np.prod(image["pixels"].shape[:3])
        real += np.prod(windows[:, 2:] - windows[:, :2], axis=1).sum()
    return 1 - real / total


def test_padding_of_made_up_pictures():
    """24 x 32 and 32 x 24 in one batch are padded to 32 x 32: a quarter of it. Apart, they need none."""
    mixed = load(records(), 8, training=True, grouped=False).take(6)
    both = [image["pixels"].shape[1:3] == (32, 32) for image, _ in mixed]
    assert sum(both) >= 5 and padded(mixed) == pytest.approx(sum(both) / len(both) / 4, abs=0.02)
    assert padded(load(records(), 8, training=True).take(6)) == 0


@pytest.mark.skipif("KERASDET_DATA" not in os.environ, reason="KERASDET_DATA names no folder of real data")
def test_padding_of_coco():
    """158 pictures of COCO in batches of 16, at a quarter of the recipes' size."""
    coco = data.read(pathlib.Path(os.environ["KERASDET_DATA"]) / "coco")
    preprocess = functools.partial(images.preprocess, rule=("shorter", 200, 333), multiple=8)
    shares = [
        padded(pipeline.load(coco, preprocess, 16, training=True, grouped=grouped).take(10))
        for grouped in (False, True)
    ]
    print(f"padded: {shares[0]:.3f} mixed, {shares[1]:.3f} by orientation")
    assert len(coco) == 158 and shares[0] == pytest.approx(0.43, abs=0.03) and shares[1] < 0.17
