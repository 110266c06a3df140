"""Hostile boxes: nothing crashes, nothing is NaN, and native operators and twins agree."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from kerasdet import ops
from kerasdet.ops import library
from tests.ops.ways import WAYS

nan, inf, huge = np.nan, np.inf, 1e30

# image, x1, y1, x2, y2
NOTHING = [
    [0, nan, 0, 8, 8], [0, 0, 0, nan, nan], [0, inf, 0, inf, 8], [0, -inf, -inf, inf, inf], [nan, 0, 0, 8, 8],
    [-1, 0, 0, 8, 8], [2, 0, 0, 8, 8], [-0.5, 0, 0, 8, 8], [1e9, 0, 0, 8, 8], [0, 0, 0, 3e38, 3e38],
]  # fmt: skip
ODD = [
    [0, 8, 8, 0, 0], [1, 4, 4, 4, 4], [0, 4, 0, 4, 20], [0, 1e6, 1e6, 1e6 + 9, 1e6 + 9], [1, -1e6, -1e6, -1e6 + 9, 9],
    [0, -huge, -huge, huge, huge], [0, huge, huge, 2 * huge, 2 * huge], [1, 0, 0, huge, 5], [0, 0, 0, 1e-30, 1e-30],
    [0, -3, -3, 40, 50], [1, 2.5, 1.5, 17.5, 12.5], [0, 0, 0, 1e5, 1e5], [1, 20, 3, 2, 17],
]  # fmt: skip

OPERATORS = {
    "roi_align, 2 samples": lambda x, rois: ops.roi_align(x, rois, 0.5, (3, 2), 2),
    "roi_align, adaptive": lambda x, rois: ops.roi_align(x, rois, 0.5, (3, 2), 0),
    "roi_align, not aligned": lambda x, rois: ops.roi_align(x, rois, 0.5, (3, 2), 0, aligned=False),
    "roi_pool": lambda x, rois: ops.roi_pool(x, rois, 0.5, (3, 2)),
    "ps_roi_align": lambda x, rois: ops.ps_roi_align(x, rois, 0.5, (3, 2), 0),
    "ps_roi_pool": lambda x, rois: ops.ps_roi_pool(x, rois, 0.5, (3, 2)),
    "prroi_pool": lambda x, rois: ops.prroi_pool(x, rois, 0.5, (3, 2)),
}
SIZES = {"ordinary": (2, 7, 9, 12), "one cell": (2, 1, 1, 6), "no image": (0, 7, 9, 6), "no channel": (2, 7, 9, 0)}

needs_library = pytest.mark.skipif(library.load() is None, reason="the native operators are not built")


def both(function, *arguments):
    """What a function gives natively and by the twins."""
    native = function(*arguments)
    with ops.portable():
        return native, function(*arguments)


def value_and_gradients(operator, x, rois):
    x, rois = tf.constant(x), tf.constant(rois)
    with tf.GradientTape() as tape:
        tape.watch([x, rois])
        out = operator(x, rois)
        upstream = tf.reshape(tf.cos(tf.range(tf.size(out), dtype=tf.float32)), tf.shape(out))
        total = tf.reduce_sum(out * upstream)
    return out, *(tf.convert_to_tensor(g) for g in tape.gradient(total, [x, rois]) if g is not None)


def draw(shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@needs_library
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", OPERATORS)
def test_regions(name, size):
    """Both ways are finite and equal, values and gradients, on maps of any size."""
    rois = np.float32([*NOTHING, *ODD])
    for native, twin in zip(*both(value_and_gradients, OPERATORS[name], draw(SIZES[size]), rois), strict=True):
        assert np.all(np.isfinite(native)) and np.all(np.isfinite(twin))
        np.testing.assert_allclose(native, twin, rtol=1e-4, atol=1e-4)


@needs_library
@pytest.mark.parametrize("name", OPERATORS)
def test_nonexistent_regions(name):
    """RoIs that are not real give zeros and no gradient; an ordinary one among them is not disturbed."""
    x, ordinary = draw(SIZES["ordinary"]), [[1, 2, 2, 14, 12]]
    alone = value_and_gradients(OPERATORS[name], x, np.float32(ordinary))[0]
    for out, *gradients in both(value_and_gradients, OPERATORS[name], x, np.float32(NOTHING)):
        assert not np.any(out) and not any(np.any(gradient) for gradient in gradients)
    for out, *_ in both(value_and_gradients, OPERATORS[name], x, np.float32([*NOTHING, *ordinary])):
        assert np.any(out[-1])
        np.testing.assert_allclose(out[-1:], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("samples", [1, 2, 0])
def test_regions_of_maps_without_cells(way, samples):
    """They are zeros; the last maps have none, so that there is no other row behind theirs to read."""
    maps = [draw((2, 7, 4, 3)), draw((2, 8, 0, 3)), draw((2, 0, 8, 3))]
    rois = np.float32([[0, 4, 2, 10, 3], [1, 9, 10, 14, 10], [1, 7, 1, 8, 6], [1, 10, 1e9, 13, 6]])
    found = ops.roi_align(maps, rois, (0.5, 0.5, 0.5), (2, 2), samples, levels=[0, 1, 2, 2])
    assert np.abs(found[0]).max() > 0 and not np.any(found[1:])


@needs_library
@pytest.mark.parametrize("name", OPERATORS)
def test_no_regions(name):
    for out, gradient, *_ in both(value_and_gradients, OPERATORS[name], draw((2, 7, 9, 12)), np.zeros([0, 5], "f")):
        assert out.shape[0] == 0 and not np.any(gradient)


@needs_library
@pytest.mark.parametrize(
    "features, rois, culprit",
    [((2, 7, 9), (3, 5), "features"), ((2, 7, 9, 12), (3, 4), "rois"), ((2, 7, 9, 12), (5,), "rois")],
)
@pytest.mark.parametrize("name", OPERATORS)
def test_wrong_ranks(name, features, rois, culprit):
    """One line that names the argument, eagerly and in a graph that does not know the shapes, on both ways."""
    for context in WAYS.values():
        with context(), pytest.raises(tf.errors.InvalidArgumentError, match=culprit):
            OPERATORS[name](tf.zeros(features), tf.zeros(rois))
    unknown = tf.function(OPERATORS[name], input_signature=[tf.TensorSpec(None), tf.TensorSpec(None)])
    with pytest.raises(tf.errors.InvalidArgumentError, match=culprit):
        unknown(tf.zeros(features), tf.zeros(rois))


@pytest.mark.parametrize("name", ["ps_roi_align", "ps_roi_pool"])
def test_channels_must_fill_the_bins(way, name):
    with pytest.raises(tf.errors.InvalidArgumentError, match="features must have a multiple of 3 x 2 channels, got 13"):
        OPERATORS[name](tf.zeros([1, 4, 4, 13]), tf.zeros([1, 5]))


SUPPRESSIONS = {
    "nms": lambda boxes, scores, classes: ops.nms(boxes, scores, classes, iou=0.5, above=0.05, limit=30),
    "nms across": lambda boxes, scores, classes: ops.nms(boxes, scores, None, iou=0.5, above=0.05, limit=30),
    "soft, gaussian": lambda boxes, scores, classes: ops.soft_nms(boxes, scores, classes, limit=30),
    "soft, linear": lambda boxes, scores, classes: ops.soft_nms(boxes, scores, classes, limit=30, method="linear"),
}


@needs_library
@pytest.mark.parametrize("name", SUPPRESSIONS)
def test_suppression(name):
    """Boxes that are not finite and scores that are NaN never come out; both ways pick the same in the same order."""
    boxes = np.float32([*NOTHING, *ODD])[:, 1:]
    rng = np.random.default_rng(1)
    scores = np.float32(rng.uniform(0.1, 1, len(boxes)))
    scores[-2:] = nan, inf
    classes = np.int32(rng.integers(-3, 3, len(boxes)))
    native, twin = both(SUPPRESSIONS[name], boxes[None], scores[None], classes[None])
    for a, b in zip(native, twin, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    indices, picked, valid = (value.numpy()[0] for value in native)
    kept = indices[valid]
    assert len(kept) > 8 and picked[0] == inf
    assert np.all(np.isfinite(boxes[kept])) and not np.any(np.isnan(picked))


@pytest.mark.parametrize("name", SUPPRESSIONS)
def test_nothing_to_suppress(way, name):
    for batch, count in ((0, 5), (2, 0)):
        indices, picked, valid = SUPPRESSIONS[name](
            tf.zeros([batch, count, 4]), tf.zeros([batch, count]), tf.zeros([batch, count], tf.int32)
        )
        assert indices.shape == picked.shape == valid.shape == (batch, count)
        assert not np.any(indices) and not np.any(picked) and not np.any(valid)


@pytest.mark.parametrize("shapes", [((1, 5), (1, 5)), ((1, 5, 4), (1, 6)), ((5, 4), (5,)), ((1, 5, 5), (1, 5))])
@pytest.mark.parametrize("name", SUPPRESSIONS)
def test_suppression_of_wrong_shapes(way, name, shapes):
    with pytest.raises(tf.errors.InvalidArgumentError, match="boxes|scores"):
        SUPPRESSIONS[name](*map(tf.zeros, shapes), None)


@needs_library
@pytest.mark.parametrize("direction", ["top", "bottom", "left", "right"])
@pytest.mark.parametrize("shape", [(0, 3, 4, 2), (2, 0, 4, 2), (2, 3, 0, 2), (2, 3, 4, 0)])
def test_empty_corners(direction, shape):
    for out in both(lambda x: ops.corner_pool(x, direction), tf.zeros(shape)):
        assert out.shape == shape


def test_corner_pool_errors_name_the_argument(way):
    with pytest.raises(tf.errors.InvalidArgumentError, match="features must have shape"):
        ops.corner_pool(tf.zeros([3, 4, 2]), "top")
    with pytest.raises(ValueError, match="direction must be one of"):
        ops.corner_pool(tf.zeros([1, 3, 4, 2]), "up")


@needs_library
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("shape", [(2, 5, 6, 4), (2, 1, 1, 4), (0, 3, 4, 2), (2, 0, 4, 2), (2, 3, 4, 0)])
def test_hostile_taps(shape, groups):
    """Values and gradients of taps anywhere, at NaN and beyond every map among them."""
    rng = np.random.default_rng(0)
    features = tf.constant(rng.normal(size=shape), tf.float32)
    offsets = np.where(
        rng.random([shape[0], 3, 4, groups * 12]) < 0.2,
        rng.choice([nan, inf, -inf, huge, -huge, 0, -1, 7], [shape[0], 3, 4, groups * 12]),
        rng.normal(0, 2, [shape[0], 3, 4, groups * 12]),
    )
    offsets, mask = tf.constant(offsets, tf.float32), tf.constant(rng.random([shape[0], 3, 4, groups * 6]), tf.float32)

    def run(*given):
        with tf.GradientTape() as tape:
            tape.watch(given)
            out = ops.deform_columns(*given, (2, 3), (2, 1), (1, 2), (1, 2), groups)
            total = tf.reduce_sum(out * tf.cos(tf.reshape(tf.range(tf.size(out), dtype=tf.float32), tf.shape(out))))
        return out, *tape.gradient(total, given)

    for name, native, twin in zip(("out", "x", "offsets", "mask"), *both(run, features, offsets, mask), strict=True):
        assert np.isfinite(native).all(), name
        np.testing.assert_allclose(native, twin, rtol=1e-4, atol=1e-5, err_msg=name)


X, ROIS = tf.ones([1, 8, 8, 4]), tf.constant([[0.0, 1, 1, 7, 7]])
BOXES, SCORES = tf.constant([[[0.0, 0, 4, 4], [0, 0, 4, 5], [9, 9, 12, 12]]] * 2), tf.constant([[0.9, 0.8, 0.7]] * 2)
MAPS, TAPS = [X] * 9, tf.zeros([1, 8, 8, 2])

# Arguments that no one should send, and what the refusal says, natively and by the twins alike.
REFUSED = {
    "output_size must be a whole number from 1 to 1024": [
        lambda size=size: ops.roi_align(X, ROIS, 1.0, size, 2) for size in (2**31 - 1, 0, -7, (7, 10**9), 2.5, True)
    ],
    "output_size must be one number of bins, or two": [lambda: ops.roi_pool(X, ROIS, 1.0, (1, 2, 3))],
    "sampling_ratio must be a whole number from 0 to 256": [
        lambda ratio=ratio: ops.roi_align(X, ROIS, 1.0, 7, ratio) for ratio in (10**9, 1e9, -1)
    ],
    "spatial_scale must be a number from 1e-06 to 16": [
        lambda scale=scale: ops.roi_pool(X, ROIS, scale, 2) for scale in (np.nan, np.inf, 0.0, -1.0, 1e30, "half")
    ],
    "spatial_scale must be one number, or one for each of 1 maps": [lambda: ops.roi_pool(X, ROIS, (1.0, 0.5), 2)],
    "features must be 1 to 8 maps, got 9": [lambda: ops.roi_align(MAPS, ROIS, 1.0, 2, levels=[0])],
    "levels must give the map of each RoI, of 2 maps": [lambda: ops.prroi_pool([X, X], ROIS, (1.0, 0.5), 2)],
    "levels must be whole numbers, int32, got float32": [lambda: ops.prroi_pool([X, X], ROIS, 1.0, 2, levels=[0.7])],
    "features must be floating numbers, got int32": [
        lambda: ops.roi_pool(tf.cast(X, tf.int32), ROIS, 1.0, 2), lambda: ops.corner_pool(tf.cast(X, tf.int32), "top")
    ],
    r"features\[0\] and features\[1\] must have one dtype, got float32 and float64": [
        lambda: ops.roi_pool([X, tf.cast(X, tf.float64)], ROIS, 1.0, 2, levels=[0])
    ],
    r"features must have shape \[1, \?, \?, 4\], got \(1, 8, 8, 3\)": [
        lambda: ops.roi_pool([X, X[..., :3]], ROIS, 1.0, 2, levels=[0])
    ],
    "boxes and scores must have one dtype, got float32 and float64": [
        lambda: ops.nms(BOXES, tf.cast(SCORES, tf.float64), None, 0.5, 0.0, 3),
        lambda: ops.soft_nms(BOXES, tf.cast(SCORES, tf.float64), None, 3),
    ],
    "boxes must be floating numbers, got int32": [lambda: ops.nms(tf.cast(BOXES, tf.int32), SCORES, None, 0.5, 0.0, 3)],
    "classes must be whole numbers, int32, got float32": [lambda: ops.nms(BOXES, SCORES, SCORES, 0.5, 0.0, 3)],
    "iou must be a number from 0 to 1": [
        lambda: ops.nms(BOXES, SCORES, None, 50, 0.0, 3), lambda: ops.nms(BOXES, SCORES, None, np.nan, 0.0, 3),
        lambda: ops.soft_nms(BOXES, SCORES, None, 3, "linear", iou=30),
        lambda: ops.combined_nms(BOXES[:, :, None], SCORES[..., None], -0.1, 0.0, 3),
    ],
    "above must be a number, got nan": [
        lambda: ops.nms(BOXES, SCORES, None, 0.5, np.nan, 3), lambda: ops.soft_nms(BOXES, SCORES, None, 3, above=np.nan)
    ],
    "limit must be a whole number of at least 0": [
        lambda: ops.nms(BOXES, SCORES, None, 0.5, 0.0, -1), lambda: ops.nms(BOXES, SCORES, None, 0.5, 0.0, 1.5),
        lambda: ops.soft_nms(BOXES, SCORES, None, None),
    ],
    "kinds must be a whole number of at least 1": [lambda: ops.nms(BOXES, SCORES, [[0] * 3] * 2, 0.5, 0.0, 3, kinds=0)],
    "sigma must be a number of at least 1e-06": [
        lambda sigma=sigma: ops.soft_nms(BOXES, SCORES, None, 3, sigma=sigma) for sigma in (0, -0.5, np.nan)
    ],
    "chosen must be bool, got float32": [lambda: ops.match_by_iou(BOXES, BOXES, SCORES, 0.5, 0.4, True)],
    "size must be a whole number from 1 to 1024": [lambda: ops.deform_columns(X, TAPS, TAPS, (0, 3))],
    "stride must be a whole number from 1 to 1024": [lambda: ops.deform_columns(X, TAPS, TAPS, (1, 1), (0, 1))],
    r"offsets must have shape \[1, \?, \?, 18\], got \(1, 8, 8, 2\)": [
        lambda: ops.deform_columns(X, TAPS, TAPS, (3, 3))
    ],
    r"mask must have shape \[1, 8, 8, 1\], got \(1, 8, 8, 2\)": [lambda: ops.deform_columns(X, TAPS, TAPS, (1, 1))],
    "features must have a multiple of 3 channels, got 4": [
        lambda: ops.deform_columns(X, tf.zeros([1, 8, 8, 6]), tf.zeros([1, 8, 8, 3]), (1, 1), groups=3)
    ],
    "positive must be a number, got nan": [lambda: ops.match_one_to_one(BOXES, BOXES, SCORES > 0, np.nan)],
}  # fmt: skip


@pytest.mark.parametrize(("message", "call"), [(m, call) for m, calls in REFUSED.items() for call in calls])
def test_what_no_one_should_send_is_refused_in_one_line(way, message, call):
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=f"^{message}") as refused:
        call()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("limit", [sys.maxsize, 2**62, 2**70, 10**9])
def test_a_wish_does_not_size_the_outputs(way, limit):
    """Of N boxes, N at most come out, where the graph knows N and where it does not."""
    for some in (ops.nms, tf.function(ops.nms, reduce_retracing=True)):
        for count in (3, 1, 0):
            found = some(BOXES[:, :count], SCORES[:, :count], None, iou=0.5, above=0.0, limit=limit)
            rows, scores, valid = (value.numpy().tolist() for value in found)
            assert rows == [{3: [0, 2, 0], 1: [0], 0: []}[count]] * 2
            assert valid == [{3: [True, True, False], 1: [True], 0: []}[count]] * 2
            np.testing.assert_array_equal(scores, np.float32([{3: [0.9, 0.7, 0], 1: [0.9], 0: []}[count]] * 2))
    rows, scores, valid = ops.soft_nms(BOXES, SCORES, None, limit=limit)
    assert rows.numpy().tolist() == [[0, 2, 1]] * 2 and valid.numpy().all()
    found, _, _, counts = ops.combined_nms(BOXES[:, :, None], SCORES[..., None], 0.5, 0.0, limit)
    assert found.shape == (2, 3, 4) and counts.numpy().tolist() == [2, 2]


@pytest.mark.parametrize("method, unused", [("gaussian", "iou"), ("linear", "sigma")])
def test_a_method_ignores_the_number_of_the_other(way, method, unused):
    expected = ops.soft_nms(BOXES, SCORES, None, 3, method)
    for a, b in zip(ops.soft_nms(BOXES, SCORES, None, 3, method, **{unused: None}), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_dtypes_are_taken_alike(way):
    """int64 classes, also beyond int32; half precision; with `kinds`, boxes of other classes are dropped."""
    classes = tf.constant([[0, 2**40, 1]] * 2)
    assert ops.nms(BOXES, SCORES, classes, 0.5, 0.0, 3)[2].numpy().all()
    half = ops.nms(tf.cast(BOXES, tf.float16), tf.cast(SCORES, tf.float16), None, 0.5, 0.0, 3)
    assert half[0].numpy().tolist() == [[0, 2, 0]] * 2 and half[1].dtype == tf.float16
    np.testing.assert_array_equal(half[1], np.float16([[0.9, 0.7, 0]] * 2))
    soft = ops.soft_nms(tf.cast(BOXES, tf.bfloat16), tf.cast(SCORES, tf.bfloat16), tf.zeros([2, 3], tf.int64), 3)
    assert soft[0].numpy().tolist() == [[0, 2, 1]] * 2 and soft[1].dtype == tf.bfloat16
    for kinds, rows in ((None, [[1, 0], [0, 1]]), (2, [[1, 0], [0, 0]])):
        scores = tf.constant([[0.5, 0.9], [0.9, 0.5]])
        found, _, valid = ops.nms(BOXES[:, 1:], scores, [[1, 1], [0, 5]], 0.5, 0.0, 2, kinds=kinds)
        assert found.numpy().tolist() == rows
        assert valid.numpy().tolist() == [[True, True], [True, kinds is None]]
    levels = tf.constant([2**32], tf.int64)  # would be map 0 in 32 bits
    assert not np.any(ops.roi_align([X, X], ROIS, (1.0, 0.5), 2, 2, levels=levels))


@pytest.mark.parametrize("operator", [ops.roi_pool, ops.ps_roi_pool])
def test_bins_end_on_the_same_cells_in_graphs(way, operator):
    """Three bins in a side of 7: the last ends on a border, and a factor of 1 / 3 would put it beyond."""
    ramp = tf.constant(np.arange(8 * 9 * 9, dtype=np.float32).reshape(1, 8, 9, 9))
    rois = tf.constant([[0.0, 0, 0, 7, 7], [0, 0, 0, 6, 6]])
    graph = tf.function(lambda x, r: operator(x, r, 1.0, 3), autograph=False)
    np.testing.assert_array_equal(graph(ramp, rois), operator(ramp, rois, 1.0, 3))


@pytest.mark.parametrize("ratio", [4, 5, 31])
def test_any_number_of_samples(way, ratio):
    """Against the mean of bilinear samples of one RoI inside of the map."""
    x = draw((1, 9, 11, 3))
    at_y, at_x = (low + (np.arange(2 * ratio) + 0.5) * side / (2 * ratio) - 0.5 for low, side in ((2, 5), (1.5, 7)))
    y, x0 = np.floor(at_y).astype(int), np.floor(at_x).astype(int)
    down, right = (at_y - y)[:, None, None], (at_x - x0)[None, :, None]
    m = x[0]
    rows = m[y] * (1 - down) + m[y + 1] * down
    samples = rows[:, x0] * (1 - right) + rows[:, x0 + 1] * right
    wanted = samples.reshape(2, ratio, 2, ratio, 3).mean(axis=(1, 3))
    found = ops.roi_align(x, [[0, 1.5, 2, 8.5, 7]], 1.0, 2, ratio)
    np.testing.assert_allclose(found[0], wanted, rtol=1e-4, atol=1e-5)


@needs_library
@pytest.mark.parametrize("name", ["roi_align", "prroi_pool", "corner_pool", "deform_columns"])
def test_gradients_of_gradients(name):
    """Natively one line that says what to do, which then works: the second gradient of a square is twice the square."""
    run = {
        "roi_align": lambda x: ops.roi_align(x, ROIS, 1.0, 2, 2),
        "prroi_pool": lambda x: ops.prroi_pool(x, ROIS, 1.0, 2),
        "corner_pool": lambda x: ops.corner_pool(x, "left"),
        "deform_columns": lambda x: ops.deform_columns(x, TAPS + 0.25, TAPS[..., :1] + 0.5, (1, 1)),
    }[name]

    def second():
        with tf.GradientTape() as outer:
            outer.watch(X)
            with tf.GradientTape() as tape:
                tape.watch(X)
                total = tf.reduce_sum(run(X) ** 2)
            slope = tape.gradient(total, X)
        return total, tf.reduce_sum(outer.gradient(slope, X) * X)

    with pytest.raises(NotImplementedError, match=rf"^gradients of {name} have no gradient natively: .*ops.portable"):
        second()
    with ops.portable():
        total, found = second()
    if name != "corner_pool":  # the twin's gradient of equal cells goes to another of them than the native one's
        np.testing.assert_allclose(found, 2 * total, rtol=1e-4)


@needs_library
def test_xla_is_told_what_to_do():
    with pytest.raises(NotImplementedError, match=r"XLA cannot compile the native operators: .*ops.portable\(\)"):
        tf.function(lambda: ops.roi_align(X, ROIS, 1.0, 2, 2), jit_compile=True, autograph=False)()
    with ops.portable():
        compiled = tf.function(lambda: ops.roi_align(X, ROIS, 1.0, 2, 2), jit_compile=True, autograph=False)()
    np.testing.assert_allclose(compiled, np.ones([1, 2, 2, 4]))


@needs_library
def test_gradients_of_suppressed_scores():
    """Those of kept scores are 1, both ways; rescored ones have a gradient by the twin alone, which a line says."""
    for context in WAYS.values():
        with context(), tf.GradientTape() as tape:
            tape.watch(SCORES)
            total = tf.reduce_sum(ops.nms(BOXES, SCORES, None, 0.5, 0.0, 3)[1])
        np.testing.assert_array_equal(tf.convert_to_tensor(tape.gradient(total, SCORES)), [[1, 0, 1]] * 2)
    with tf.GradientTape() as tape:
        tape.watch(SCORES)
        total = tf.reduce_sum(ops.soft_nms(BOXES, SCORES, None, 3)[1])
    with pytest.raises(NotImplementedError, match="^rescored scores of soft_nms have no gradient natively: .*portable"):
        tape.gradient(total, SCORES)
