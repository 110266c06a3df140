"""Reads the reference values: `.npz` files whose keys are `<case>.<field>`, and the JSON files beside them.

The folder is this one, or the one that the environment variable KERASDET_GOLDEN names.
"""

import os
import pathlib

import numpy as np

FOLDER = pathlib.Path(os.environ.get("KERASDET_GOLDEN", pathlib.Path(__file__).parent))


def load(name):
    """Returns {case: {field: array}} of the file `name`.npz."""
    found = {}
    with np.load(FOLDER / f"{name}.npz") as arrays:
        for key in arrays.files:
            case, field = key.split(".", 1)
            found.setdefault(case, {})[field] = arrays[key]
    return found


def decimal(value):
    """Returns a setting as the decimal number that it was written from; it is stored as float32."""
    return float(f"{value.item():.7g}")


def cases(name, prefix=""):
    """Returns the sorted names of the cases of `name`.npz that begin with `prefix`; none at all is an error."""
    found = sorted(case for case in load(name) if case.startswith(prefix))
    if not found:
        raise ValueError(f"{FOLDER / name}.npz holds no case that begins with '{prefix}'.")
    return found
