"""Builds the CUDA launchers into a library of their own, once a run.

Where there is a GPU but no TensorFlow: `pytest -s --confcutdir=tests/native tests/native/test_cuda_*.py`.
"""

import concurrent.futures
import os
import subprocess

import pytest

from custom_ops import nvcc
from tests.native import cuda


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


@pytest.fixture(scope="session")
def launchers(tmp_path_factory):
    """The launchers; skips a test where there is no CUDA compiler."""
    compiler = nvcc.find()
    if compiler is None:
        pytest.skip("needs nvcc")
    folder = tmp_path_factory.mktemp("cuda")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(run, nvcc.compilations(compiler, folder, visibility="default")))
    run(nvcc.link(compiler, sorted(folder.glob("*.o")), folder / "launchers.so"))
    return cuda.load(folder / "launchers.so")


@pytest.fixture(scope="session")
def gpu(request):
    """The launchers on a GPU; skips a test where torch finds none."""
    torch = pytest.importorskip("torch", reason="needs torch with a CUDA GPU")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
    return cuda.Gpu(request.getfixturevalue("launchers"), torch)
