"""Whole-model goldens: the folder, and the weights that a spec describes."""

import hashlib
import json
import os
import pathlib

import numpy as np

FOLDER = pathlib.Path(os.environ.get("KERASDET_GOLDEN_MODELS", pathlib.Path(__file__).parent / "models"))


def specs():
    """Paths of all specs in the folder."""
    return sorted(FOLDER.glob("*.spec.json"))


def weights(spec):
    """Regenerates a spec's tensors from Philox' raw stream: dict of torch name to array.

    Raises:
        AssertionError: they are not the tensors that the reference values were made with.
    """
    spec = json.loads(spec.read_text())
    tensors = {name: _tensor(spec["key"], name, *rest) for name, *rest in spec["tensors"]}
    digest = hashlib.sha256()
    for name, values in tensors.items():
        digest.update(name.encode() + b"\0")
        digest.update(np.ascontiguousarray(values).tobytes())
    assert digest.hexdigest() == spec["sha256"]
    return tensors


def _tensor(key, name, shape, kind, *settings):
    if kind == "i64":
        return np.full(shape, settings[0], np.int64)
    if kind == "values":
        return np.asarray(settings[0], np.float64).astype(np.float32).reshape(shape)
    drawn = _draw(f"{key}/{name}", int(np.prod(shape, dtype=np.int64))).reshape(shape)
    center, spread = settings if kind == "u" else (0.0, *settings)
    if kind != "u":
        filters = tuple(axis for axis in range(len(shape)) if axis != (1 if kind == "uzt" else 0))
        count = np.prod([shape[axis] for axis in filters])
        drawn = drawn - drawn.sum(axis=filters, keepdims=True) / count
    return np.float32(center + spread * (drawn / 2.0**24))


def _draw(text, count):
    """Odd whole numbers between -2**24 and 2**24."""
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
    raw = np.random.Philox(key=key).random_raw((count + 1) // 2).astype("<u8")
    return (raw.view("<u4")[:count] >> np.uint32(8)).astype(np.int64) * 2 + 1 - 2**24
