"""kerasdet: object detectors from R-CNN to CenterNet in Keras, one readable file per paper."""

import os

# TensorFlow turns oneDNN on by itself only for the newest processors. Elsewhere grouped convolutions would have no
# gradient on the CPU, and training steps would take longer.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Memory that TensorFlow keeps for the next step instead of giving it back saves a tenth of a training step on the CPU.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")

import keras  # noqa: E402

from kerasdet.version import __version__ as __version__  # noqa: E402

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"kerasdet runs on Keras' TensorFlow backend, but '{keras.backend.backend()}' is chosen: "
        "set KERAS_BACKEND=tensorflow before importing keras."
    )
