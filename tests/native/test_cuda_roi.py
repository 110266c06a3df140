"""The region operators' CUDA kernels against the reference values and torchvision's kernels."""

import numpy as np
import pytest

from tests.golden import goldens
from tests.native.cuda import Rois, pyramid

# Launcher, whether bins have channels of their own, and what a case sets.
OPERATORS = {
    "roi_align": ("roi_align", False, ("sampling_ratio", "aligned")),
    "roi_pool": ("roi_pool", False, ()),
    "ps_roi_align": ("roi_align", True, ("sampling_ratio",)),
    "ps_roi_pool": ("ps_roi_pool", True, ()),
    "prroi_pool": ("prroi_pool", False, ()),
}
CASES = [(name, case) for name in OPERATORS for case in goldens.cases(name)]
PYRAMID = ("p2", "p3", "p4", "p5")
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


class Run:
    """An operator on one set of inputs on the GPU."""

    def __init__(self, gpu, name, maps, scales, rois, size, settings=(), levels_of=None):
        self.gpu, self.settings = gpu, settings
        self.launcher, position_sensitive, _ = OPERATORS[name]
        if name == "ps_roi_align":
            self.settings = (*settings, True)
        rows, columns = size
        self.maps, self.rois = [gpu.put(m) for m in maps], gpu.put(rois)
        self.levels_of = gpu.put(np.zeros(len(rois), np.int32) if levels_of is None else levels_of)
        channels = self.maps[0].shape[3]
        outputs = channels // (rows * columns) if position_sensitive else channels
        self.regions = Rois(
            self.rois.data_ptr(), self.levels_of.data_ptr(), len(rois), outputs, rows, columns, position_sensitive
        )
        self.out = gpu.new(len(rois), rows, columns, outputs)
        self.gradients = [gpu.new(*m.shape) for m in self.maps]
        self.levels, self.gradient_levels = pyramid(self.maps, scales), pyramid(self.gradients, scales)

    def forward(self):
        self.gpu.launch(self.launcher, self.levels, self.regions, *self.settings, self.out)
        return self.out

    def backward(self, upstream):
        levels = (self.levels, self.gradient_levels) if self.launcher == "roi_pool" else (self.gradient_levels,)
        self.gpu.launch(f"{self.launcher}_gradient", *levels, self.regions, *self.settings, upstream)
        return self.gradients

    def to_boxes(self, upstream):
        out = self.gpu.new(*self.rois.shape)
        self.gpu.launch("prroi_pool_box_gradient", self.levels, self.regions, upstream, out)
        return out


def read(name, golden):
    """A case's arguments of Run."""
    settings = [golden[key].item() for key in OPERATORS[name][2]]
    scale, size = goldens.decimal(golden["spatial_scale"]), np.broadcast_to(golden["output_size"], 2).tolist()
    return [golden["features"]], [scale], golden["rois"], size, settings


@pytest.mark.parametrize("name, case", CASES)
def test_values_and_gradients(gpu, name, case):
    golden = goldens.load(name)[case]
    run, upstream = Run(gpu, name, *read(name, golden)), gpu.put(golden["upstream"])
    out = run.forward().cpu().numpy()
    if name == "roi_pool":
        np.testing.assert_array_equal(out, golden["out"])
    else:
        np.testing.assert_allclose(out, golden["out64"], rtol=0, atol=1e-4)
    expected = golden["grad_features64" if name == "prroi_pool" else "grad64"]
    np.testing.assert_allclose(run.backward(upstream)[0].cpu().numpy(), expected, **TOLERANCE)
    if name == "prroi_pool":
        expected = np.pad(golden["grad_rois64"], [[0, 0], [1, 0]])
        np.testing.assert_allclose(run.to_boxes(upstream).cpu().numpy(), expected, **TOLERANCE)


