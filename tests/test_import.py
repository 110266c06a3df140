"""What `import kerasdet` says where it cannot work."""

import os
import subprocess
import sys


def test_another_backend_is_one_clear_line():
    environment = {**os.environ, "KERAS_BACKEND": "numpy"}
    done = subprocess.run([sys.executable, "-c", "import kerasdet"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ImportError: kerasdet runs on Keras' TensorFlow backend, but 'numpy' is chosen: "
        "set KERAS_BACKEND=tensorflow before importing keras."
    )
