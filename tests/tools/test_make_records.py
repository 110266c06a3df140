"""The proof of `tools.make_records`: 5,000 photos, killed midway, continued; memory bounded."""

import os
import resource
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from kerasdet import data

COUNT = 5_000


@pytest.mark.slow
def test_five_thousand_photos(tmp_path):
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(20):
        coarse = Image.fromarray(rng.integers(0, 256, (60, 80, 3)).astype(np.uint8))
        coarse.resize((640, 480)).save(tmp_path / f"{number}.jpg", quality=95)
    rows = []
    for number in range(COUNT):
        os.link(tmp_path / f"{number % 20}.jpg", tmp_path / "photos" / f"{number:05d}.jpg")
        rows.append(f"{number:05d}.jpg,{number % 500},10,{number % 500 + 50},80,{'egg' if number % 3 else 'crack'}\n")
    (tmp_path / "boxes.csv").write_text("".join(rows))
    out = tmp_path / "records"
    flags = [f"--path={tmp_path}/boxes.csv", f"--images={tmp_path}/photos", "--option=format=xyxy", f"--out={out}"]
    command = [sys.executable, "-m", "tools.make_records", *flags]

    first = subprocess.Popen(command)
    while first.poll() is None and len(list(out.glob("*.tfrecord"))) < 6:
        time.sleep(0.05)
    first.kill()
    first.wait()
    written = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tfrecord")}
    assert 6 <= len(written) < 20 and not (out / "manifest.json").exists()

    subprocess.run(command, check=True)
    assert all((out / name).stat().st_mtime_ns == changed for name, changed in written.items())
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 1.5e6  # kB, of which TensorFlow itself takes half
    dataset = data.read(out, verify=True)
    assert [record.id for record in dataset.records] == list(range(COUNT)) and dataset.classes == ("crack", "egg")
    for number in (0, 1234, COUNT - 1):
        record = dataset.records[number]
        assert record.image.read() == (tmp_path / "photos" / f"{number:05d}.jpg").read_bytes()
        np.testing.assert_array_equal(record.boxes, np.float32([[number % 500, 10, number % 500 + 50, 80]]))