@pytest.mark.parametrize("case", goldens.cases("multiscale_roi_align"))
def test_pyramid(gpu, case):
    golden = goldens.load("multiscale_roi_align")[case]
    size = (golden["output_size"].item(),) * 2
    run = Run(
        gpu, "roi_align", [golden[f"features_{p}"] for p in PYRAMID], [1 / 4, 1 / 8, 1 / 16, 1 / 32], golden["rois"],
        size, (golden["sampling_ratio"].item(), False), np.int32(golden["levels"] - 2),
    )  # fmt: skip
    np.testing.assert_allclose(run.forward().cpu().numpy(), golden["out64"], rtol=0, atol=1e-4)
    for gradient, p in zip(run.backward(gpu.put(golden["upstream"])), PYRAMID, strict=True):
        np.testing.assert_allclose(gradient.cpu().numpy(), golden[f"grad_{p}_64"], **TOLERANCE)


@pytest.mark.parametrize("name", OPERATORS)
def test_nonexistent_regions(gpu, name):
    """They give zeros and no gradient; huge ones come to an end."""
    nan, inf, huge = np.nan, np.inf, 1e30
    nothing = [[0, nan, 0, 8, 8], [0, 0, 0, inf, 8], [-1, 0, 0, 8, 8], [2, 0, 0, 8, 8], [nan, 0, 0, 8, 8]]
    some = [[0, -huge, -huge, huge, huge], [1, 0, 0, huge, 5], [1, 2, 2, 14, 12]]
    maps = [np.float32(np.random.default_rng(0).normal(size=(2, 7, 9, 12)))]
    settings = (0, True)[: len(OPERATORS[name][2])]
    for rois, levels_of in ((nothing, 0), (some, 1), (some, -1)):
        run = Run(gpu, name, maps, [0.5], np.float32(rois), (3, 2), settings, np.full(len(rois), levels_of, np.int32))
        upstream = gpu.put(np.ones(tuple(run.out.shape), np.float32))
        assert not np.any(run.forward().cpu().numpy()) and not np.any(run.backward(upstream)[0].cpu().numpy())
        assert name != "prroi_pool" or not np.any(run.to_boxes(upstream).cpu().numpy())
    run = Run(gpu, name, maps, [0.5], np.float32(nothing + some), (3, 2), settings)
    upstream = gpu.put(np.ones(tuple(run.out.shape), np.float32))
    out, gradient = run.forward().cpu().numpy(), run.backward(upstream)[0].cpu().numpy()
    assert np.all(np.isfinite(out)) and np.all(np.isfinite(gradient))
    assert not np.any(out[: len(nothing)]) and np.all(np.any(out[-1:], axis=-1))


@pytest.mark.parametrize("shape", [(0, 7, 9, 6), (2, 0, 9, 6), (2, 7, 9, 0)])
@pytest.mark.parametrize("name", OPERATORS)
def test_empty_maps(gpu, name, shape):
    rois = np.float32([[0, 1, 1, 9, 9], [1, -5, -5, 20, 20]])
    run = Run(gpu, name, [np.zeros(shape, np.float32)], [0.5], rois, (3, 2), (0, True)[: len(OPERATORS[name][2])])
    upstream = gpu.put(np.ones(tuple(run.out.shape), np.float32))
    assert not np.any(run.forward().cpu().numpy()) and not np.any(run.backward(upstream)[0].cpu().numpy())
    assert name != "prroi_pool" or not np.any(run.to_boxes(upstream).cpu().numpy())


