"""The error of `import kerasdet` if it cannot work."""

import subprocess
import sys


def test_another_backend_is_one_clear_line():
    code = "import keras; keras.backend.backend = lambda: 'jax'; import kerasdet"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ImportError: kerasdet runs on Keras' TensorFlow backend, but 'jax' is chosen: "
        "set KERAS_BACKEND=tensorflow before importing keras."
    )
