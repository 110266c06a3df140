"""The order of pictures: rare classes more often, sizes in turns, and everything the same after a restart."""

import functools
import math
import resource

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import images
from kerasdet.data import order
from tests.data.test_pipeline import arrays, assert_same, dataset, ids, load, record


def rare(number=24):
    """Class 0 in all pictures but the last two, 1 in every sixth, 2 in one; the last two have none."""
    records = []
    for i in range(number):
        classes = [0] * (i < number - 2) + [1] * (i % 6 == 0) + [2] * (i == 7)
        records.append(record(i, count=len(classes), size=(40, 90), classes=np.int32(classes),
                              crowds=np.zeros(len(classes), bool)))  # fmt: skip
    return records


def slow_factors(records, threshold):
    factors = []
    for one in records:
        factor = 1.0
        for kind in set(one.classes[~one.crowds].tolist()):
            share = sum(kind in other.classes[~other.crowds] for other in records) / len(records)
            factor = max(factor, math.sqrt(threshold / share))
        factors.append(factor)
    return factors


@pytest.mark.parametrize("threshold", [0.01, 0.2, 0.5, 1.0])
def test_repeat_factors(threshold):
    records = rare()
    records[3].classes, records[3].crowds = np.int32([2]), np.array([True])
    found = order.repeat_factors(dataset(records), threshold)
    np.testing.assert_allclose(found, slow_factors(records, threshold))


def drawn(factors, seed, count):
    stream = tf.data.Dataset.range(count).map(lambda place: order.repeated(place, factors, seed)).batch(count)
    return next(iter(stream)).numpy()


def test_pictures_repeat_by_their_factors():
    """Rounded down or up in every pass, right on average, in another order each time."""
    factors = np.array([1.0, 1.3, 2.5, 1.0, 3.0, 1.75])
    length = math.ceil(factors.sum())
    passes = drawn(factors, 4, 300 * length).reshape(300, length)
    counts = np.stack([np.bincount(one, minlength=6) for one in passes])
    exact = factors * length / factors.sum()
    assert np.all(counts >= np.floor(exact)) and np.all(counts <= np.ceil(exact))
    np.testing.assert_allclose(counts.mean(0), exact, atol=0.08)
    assert len({tuple(one) for one in passes}) > 200
    assert not np.array_equal(passes[0], drawn(factors, 5, length))


def test_without_rare_classes_every_picture_comes_once():
    passes = drawn(np.ones(7), 2, 70).reshape(10, 7)
    np.testing.assert_array_equal(np.sort(passes, axis=1), np.tile(np.arange(7), [10, 1]))


def test_rare_classes_in_batches():
    records = rare()
    factors = slow_factors(records, 0.5)
    length = math.ceil(sum(factors) - 1e-6)
    whole = arrays(load(records, 4, training=True, repeat_rare=0.5, seed=1).take(2 * length // 4))
    seen = np.bincount([records.index(next(r for r in records if r.id == i)) for i in ids(whole)], minlength=24)
    assert seen[7] >= 2 * math.floor(factors[7]) and seen.min() >= 1 and seen[8] <= 3
    assert_same(whole[3:6], arrays(load(records, 4, training=True, repeat_rare=0.5, seed=1, start=3).take(3)))


SIZES = (32, 48, 64)


def square(pixels, size=None):
    return images.preprocess(pixels, ("letterbox", 40, 40), size=size)


def test_sizes_change_every_few_batches():
    records = [record(i) for i in range(5)]
    options = {"training": True, "preprocess": square, "seed": 2, "transforms": [("flip", 0.5)]}
    whole = arrays(load(records, 2, sizes=SIZES, every=3, **options).take(30))
    sides = [image["pixels"].shape[1:3] for image, _ in whole]
    assert set(sides) == {(size, size) for size in SIZES}
    assert all(len(set(sides[i : i + 3])) == 1 for i in range(0, 30, 3))
    fixed = {size: arrays(load(records, 2, **{**options, "preprocess": functools.partial(square, size=size)}).take(30))
             for size in SIZES}  # fmt: skip
    for number, batch in enumerate(whole):
        assert_same([batch], [fixed[sides[number][0]][number]])
    assert_same(whole[7:12], arrays(load(records, 2, sizes=SIZES, every=3, start=7, **options).take(5)))


@pytest.mark.parametrize("rule, size, expected", [
    (("stretch", 300, 300), 320, ("stretch", 320, 320)), (("letterbox", 416, 832), 320, ("letterbox", 320, 640)),
    (("corner", 416, 832), 320, ("corner", 320, 640)), (("shorter", 800, 1333), 640, ("shorter", 640, 1333)),
])  # fmt: skip
def test_rules_at_another_size(rule, size, expected):
    """Of "shorter" the maximum stays: a picture of 640 x 300 becomes 1333 x 624, as in Detectron2."""
    assert images.at_size(rule, size) == expected
    if rule[0] == "shorter":
        seen = images.preprocess(np.zeros([300, 640, 3], np.uint8), rule, size=size)
        np.testing.assert_array_equal(seen["windows"], [0, 0, 1333, 624])


def test_a_rule_without_a_size():
    with pytest.raises(ValueError, match=r"resize=\('keep',\) has no size to change"):
        images.at_size(("keep",), 320)


def test_a_hundred_switches_trace_once_in_bounded_memory():
    sizes = tuple(range(64, 225, 32))
    stream = load([record(i) for i in range(4)], 2, training=True, preprocess=square, sizes=sizes, every=1)
    traces, seen, memory = [], set(), []

    @tf.function(input_signature=[stream.element_spec])
    def step(batch):
        traces.append(1)
        kernel = tf.ones([3, 3, 3, 8])
        return tf.reduce_mean(tf.nn.conv2d(batch[0]["pixels"], kernel, 1, "SAME")), tf.shape(batch[0]["pixels"])[1]

    for number, batch in enumerate(stream.take(200)):
        seen.add(int(step(batch)[1]))
        if number in (99, 199):
            memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    assert len(traces) == 1 and seen == set(sizes)
    assert memory[1] - memory[0] < 20  # MiB, after a hundred more


def test_training_options_are_refused_in_evaluation():
    records = [record(0)]
    for options in ({"sizes": (32,)}, {"repeat_rare": 0.1}):
        with pytest.raises(ValueError, match="sizes and repeat_rare belong to training"):
            load(records, **options)
    for options in ({"sizes": (32.5,)}, {"sizes": (32,), "every": 0}):
        with pytest.raises(ValueError, match="sizes must be whole pixels"):
            load(records, training=True, preprocess=square, **options)
    with pytest.raises(ValueError, match="repeat_rare must be a share"):
        load(records, training=True, repeat_rare=3)


def test_mixed_pictures_in_batches():
    """Mosaics draw from the whole data set, and the same after a restart."""
    records = [record(i, count=2) for i in range(6)]
    options = {"training": True, "preprocess": square, "seed": 3, "transforms": [("mosaic", 64)]}
    whole = arrays(load(records, 2, **options).take(6))
    assert max(objects["boxes"].shape[1] for _, objects in whole) > 3
    assert_same(whole[4:], arrays(load(records, 2, start=4, **options).take(2)))
