"""The CUDA kernels compile and link wherever there is nvcc, and the library that kerasdet loads has them."""

import ctypes

import pytest

from custom_ops import build, nvcc
from tests.native.cuda import LAUNCHERS, Deform, Levels, Rois, Scan, Suppression


def test_launchers(launchers):
    """All are there, compiled for Ampere and Hopper; an empty input launches nothing, with or without a GPU."""
    assert {"arch=compute_80,code=sm_80", "arch=compute_90,code=sm_90"} <= set(nvcc.ARCHITECTURES)
    empty = {Levels: Levels(), Rois: Rois(rows=3, columns=2), Scan: Scan(), Suppression: Suppression()}
    empty[Deform] = Deform(groups=1, rows=3, columns=3)
    for name, types in LAUNCHERS.items():
        arguments = [empty.get(kind, 0) for kind in types]
        assert getattr(launchers, f"kerasdet_cuda_{name}")(None, *arguments) is None


def test_workspaces(launchers):
    # A box has a row of 2 words, 4 corners, its order and its class; an image has 2 words and a number.
    assert launchers.kerasdet_cuda_nms_workspace(3, 65) == 3 * (65 * (2 * 8 + 4 * 4 + 4 + 4) + 2 * 8 + 4)
    assert launchers.kerasdet_cuda_soft_nms_workspace(3, 65) == 3 * 65 * 4


def test_errors_are_texts(launchers):
    """Where no kernel can run, a launcher says why."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        error = launchers.kerasdet_cuda_corner_pool(None, Scan(1, 1, 1), 1, None, None)
        assert b"CUDA driver" in error
    else:
        pytest.skip("a CUDA driver is here")


def test_the_library_has_a_cuda_kernel_for_every_operator():
    """For float32, with what the glue itself reads in the host's memory; the build found the same nvcc."""
    pytest.importorskip("tensorflow", reason="needs TensorFlow")
    from tensorflow.python.framework import kernels

    from kerasdet.ops import library

    if library.load() is None:
        pytest.skip("the native operators are not built: python -m custom_ops.build")
    assert library.read_stamp(library.FILE)["cuda"] == (nvcc.find() is not None)
    found = {"CPU": {}, "GPU": {}}
    for kernel in kernels.get_all_registered_kernels().kernel:
        if kernel.op.startswith("Kerasdet>"):
            found[kernel.device_type].setdefault(kernel.op, set()).update(kernel.host_memory_arg)
    assert found["CPU"] and not any(found["CPU"].values())
    if nvcc.find() is None:
        assert not found["GPU"]
    else:
        matching = {"Kerasdet>MatchByIou", "Kerasdet>MatchOneToOne", "Kerasdet>Covered"}  # run on the host
        assert found["GPU"].keys() == found["CPU"].keys() - matching
        for name, read in found["GPU"].items():
            thresholds = {"Kerasdet>Nms": {"iou", "above"}, "Kerasdet>SoftNms": {"sigma", "iou", "above"}}
            in_memory = set() if "Corner" in name or "Deform" in name else {"scales"}
            assert read == thresholds.get(name, in_memory)


@pytest.mark.parametrize("macros, expected", [("#define __AVX512FP16__ 1", ["-mno-avx512fp16"]), ("", [])])
def test_flags_of_a_processor_with_half_precision(tmp_path, macros, expected):
    """TensorFlow's Eigen does not compile where the compiler says that there is AVX512-FP16."""
    compiler = tmp_path / "compiler"
    compiler.write_text(f"#!/bin/sh\necho '#define __AVX512F__ 1'\necho '{macros}'\n")
    compiler.chmod(0o755)
    assert build.flags(str(compiler)) == [*build.FLAGS, *expected]
