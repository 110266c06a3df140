"""The error of `import kerasdet` if it cannot work."""

import os
import resource
import statistics
import subprocess
import sys

import pytest

LINE = (
    "ImportError: kerasdet runs on Keras' TensorFlow backend, but 'jax' is chosen: "
    "set KERAS_BACKEND=tensorflow before importing keras."
)


def run(code, **variables):
    env = {**os.environ, **variables}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)


def test_another_backend_is_one_clear_line():
    for code, variables in (
        ("import keras; keras.backend.backend = lambda: 'jax'; import kerasdet", {}),
        ("import kerasdet", {"KERAS_BACKEND": "jax"}),
    ):
        done = run(code, **variables)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == LINE


def test_rooms_are_imported_when_they_are_used():
    code = (
        "import sys, kerasdet; assert not {'keras', 'tensorflow'} & set(sys.modules)\n"
        "assert not hasattr(kerasdet, 'nothing') and kerasdet.version.__version__ == kerasdet.__version__\n"
        "print(len(kerasdet.data.read('shapes', 'val')), 'tensorflow' in sys.modules)"
    )
    done = run(code)
    assert done.stdout == "200 True\n", done.stderr


def seconds(code):
    """CPU-seconds of a fresh process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run(code).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(after[:2]) - sum(before[:2])


@pytest.mark.slow
def test_the_main_rooms_add_little_to_tensorflow_and_keras():
    bare, ours = "import tensorflow, keras", "from kerasdet import data, detectors, evaluation, export, load, training"
    ratio = statistics.median(seconds(ours) / seconds(bare) for _ in range(7))
    print(f"{ratio:.3f} times the CPU of TensorFlow and Keras")
    assert ratio <= 1.15


def test_keras_finds_the_detectors_after_import_kerasdet_alone():
    """In either order of the imports; and a room that imports Keras itself is not disturbed."""
    asked = "print(keras.saving.get_registered_object('kerasdet>SSD').__module__)"
    for imports in ("import keras, kerasdet", "import kerasdet, keras", "import kerasdet.layers, keras, kerasdet.load"):
        done = run(f"{imports}\n{asked}")
        assert done.stdout == "kerasdet.detectors.ssd\n", done.stderr
