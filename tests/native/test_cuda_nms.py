"""The CUDA kernels of greedy and soft suppression against the reference values and torchvision's kernels."""

import numpy as np
import pytest

from tests.golden import goldens
from tests.native.cuda import Suppression

NMS = goldens.load("nms")
HARD = [case for case in goldens.cases("nms") if case.startswith(("nms_", "batched_"))]
SOFT = goldens.cases("nms", "soft_")


class Run:
    """A suppression of a batch of images on the GPU."""

    def __init__(self, gpu, name, boxes, scores, classes, limit, settings):
        self.gpu, self.name, self.settings = gpu, name, settings
        batch, n, _ = boxes.shape
        self.inputs = [gpu.put(np.ascontiguousarray(a, t)) for a, t in zip(
            (boxes, scores, classes), (np.float32, np.float32, np.int32), strict=True
        )]  # fmt: skip
        self.found = [gpu.new(batch, limit, dtype=dtype) for dtype in ("int32", "float32", "uint8")]
        self.workspace = gpu.workspace(name, batch, n)
        pointers = [a.data_ptr() for a in (*self.inputs, *self.found)]
        self.images = Suppression(*pointers[:3], batch, n, limit, *pointers[3:])

    def __call__(self):
        """Indices, scores and valid, [batch, limit]."""
        self.gpu.launch(self.name, self.images, *self.settings, self.workspace)
        return self.found

    def picks(self):
        """What is picked of every image; the rest is checked to be zeros."""
        indices, picked, valid = (a.cpu().numpy() for a in self())
        for row in range(len(valid)):
            count = int(np.sum(valid[row]))
            assert np.all(valid[row, :count] == 1)
            assert not np.any(valid[row, count:] | indices[row, count:]) and not np.any(picked[row, count:])
            yield indices[row, :count], picked[row, :count]


def inputs(case):
    """Boxes, scores and classes of a case, or of the nms_ case of another threshold that it shares them with."""
    if "boxes" not in NMS[case]:
        shared = "nms_" + case.split("_", 1)[1].rsplit("_", 1)[0] + "_"
        case = next(other for other in sorted(NMS) if other.startswith(shared) and "boxes" in NMS[other])
    golden = NMS[case]
    return golden["boxes"], golden["scores"], golden.get("classes", np.zeros(len(golden["boxes"]), np.int32))


@pytest.mark.parametrize("case", HARD)
def test_hard(gpu, case):
    """Twice the image, the second time with its scores lowered below the threshold from the middle on."""
    boxes, scores, classes = inputs(case)
    if not case.startswith("batched_"):
        classes = np.zeros_like(classes)
    golden = NMS[case]
    limit = golden["max_output"].item() if "max_output" in golden else max(len(boxes), 1)
    middle = np.median(scores) if len(scores) else 0
    lowered = np.where(scores > middle, scores, -1)
    batch = boxes[None].repeat(2, 0), np.stack([scores, lowered]), classes[None].repeat(2, 0)
    run = Run(gpu, "nms", *batch, limit, (goldens.decimal(golden["iou_threshold"]), 0.0))
    (kept, picked), (kept_above, _) = run.picks()
    np.testing.assert_array_equal(kept, golden["keep"])
    np.testing.assert_array_equal(picked, scores[golden["keep"]])
    # Worse boxes suppress no better ones.
    if "max_output" not in golden:
        np.testing.assert_array_equal(kept_above, [i for i in golden["keep"] if scores[i] > middle])


@pytest.mark.parametrize("case", SOFT)
def test_soft(gpu, case):
    boxes, scores, classes = inputs(case)
    if not case.endswith("perclass"):
        classes = np.zeros_like(classes)
    golden = NMS[case]
    sigma = goldens.decimal(golden["sigma"]) if "gaussian" in case else 0.0
    settings = sigma, goldens.decimal(golden["iou_threshold"]), goldens.decimal(golden["score_threshold"])
    batch = [a[None].repeat(2, 0) for a in (boxes, scores, classes)]
    for limit in (max(len(boxes), 1), 7):
        for kept, picked in Run(gpu, "soft_nms", *batch, limit, settings).picks():
            np.testing.assert_array_equal(kept, golden["keep"][:limit])
            np.testing.assert_allclose(picked, golden["soft_scores64"][:limit], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name, settings", [("nms", (0.5, 0.1)), ("soft_nms", (0.5, 0.3, 0.1))])
def test_nonexistent_boxes(gpu, name, settings):
    """Boxes that are not finite and scores that are NaN or too low never come out."""
    boxes = np.float32([[0, 0, 9, 9], [0, np.nan, 9, 9], [0, 0, np.inf, 9], [20, 20, 29, 29], [40, 40, 49, 49]])
    scores = np.float32([0.5, 0.9, 0.8, np.nan, np.inf])
    ((kept, picked),) = Run(gpu, name, boxes[None], scores[None], np.zeros([1, 5]), 4, settings).picks()
    assert kept.tolist() == [4, 0] and picked.tolist() == [np.inf, 0.5]
    ((kept, _),) = Run(gpu, name, boxes[None, :1], scores[None, :1] / 10, np.zeros([1, 1]), 4, settings).picks()
    assert kept.tolist() == []
    for batch, n in ((0, 5), (2, 0)):
        empty = np.zeros([batch, n, 4]), np.zeros([batch, n]), np.zeros([batch, n])
        assert all(len(kept) == 0 for kept, _ in Run(gpu, name, *empty, 4, settings).picks())


def draw(n, classes):
    """Boxes whose corners are whole numbers, so that overlaps are exact, and different scores."""
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 900, (n, 2))
    boxes = np.float32(np.concatenate([corners, corners + rng.integers(10, 120, (n, 2))], axis=1))
    return boxes, np.float32((rng.permutation(n) + 1) / n), np.int32(rng.integers(0, classes, n))


@pytest.mark.parametrize("n, classes", [(1000, 1), (5000, 80), (20000, 1)])
def test_against_torchvision(gpu, n, classes):
    """A detector's size: the same boxes in the same order; prints how long both take."""
    vision = pytest.importorskip("torchvision", reason="compares with torchvision")
    boxes, scores, numbers = draw(n, classes)
    run = Run(gpu, "nms", boxes[None], scores[None], numbers[None], n, (0.5, 0.0))
    ((kept, picked),) = run.picks()
    b, s, c = (a[0] for a in run.inputs)

    def theirs():
        return vision.ops.nms(b, s, 0.5) if classes == 1 else vision.ops.batched_nms(b, s, c, 0.5)

    np.testing.assert_array_equal(kept, theirs().cpu().numpy())
    np.testing.assert_array_equal(picked, scores[kept])
    few = Run(gpu, "nms", boxes[None], scores[None], numbers[None], 100, (0.5, 0.0))
    ((first, _),) = few.picks()
    np.testing.assert_array_equal(first, kept[:100])
    soft = Run(gpu, "soft_nms", boxes[None], scores[None], numbers[None], 100, (0.5, 0.3, 0.001))
    print(
        f"nms of {n} boxes, {classes} classes: kerasdet {gpu.milliseconds(run):.3f} ms, "
        f"of the first 100 {gpu.milliseconds(few):.3f} ms, softly {gpu.milliseconds(soft):.3f} ms; "
        f"torchvision {gpu.milliseconds(theirs):.3f} ms"
    )
