"""Random and hostile calls of every operator: natively and by the twin the same answer, or the same refusal.

KERASDET_FUZZ=1000000 python -m pytest -m "slow or not slow" tests/ops/test_fuzz.py
"""

import contextlib
import os

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import ops
from kerasdet.ops import library

CALLS = int(os.environ.get("KERASDET_FUZZ", 10_000))

# Calls of the same shapes and arguments with other values. The first runs eagerly, the others in one graph, which is
# faster.
VALUES = 500

WISHES = (0, 1, 2, 3, 7, -1, 2.5, None, True, 2**31 - 1, 2**31, 2**62, 2**70, 10**9)
NUMBERS = (0.0, 0.5, 0.3, 1.0, 50, -1.0, np.nan, np.inf, -np.inf, 1e30, 1e-30, "half", None)
FLOATS = (np.float32, np.float32, np.float32, np.float64, np.float16, np.int32)
WHOLE = (np.int32, np.int32, np.int64, np.float32, np.uint8, bool)
COORDINATES = (0, 3, 8, -5, 2.5, np.nan, np.inf, -np.inf, 1e9, -1e30, 3e38, 1e-30)


def mostly(rng, usual, odd, share=0.08):
    return odd[rng.integers(len(odd))] if rng.random() < share else usual


def boxes(rng, *shape):
    low = rng.uniform(-2, 12, (*shape, 2))
    found = np.concatenate([low, low + rng.uniform(0, 9, (*shape, 2))], axis=-1)
    hostile = rng.random(found.shape) < 0.03
    return np.where(hostile, rng.choice(COORDINATES, found.shape), found)


def cast(array, dtype):
    with np.errstate(all="ignore"):
        return np.nan_to_num(array).astype(dtype) if np.dtype(dtype).kind in "iub" else array.astype(dtype)


