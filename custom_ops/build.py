"""Builds the native operators for the TensorFlow of this environment: `python -m custom_ops.build`.

Needs g++ or clang++; CUDA kernels are added where nvcc is found. The library is made for this processor and this
TensorFlow; a stamp beside it says for which, and `kerasdet.ops.library` compares before it loads. Without a compiler
nothing is built, and kerasdet runs on the operators' TensorFlow twins.
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import tensorflow as tf

from kerasdet.ops import library

SOURCES = pathlib.Path(__file__).resolve().parent

# No fused multiply-add where the source has none: native and twin round alike.
FLAGS = [
    "-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-w", "-DNDEBUG",
]  # fmt: skip
CUDA_FLAGS = ["-O3", "-std=c++17", "-fmad=false", "-Xcompiler", "-fPIC,-fvisibility=hidden"]

# Ampere and Hopper; newer GPUs compile the PTX when they first run it.
ARCHITECTURES = ["arch=compute_80,code=sm_80", "arch=compute_90,code=sm_90", "arch=compute_90,code=compute_90"]


def find_compiler():
    """Path of a C++ compiler, or None."""
    return next(filter(None, map(shutil.which, filter(None, (os.environ.get("CXX"), "g++", "clang++")))), None)


def find_nvcc():
    """Path of the CUDA compiler, or None."""
    return shutil.which("nvcc") or shutil.which(os.environ.get("CUDA_HOME", "/usr/local/cuda") + "/bin/nvcc")


def source_hash(cuda):
    """Of all that the library is made from."""
    digest = hashlib.sha256(repr((FLAGS, CUDA_FLAGS, ARCHITECTURES, cuda)).encode())
    for path in sorted(SOURCES.rglob("*")):
        if path.suffix in {".h", ".cc", ".cu"}:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def commands(compiler, nvcc, folder):
    """The compilations, each a command that writes one object file into the folder."""
    include = ["-I", str(SOURCES.parent)]
    for path in sorted(SOURCES.glob("tensorflow/*.cc")):
        if path.stem.endswith("_gpu") and not nvcc:
            continue
        headers = [flag.replace("-I", "-isystem", 1) for flag in tf.sysconfig.get_compile_flags()]
        yield [compiler, *FLAGS, *include, *headers, "-c", str(path), "-o", f"{folder}/{path.stem}.o"]
    for path in sorted(SOURCES.glob("cuda/*.cu")) if nvcc else ():
        targets = [part for architecture in ARCHITECTURES for part in ("-gencode", architecture)]
        yield [nvcc, *CUDA_FLAGS, *targets, *include, "-c", str(path), "-o", f"{folder}/cuda_{path.stem}.o"]


def run(command):
    """Runs a command; what it prints is shown only if it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def build(compiler, nvcc):
    """Compiles, links and stamps the library."""
    with tempfile.TemporaryDirectory() as folder:
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(run, commands(compiler, nvcc, folder)))
        cuda = []
        if nvcc:
            home = pathlib.Path(nvcc).resolve().parent.parent
            cuda = [f"-L{home}/lib64", f"-L{home}/lib", "-lcudart_static", "-ldl", "-lrt", "-lpthread"]
        objects = sorted(map(str, pathlib.Path(folder).glob("*.o")))
        made = f"{folder}/{library.FILE.name}"
        links = ["-Wl,--exclude-libs,ALL", *cuda, *tf.sysconfig.get_link_flags()]
        run([compiler, "-shared", *objects, "-o", made, *links])
        stamp = {**library.environment(), "sources": source_hash(bool(nvcc)), "cuda": bool(nvcc)}
        stamp["sha256"] = hashlib.sha256(pathlib.Path(made).read_bytes()).hexdigest()
        # Renamed into place: a running process keeps the library it has.
        shutil.move(made, f"{library.FILE}.new")
        os.replace(f"{library.FILE}.new", library.FILE)
        library.STAMP.write_text(json.dumps(stamp, indent=2) + "\n")


def main():
    """Builds unless what lies there is right."""
    compiler, nvcc = find_compiler(), find_nvcc()
    if compiler is None:
        print("No C++ compiler found (g++ or clang++): kerasdet will run on the operators' slower TensorFlow twins.")
        return
    if library.problem() is None and library.read_stamp()["sources"] == source_hash(bool(nvcc)):
        print(f"{library.FILE.name} is up to date.")
        return
    print(f"Building the native operators with {compiler}" + (f" and {nvcc}" if nvcc else ", without CUDA") + " …")
    try:
        build(compiler, nvcc)
    except RuntimeError as error:
        sys.exit(f"error: the native operators did not build; kerasdet will run on their TensorFlow twins.\n{error}")
    print(f"Built {library.FILE}")


if __name__ == "__main__":
    main()
