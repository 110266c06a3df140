"""The CPU kernels under AddressSanitizer and UBSan: `python -m pytest tests/native/test_sanitized.py`."""

import pathlib
import subprocess

import pytest

from custom_ops import build

SOURCE = pathlib.Path(__file__).with_name("sanitize.cc")
FLAGS = [
    "-std=c++17", "-O1", "-g", "-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all",
    "-ffp-contract=off", "-D_GLIBCXX_ASSERTIONS",
]  # fmt: skip


@pytest.mark.skipif(build.find_compiler() is None, reason="no C++ compiler found")
def test_random_and_hostile_boxes(tmp_path):
    program = tmp_path / "sanitize"
    include = ["-I", str(build.SOURCES.parent)]
    done = subprocess.run(
        [build.find_compiler(), *FLAGS, *include, str(SOURCE), "-o", str(program)], capture_output=True, text=True
    )
    if "cannot find" in done.stderr and "san" in done.stderr:
        pytest.skip("the compiler has no sanitizers")
    assert done.returncode == 0, done.stderr
    done = subprocess.run([str(program), "300"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "300 rounds without a fault\n"
