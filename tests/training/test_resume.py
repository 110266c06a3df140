"""Runs that are killed, and checkpoints that were cut short."""

import pathlib
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from kerasdet.training import checkpoints
from tests.training import killed, micro


def compiled(rate=0.1, momentum=0.9):
    model = micro.make()
    model.compile(keras.optimizers.SGD(rate, momentum))
    model.optimizer.build(model.trainable_variables)
    return model


def child(mode, folder):
    return [sys.executable, "-m", "tests.training.killed", mode, str(folder)]


def resumed_is_the_same(folder):
    done = subprocess.run(child("resume", folder), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    assert "resumed at step" in done.stdout and "bitwise the same" in done.stdout


def test_killed_at_a_random_step_and_resumed_bit_by_bit(tmp_path):
    """The next image ids too, with dropout, batch statistics, AdamW, an average of weights and augmentation."""
    step = int(np.random.default_rng().integers(5, 18))  # in the first of two rounds
    with subprocess.Popen(child("slow", tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while len(killed.ids(tmp_path)) < step and process.poll() is None:
            time.sleep(0.02)
        process.kill()
    assert process.returncode == -9, f"the run ended before step {step}"
    resumed_is_the_same(tmp_path)


@pytest.mark.slow  # pytest -m slow tests/training/test_resume.py: half a minute
def test_killed_while_a_checkpoint_is_written(tmp_path):
    assert subprocess.run(child("writing", tmp_path), capture_output=True).returncode == -9
    assert (tmp_path / "checkpoints" / "writing").is_file()
    resumed_is_the_same(tmp_path)


def test_a_checkpoint_that_is_cut_short_gives_way_to_the_one_before(tmp_path, capsys):
    model, saved = compiled(), checkpoints.Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3):
        model.box_head.bias.assign([float(step)] * 4)
        saved.save(model, {"step": step})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000000002.npz", "000000003.npz"]
    newest = tmp_path / "000000003.npz"
    content = newest.read_bytes()
    for size in (0, 100, len(content) // 2, len(content) - 1):
        newest.write_bytes(content[:size])
        facts, values = saved.newest()
        assert facts["step"] == 2
        assert "000000003.npz: this checkpoint is broken" in capsys.readouterr().out
        checkpoints.restore(model, values)
        np.testing.assert_array_equal(model.box_head.bias, 2.0)
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 255
    newest.write_bytes(flipped)
    assert saved.newest()[0]["step"] == 2


def test_a_write_that_fails_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    model, saved = compiled(), checkpoints.Checkpoints(tmp_path)
    saved.save(model, {"step": 1})

    def half(file, **values):
        file.write(b"PK half a file")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", half)
    with pytest.raises(KeyboardInterrupt):
        saved.save(model, {"step": 2})
    assert saved.newest()[0]["step"] == 1


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    saved = checkpoints.Checkpoints(tmp_path)
    saved.save(compiled(), {"step": 1})
    other = micro.make(classes=["egg"])
    other.compile(keras.optimizers.SGD(0.1, 0.9))
    other.optimizer.build(other.trainable_variables)
    with pytest.raises(ValueError, match="tensors of another model or optimizer"):
        checkpoints.restore(other, saved.newest()[1])
    with pytest.raises(ValueError, match="tensors of another model or optimizer"):
        checkpoints.restore(compiled(momentum=0.0), saved.newest()[1])


def test_no_checkpoint_is_none(tmp_path):
    assert checkpoints.Checkpoints(pathlib.Path(tmp_path) / "none").newest() is None
