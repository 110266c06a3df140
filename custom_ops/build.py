"""Builds the native operators for the TensorFlow of this environment: `python -m custom_ops.build`.

Needs g++ or clang++; CUDA kernels are added if nvcc is found. The library is built for this processor and this
TensorFlow. A stamp beside it records both, and `kerasdet.ops.library` compares it before loading. Without a compiler
nothing is built, and kerasdet uses the operators' TensorFlow twins.
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

from . import nvcc

SOURCES = pathlib.Path(__file__).resolve().parent

# No fused multiply-add unless the source has one, so that native operators and twins round alike.
FLAGS = [
    "-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-w", "-DNDEBUG",
]  # fmt: skip


def find_compiler():
    """Path of a C++ compiler, or None."""
    return next(filter(None, map(shutil.which, filter(None, (os.environ.get("CXX"), "g++", "clang++")))), None)


def flags(compiler):
    """`FLAGS`, adapted so that this compiler can build TensorFlow's headers on this processor."""
    probe = [compiler, "-march=native", "-dM", "-E", "-x", "c++", os.devnull]
    macros = subprocess.run(probe, capture_output=True, text=True).stdout
    # The Eigen that TensorFlow 2.21 ships does not compile with AVX512-FP16 (Sapphire Rapids and later).
    return [*FLAGS, "-mno-avx512fp16"] if "__AVX512FP16__" in macros else FLAGS


def source_hash(cuda):
    """Hash of everything that the library is built from."""
    digest = hashlib.sha256(repr((FLAGS, nvcc.FLAGS, nvcc.ARCHITECTURES, cuda)).encode())
    for path in sorted(SOURCES.rglob("*")):
        if path.suffix in {".h", ".cc", ".cu"}:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def compilations(compiler, cuda_compiler, folder):
    """The compilations, each a command that writes one object file into the folder."""
    include = ["-I", str(SOURCES.parent)]
    for path in sorted(SOURCES.glob("tensorflow/*.cc")):
        if path.stem.endswith("_gpu") and not cuda_compiler:
            continue
        headers = [flag.replace("-I", "-isystem", 1) for flag in tf.sysconfig.get_compile_flags()]
        yield [compiler, *flags(compiler), *include, *headers, "-c", str(path), "-o", f"{folder}/{path.stem}.o"]
    if cuda_compiler:
        yield from nvcc.compilations(cuda_compiler, folder)


def run(command):
    """Runs a command; its output is shown only if it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def build(compiler, cuda_compiler):
    """Compiles, links and stamps the library."""
    with tempfile.TemporaryDirectory() as folder:
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(run, compilations(compiler, cuda_compiler, folder)))
        objects = sorted(map(str, pathlib.Path(folder).glob("*.o")))
        made, linked = f"{folder}/{library.FILE.name}", tf.sysconfig.get_link_flags()
        if cuda_compiler:
            run(nvcc.link(cuda_compiler, objects, made, ["-ccbin", compiler, *linked]))
        else:
            run([compiler, "-shared", *objects, "-o", made, "-Wl,--exclude-libs,ALL", *linked])
        stamp = {**library.environment(), "sources": source_hash(bool(cuda_compiler)), "cuda": bool(cuda_compiler)}
        stamp["sha256"] = hashlib.sha256(pathlib.Path(made).read_bytes()).hexdigest()
        # Renamed into place: a running process keeps the library it has.
        shutil.move(made, f"{library.FILE}.new")
        os.replace(f"{library.FILE}.new", library.FILE)
        library.FILE.with_suffix(".json").write_text(json.dumps(stamp, indent=2) + "\n")


def main():
    """Builds the library unless it is up to date."""
    compiler, found = find_compiler(), nvcc.find()
    if compiler is None:
        print("No C++ compiler found (g++ or clang++): kerasdet will run on the operators' slower TensorFlow twins.")
        return
    wanted = source_hash(bool(found))
    if library.problem(library.FILE) is None and library.read_stamp(library.FILE)["sources"] == wanted:
        print(f"{library.FILE.name} is up to date.")
        return
    for cuda_compiler in (found, None) if found else (None,):
        cuda = f" and {cuda_compiler}" if cuda_compiler else ", without CUDA"
        print(f"Building the native operators with {compiler}{cuda} …")
        try:
            build(compiler, cuda_compiler)
        except RuntimeError as error:
            print(f"That failed:\n{error}", file=sys.stderr)
        else:
            print(f"Built {library.FILE}")
            return
    sys.exit("error: the native operators did not build; kerasdet will run on their slower TensorFlow twins.")


if __name__ == "__main__":
    main()
