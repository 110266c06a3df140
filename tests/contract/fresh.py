"""Loads `.keras` files in a process that only imported kerasdet, and detects: a companion.

A request names a folder with `model.keras`, `given.npz` of `pixels` and, if the detector needs them, `proposals`, and
`expected.npz`, the detections of the process that saved the model; and the module of the detector's class.
"""

import importlib
import pathlib

import keras
import numpy as np

import kerasdet  # noqa: F401
from tests import companion


def answer(folder, module):
    if not module.startswith("kerasdet."):
        importlib.import_module(module)
    folder = pathlib.Path(folder)
    given, expected = (dict(np.load(folder / f"{name}.npz")) for name in ("given", "expected"))
    found = keras.saving.load_model(folder / "model.keras").detect(given.pop("pixels"), above=0.0, **given)
    assert len(expected["scores"])
    for name, value in expected.items():
        # Two processes on one machine have given boxes 1e-5 pixels apart.
        rounding = {"rtol": 1e-5, "atol": 1e-5} if value.dtype.kind == "f" else {"rtol": 0}
        np.testing.assert_allclose(found[name], value, **rounding, err_msg=name)


if __name__ == "__main__":
    companion.serve(answer)
