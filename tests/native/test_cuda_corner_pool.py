"""The CUDA kernels of corner pooling against the reference values and torch's running maxima."""

import numpy as np
import pytest

from tests.golden import goldens
from tests.native.cuda import Scan

# The axis that is scanned, and whether from its end.
DIRECTIONS = {"top": (1, True), "bottom": (1, False), "left": (2, True), "right": (2, False)}
CASES = [case for case, golden in goldens.load("corner_pool").items() if "features" in golden]


class Run:
    """Corner pooling of a map on the GPU."""

    def __init__(self, gpu, features, direction):
        axis, backward = DIRECTIONS[direction]
        self.gpu, self.features = gpu, gpu.put(features)
        self.out, self.gradient = gpu.new(*features.shape), gpu.new(*features.shape)
        batch, height, width, channels = features.shape
        self.lines = Scan(height, width, channels, axis == 1, backward), batch * (width if axis == 1 else height)

    def forward(self):
        self.gpu.launch("corner_pool", *self.lines, self.features, self.out)
        return self.out

    def backward(self, upstream):
        self.gpu.launch("corner_pool_gradient", *self.lines, self.features, self.out, upstream, self.gradient)
        return self.gradient


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(gpu, case, direction):
    golden = goldens.load("corner_pool")[case]
    run = Run(gpu, golden["features"], direction)
    np.testing.assert_array_equal(run.forward().cpu().numpy(), golden[direction])
    gradient = run.backward(gpu.put(golden["upstream"])).cpu().numpy()
    np.testing.assert_allclose(gradient, golden[f"grad_{direction}64"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("shape", [(0, 3, 4, 2), (2, 0, 4, 2), (2, 3, 0, 2), (2, 3, 4, 0)])
def test_empty(gpu, shape, direction):
    run = Run(gpu, np.zeros(shape, np.float32), direction)
    run.forward()
    run.backward(run.features)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_against_torch(gpu, direction):
    """CornerNet's size, without ties: equal values and gradients; prints how long both take."""
    torch = gpu.torch
    numbers = np.random.default_rng(0).permutation(4 * 128**3).astype(np.float32)
    run = Run(gpu, numbers.reshape(4, 128, 128, 128), direction)
    upstream = torch.randn_like(run.out)
    axis, backward = DIRECTIONS[direction]
    x = run.features.clone().requires_grad_()

    def running():
        line = x.flip(axis) if backward else x
        found = torch.cummax(line, axis).values
        return found.flip(axis) if backward else found

    out = running()
    (gradient,) = torch.autograd.grad(out, x, upstream, retain_graph=True)
    torch.testing.assert_close(run.forward(), out.detach(), rtol=0, atol=0)
    torch.testing.assert_close(run.backward(upstream), gradient, rtol=1e-4, atol=1e-4)
    other = gpu.milliseconds(lambda: torch.autograd.grad(running(), x, upstream))
    spent = gpu.milliseconds(run.forward) + gpu.milliseconds(lambda: run.backward(upstream))
    print(f"corner_pool {direction} and its gradient: kerasdet {spent:.3f} ms, torch.cummax {other:.3f} ms")
