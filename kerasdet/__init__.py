"""kerasdet: object detectors from R-CNN to CenterNet, each paper one readable Keras model."""

import keras

from kerasdet.version import __version__ as __version__

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"kerasdet runs on Keras' TensorFlow backend, but '{keras.backend.backend()}' is chosen: "
        "set KERAS_BACKEND=tensorflow before importing keras."
    )
