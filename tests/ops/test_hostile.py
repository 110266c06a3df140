"""Hostile boxes: nothing crashes, nothing is NaN, and native operators and twins agree."""

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
        assert indices.shape == picked.shape == valid.shape == (batch, 30)
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