def region_call(rng, values):
    name = rng.choice(["roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "prroi_pool"])
    dtype, count = mostly(rng, np.float32, FLOATS), rng.integers(1, 4)
    count = mostly(rng, count, (0, 9))
    size = [mostly(rng, rng.integers(1, 4).item(), WISHES) for _ in range(2)]
    channels = size[0] * size[1] * 2 if all(isinstance(s, int) and 0 < s < 9 for s in size) else 4
    channels = mostly(rng, channels, (0, 5))
    maps = [
        cast(values.normal(size=(2, *rng.integers(0, 9, 2), channels)), mostly(rng, dtype, FLOATS, 0.02))
        for _ in range(count)
    ]
    rows = rng.integers(0, 6)
    image = np.where(
        values.random([rows, 1]) < 0.1, values.choice(COORDINATES, [rows, 1]), values.integers(0, 2, [rows, 1])
    )
    rois = cast(np.concatenate([image, boxes(values, rows)], axis=1), mostly(rng, np.float32, FLOATS))
    given = {
        "features": maps if count != 1 else maps[0],
        "rois": rois,
        "spatial_scale": mostly(rng, 0.5, NUMBERS),
        "output_size": size,
        "levels": mostly(rng, cast(values.integers(-1, count + 1, rows), mostly(rng, np.int32, WHOLE)), (None,)),
    }
    if name.endswith("align"):
        given["sampling_ratio"] = mostly(rng, rng.integers(0, 3).item(), WISHES)
    return name, given


def suppression_call(rng, values):
    name, dtype, count = rng.choice(["nms", "soft_nms"]), mostly(rng, np.float32, FLOATS), rng.integers(0, 12)
    scores = np.where(
        values.random([2, count]) < 0.05, values.choice(COORDINATES, [2, count]), values.integers(0, 9, [2, count]) / 9
    )
    given = {
        "boxes": cast(boxes(values, 2, count), dtype),
        "scores": cast(scores, mostly(rng, dtype, FLOATS, 0.03)),
        "classes": mostly(rng, cast(values.integers(-1, 3, [2, count]), mostly(rng, np.int32, WHOLE)), (None,), 0.3),
        "iou": mostly(rng, 0.4, NUMBERS),
        "above": mostly(rng, 0.1, NUMBERS),
        "limit": mostly(rng, rng.integers(0, 9).item(), WISHES),
    }
    if name == "nms":
        return name, {**given, "kinds": mostly(rng, None, (1, 2, 3, 0, "three"), 0.3)}
    return name, {**given, "method": mostly(rng, "gaussian", ("linear",), 0.5), "sigma": mostly(rng, 0.5, NUMBERS)}


def matching_call(rng, values):
    name, dtype = rng.choice(["match_by_iou", "match_one_to_one"]), mostly(rng, np.float32, FLOATS)
    count = rng.integers(0, 5)
    given = {
        "anchors": cast(boxes(values, *mostly(rng, (9,), ((2, 9), (1, 9), (3, 9)), 0.3)), dtype),
        "objects": cast(boxes(values, 2, count), dtype),
        "chosen": cast(values.integers(0, 2, [2, count]), mostly(rng, bool, WHOLE, 0.03)),
        "positive": mostly(rng, 0.5, NUMBERS),
    }
    if name == "match_by_iou":
        given.update(negative=mostly(rng, 0.4, NUMBERS), low_quality=bool(rng.integers(2)))
    return name, given


def corner_call(rng, values):
    x = cast(values.integers(-3, 3, (*rng.integers(0, 5, 3), 2)), mostly(rng, np.float32, FLOATS))
    return "corner_pool", {"features": x, "direction": mostly(rng, "left", ("top", "right", "bottom", "up"), 0.7)}


def taps_call(rng, values):
    dtype, groups, size = mostly(rng, np.float32, FLOATS), rng.integers(1, 3).item(), rng.integers(1, 4, 2).tolist()
    height, width, channels = rng.integers(0, 6, 3) * (1, 1, groups)
    places = 2, *rng.integers(0, 5, 2), groups * size[0] * size[1]
    offsets = values.normal(0, 3, (*places[:3], 2 * places[3]))
    hostile = values.random(offsets.shape) < 0.03
    return "deform_columns", {
        "features": cast(values.normal(size=(2, height, width, channels)), dtype),
        "offsets": cast(np.where(hostile, values.choice(COORDINATES, offsets.shape), offsets), dtype),
        "mask": cast(values.random(places), mostly(rng, dtype, FLOATS, 0.03)),
        "size": [mostly(rng, one, WISHES, 0.03) for one in size],
        "stride": [mostly(rng, rng.integers(1, 3).item(), WISHES, 0.03) for _ in range(2)],
        "padding": [mostly(rng, rng.integers(0, 3).item(), WISHES, 0.03) for _ in range(2)],
        "dilation": [mostly(rng, rng.integers(1, 3).item(), WISHES, 0.03) for _ in range(2)],
        "groups": mostly(rng, groups, (3, 0, -1, 2.5, None), 0.03),
    }


def arrays(given):
    """Those of a call's arguments that are tensors, or lists of them."""
    return {name: value for name, value in given.items() if isinstance(value, np.ndarray) or name == "features"}


def plain(given):
    return {name: value for name, value in given.items() if name not in arrays(given)}


def graph(name, given, portable):
    """A function of the call's arrays, traced for their shapes, which keeps its other arguments."""

    @tf.function(autograph=False)
    def run(values):
        return getattr(ops, name)(**values, **plain(given))

    with ops.portable() if portable else contextlib.nullcontext():
        return run.get_concrete_function(tf.nest.map_structure(tf.constant, arrays(given)))


def said(function, *args, **kwargs):
    """The outputs of a call as arrays, or its refusal."""
    try:
        return [np.asarray(value) for value in tf.nest.flatten(function(*args, **kwargs))]
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        return str(error)


def compare(native, twin, half, told):
    """Whether the call was answered; fails unless both say the same."""
    if isinstance(native, str) or isinstance(twin, str):
        assert native == twin and "\n" not in native, told
        return False
    tolerance = 1e-2 if half else 1e-4
    for a, b in zip(native, twin, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype, told
        if a.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=told)
        else:
            np.testing.assert_array_equal(a, b, err_msg=told)
    return True


@pytest.mark.slow
@pytest.mark.skipif(library.load() is None, reason="the native operators are not built")
@pytest.mark.parametrize("call", [region_call, suppression_call, matching_call, corner_call, taps_call])
def test_same_answer_or_same_refusal(call):
    answers = 0
    for seed in range(CALLS // 5 // VALUES):
        graphs = None
        for draw in range(VALUES):
            name, given = call(np.random.default_rng(seed), np.random.default_rng([seed, draw]))
            half = any(getattr(value, "dtype", None) == np.float16 for value in given.values())
            told = f"seed {seed}, {draw}: {name} {plain(given)}"
            if graphs is None:
                native = said(getattr(ops, name), **given)
                with ops.portable():
                    twin = said(getattr(ops, name), **given)
            else:
                values = tf.nest.map_structure(tf.constant, arrays(given))
                native, twin = (said(one, values) for one in graphs)
            if compare(native, twin, half, told):
                answers += 1
                graphs = graphs or [graph(name, given, portable) for portable in (False, True)]
    assert answers > CALLS // 20  # most calls are ordinary
