"""The CUDA kernels of deformable convolution's readings against the reference values."""

import ctypes

import numpy as np
import pytest

from tests.golden import goldens
from tests.native.cuda import Deform

GOLDENS = goldens.load("deform_conv")
CASES = [case for case in goldens.cases("deform_conv") if "offset" in GOLDENS[case]]


def columns(gpu, golden):
    """The readings of a case on the GPU, a function of what comes down to their gradients, and all that they lie in."""
    x, offsets, rows, taps = golden["x"], golden["offset"], *golden["weight"].shape[:2]
    mask = golden.get("mask", np.ones_like(offsets[..., ::2]))
    held = [gpu.put(np.float32(one)) for one in (x, offsets, mask)]
    pairs = [(ctypes.c_int * 2)(*map(int, golden[name])) for name in ("stride", "padding", "dilation")]
    groups = int(golden["offset_groups"])
    deform = Deform(*(one.data_ptr() for one in held), *x.shape, *offsets.shape[1:3], groups, rows, taps, *pairs)
    out = gpu.new(*offsets.shape[:3], rows * taps, x.shape[-1])
    gpu.launch("deform_columns", deform, out)

    def backward(upstream):
        gradients = [gpu.torch.full_like(one, 99) for one in held]
        gpu.launch("deform_columns_gradient", deform, upstream.contiguous(), *gradients)
        return gradients

    return out, backward


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(gpu, case):
    golden = GOLDENS[case]
    out, backward = columns(gpu, golden)
    kernel, upstream = gpu.put(np.float32(golden["weight"])), gpu.put(np.float32(golden["upstream"]))
    rows, taps, depth, filters = kernel.shape
    groups = out.shape[-1] // depth
    out = out.requires_grad_()
    parts = out.unflatten(-1, (groups, depth))
    flat = kernel.reshape(rows * taps, depth, groups, filters // groups)
    found = gpu.torch.einsum("bhwtgc,tcgf->bhwgf", parts, flat).flatten(3)
    bias = gpu.put(np.float32(golden["bias"])) if "bias" in golden else 0.0
    np.testing.assert_allclose((found + bias).detach().cpu().numpy(), golden["out64"], rtol=0, atol=1e-4)
    (of_columns,) = gpu.torch.autograd.grad(found, out, upstream)
    for name, gradient in zip(("x", "offset", "mask"), backward(of_columns), strict=True):
        if f"grad_{name}64" in golden:
            expected, gradient = golden[f"grad_{name}64"], gradient.cpu().numpy()
            sure = golden["offset_ok"] > 0 if name == "offset" else np.full(expected.shape, True)
            np.testing.assert_allclose(gradient[sure], expected[sure], rtol=1e-4, atol=1e-4, err_msg=name)
