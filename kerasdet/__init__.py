"""kerasdet: object detectors from R-CNN to CenterNet, each paper one readable Keras model."""

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"kerasdet runs on Keras' TensorFlow backend, but '{keras.backend.backend()}' is chosen: set KERAS_BACKEND=tensorflow."
    )

__version__ = "0.1.0"
