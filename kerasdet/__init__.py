"""kerasdet: object detectors from R-CNN to CenterNet in Keras, one readable file per paper."""

import importlib
import importlib.util
import os
import sys

from kerasdet.version import __version__ as __version__

# TensorFlow turns oneDNN on by itself only for the newest processors. Elsewhere grouped convolutions would have no
# gradient on the CPU, and training steps would take longer.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Memory that TensorFlow keeps for the next step instead of giving it back saves a tenth of a training step on the CPU.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")

# Importing Keras takes seconds, so a backend that is still to be chosen is chosen here.
_backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
if "keras" in sys.modules:
    _backend = sys.modules["keras"].backend.backend()
if _backend != "tensorflow":
    raise ImportError(
        f"kerasdet runs on Keras' TensorFlow backend, but '{_backend}' is chosen: "
        "set KERAS_BACKEND=tensorflow before importing keras."
    )


def __getattr__(name):
    """Rooms are imported when they are first used, as in `kerasdet.data.read`: TensorFlow takes seconds."""
    if not name.startswith("_"):
        try:
            return importlib.import_module(f"kerasdet.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"kerasdet.{name}":
                raise
    raise AttributeError(f"module 'kerasdet' has no attribute {name!r}")


class _WhenKerasComes:
    """Makes the detectors known to Keras once it is there, so that `keras.saving.load_model` finds their classes."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "keras":
            return None
        sys.meta_path.remove(cls)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def run_and_register(module):
            run(module)
            cls.register()

        spec.loader.exec_module = run_and_register
        return spec

    @staticmethod
    def register():
        """Imports the detectors, unless another room is just being imported, which they may need."""
        rooms = [module for name, module in [*sys.modules.items()] if name.startswith("kerasdet.")]
        if not any(getattr(module.__spec__, "_initializing", False) for module in rooms):
            importlib.import_module("kerasdet.detectors")


if "keras" in sys.modules:
    _WhenKerasComes.register()
else:
    sys.meta_path.insert(0, _WhenKerasComes)