@pytest.mark.parametrize("name, settings", [
    ("roi_align", (2, True)), ("roi_align", (0, False)), ("roi_pool", ()), ("ps_roi_align", (2,)), ("ps_roi_pool", ()),
])  # fmt: skip
def test_against_torchvision(gpu, name, settings):
    """A detector's size: equal values and gradients; prints how long both take."""
    torch = gpu.torch
    vision = pytest.importorskip("torchvision", reason="compares with torchvision")
    rng = np.random.default_rng(0)
    position_sensitive, bins, classes = OPERATORS[name][1], 7, 21
    channels = bins * bins * classes if position_sensitive else 256
    features = np.float32(rng.normal(size=(2, 50, 68, channels)))
    corners = rng.uniform(20, (900, 640), (2000, 2))
    # Inside the map: torchvision's PS-RoIPool leaves out the last row and column.
    boxes = np.concatenate([corners, corners + rng.uniform(8, 130, (2000, 2))], axis=1)
    rois = np.float32(np.concatenate([rng.integers(0, 2, (2000, 1)), boxes], axis=1))
    run = Run(gpu, name, [features], [1 / 16], rois, (bins, bins), settings)
    upstream = gpu.put(np.float32(rng.normal(size=tuple(run.out.shape))))

    def theirs(x):
        """[..., row * column * class] as torchvision orders it: class, row, column."""
        if position_sensitive:
            x = x.unflatten(-1, (bins * bins, classes)).transpose(-1, -2).flatten(-2)
        return x.movedim(-1, 1).contiguous()

    def ours(x):
        x = x.movedim(1, -1)
        return x.unflatten(-1, (classes, bins * bins)).transpose(-1, -2).flatten(-2) if position_sensitive else x

    more = {"sampling_ratio": settings[0]} if settings else {}
    if name == "roi_align":
        more["aligned"] = settings[1]
    operator = getattr(vision.ops, name)
    x = theirs(run.maps[0]).requires_grad_()
    out = operator(x, run.rois, (bins, bins), 1 / 16, **more)
    given = upstream.movedim(-1, 1).contiguous()
    (gradient,) = torch.autograd.grad(out, x, given, retain_graph=True)
    torch.testing.assert_close(run.forward(), out.detach().movedim(1, -1), **TOLERANCE)
    torch.testing.assert_close(run.backward(upstream)[0], ours(gradient), rtol=1e-3, atol=1e-3)

    times = {
        "forward": (run.forward, lambda: operator(x.detach(), run.rois, (bins, bins), 1 / 16, **more)),
        "backward": (lambda: run.backward(upstream), lambda: torch.autograd.grad(out, x, given, retain_graph=True)),
    }
    for direction, (mine, other) in times.items():
        spent = gpu.milliseconds(mine), gpu.milliseconds(other)
        print(f"{name} {settings} {direction}: kerasdet {spent[0]:.3f} ms, torchvision {spent[1]:.3f} ms")


def test_precise_pooling(gpu):
    """At a detector's size the gradient to the boxes follows finite differences; prints how long it all takes."""
    rng = np.random.default_rng(0)
    features = np.float32(rng.normal(size=(2, 50, 68, 256)))
    corners = rng.uniform(20, (900, 640), (1000, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(30, 130, (1000, 2))], axis=1)
    rois = np.float32(np.concatenate([rng.integers(0, 2, (1000, 1)), boxes], axis=1))
    run = Run(gpu, "prroi_pool", [features], [1 / 16], rois, (7, 7))
    given = np.float32(rng.normal(size=tuple(run.out.shape)))
    upstream = gpu.put(given)
    slopes = run.to_boxes(upstream).cpu().numpy()
    for k in (1, 4):
        totals = []
        for step in (-0.25, 0.25):
            moved = Run(gpu, "prroi_pool", [features], [1 / 16], rois + np.float32(np.eye(5)[k] * step), (7, 7))
            totals.append(np.sum(moved.forward().cpu().numpy() * given, axis=(1, 2, 3), dtype=np.float64))
        error = (totals[1] - totals[0]) / 0.5 - slopes[:, k]
        assert np.mean(np.abs(error)) < 0.05 * np.mean(np.abs(slopes[:, k]))
    for direction, mine in (
        ("forward", run.forward), ("backward", lambda: run.backward(upstream)),
        ("backward to boxes", lambda: run.to_boxes(upstream)),
    ):  # fmt: skip
        print(f"prroi_pool {direction}: kerasdet {gpu.milliseconds(mine):.3f} ms")
