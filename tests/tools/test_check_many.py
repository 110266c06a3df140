"""The proof of `kerasdet check` on 5,000 photos: time and memory.

python -m pytest -s -m slow tests/tools/test_check_many.py
"""

import os
import resource
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

COUNT = 5_000
# Photos a second on two cores, once the system has the files in memory.
LEAST = 150


@pytest.mark.slow
def test_five_thousand_photos(tmp_path):
    rng, folder = np.random.default_rng(0), tmp_path / "photos"
    folder.mkdir()
    for number in range(COUNT):
        # Large blots of their own, and grain that a JPEG has to hold.
        coarse = rng.integers(0, 216, (6, 8, 3)).astype(np.uint8)
        grain = np.roll(rng.integers(0, 40, (48, 64, 1)).astype(np.uint8).repeat(10, 0).repeat(10, 1), number, 0)
        Image.fromarray(np.asarray(Image.fromarray(coarse).resize((640, 480))) + grain).save(
            folder / f"{number:05d}.jpg"
        )
        x = rng.uniform(0.2, 0.8)
        (folder / f"{number:05d}.txt").write_text(f"{number % 2} {x:.4f} 0.5 0.2 0.3\n")
    (folder / "classes.txt").write_text("egg\ncrack\n")
    begin = time.perf_counter()
    command = [sys.executable, "-m", "kerasdet", "check", str(folder), f"--out={tmp_path}/look"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    rate = COUNT / (time.perf_counter() - begin)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{rate:.0f} photos a second, {used.ru_utime + used.ru_stime:.0f} s of CPU, {used.ru_maxrss / 1024:.0f} MiB")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert f"{COUNT} photos on disk" in done.stdout and "nothing is wrong" in done.stdout
    assert rate > LEAST and used.ru_maxrss < 2e6  # kB, of which TensorFlow itself takes a third
