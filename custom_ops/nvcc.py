"""Compiles and links the CUDA kernels. Needs no TensorFlow."""

import os
import pathlib
import shutil

SOURCES = pathlib.Path(__file__).resolve().parent / "cuda"

# No fused multiply-add, so that CPU and GPU round alike.
FLAGS = ["-O3", "-std=c++17", "-fmad=false"]

# Ampere and Hopper; newer GPUs compile the PTX when they first run it.
ARCHITECTURES = ["arch=compute_80,code=sm_80", "arch=compute_90,code=sm_90", "arch=compute_90,code=compute_90"]


def find():
    """Path of the CUDA compiler, or None."""
    return shutil.which("nvcc") or shutil.which(os.environ.get("CUDA_HOME", "/usr/local/cuda") + "/bin/nvcc")


def compilations(nvcc, folder, visibility="hidden"):
    """The compilations, each a command that writes one object file into the folder.

    Args:
        nvcc: path of the CUDA compiler.
        folder: where the object files go.
        visibility: "default" lets a shared library export the launchers.
    """
    targets = [part for architecture in ARCHITECTURES for part in ("-gencode", architecture)]
    for path in sorted(SOURCES.glob("*.cu")):
        flags = [*FLAGS, *targets, "-Xcompiler", f"-fPIC,-fvisibility={visibility}", "-I", str(SOURCES.parents[1])]
        yield [nvcc, *flags, "-c", str(path), "-o", f"{folder}/cuda_{path.stem}.o"]


def link(nvcc, objects, library, flags=()):
    """The command that links object files and CUDA's runtime into a shared library that hides the runtime's names."""
    hide = ["-Xlinker", "--exclude-libs,ALL"]
    return [nvcc, "-shared", "-cudart", "static", *map(str, objects), "-o", str(library), *hide, *flags]
