"""Writes files as torch, NumPy and safetensors write them, byte by byte, for machines without torch."""

import io
import json
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict

import numpy as np

KINDS = {"f4": "Float", "f8": "Double", "f2": "Half", "i8": "Long", "u1": "Byte"}


def _module(name, **members):
    """A module that exists for the pickler alone, which looks classes and functions up by it."""
    module = types.ModuleType(name)
    for key, value in members.items():
        value.__module__, value.__qualname__ = name, key
        setattr(module, key, value)
    return module


class _Storage:
    def __init__(self, array, key):
        self.array, self.key = array, key


class _Tensor:
    """Pickles as a tensor does."""

    def __init__(self, storage, strides=None):
        self.storage, self.strides = storage, strides

    def __reduce__(self):
        array = self.storage.array
        strides = tuple(step // array.itemsize for step in array.strides)
        return _FAKE["torch._utils"]._rebuild_tensor_v2, (self.storage, 0, array.shape, strides, False, OrderedDict())


def _rebuild_tensor_v2():
    raise AssertionError("never called")


_FAKE = {
    "torch": _module("torch", **{f"{kind}Storage": type(f"{kind}Storage", (), {}) for kind in KINDS.values()}),
    "torch._utils": _module("torch._utils", _rebuild_tensor_v2=_rebuild_tensor_v2),
}


def pickled(content, legacy=False):
    """The pickle of dicts of arrays as torch writes it, and the storages by key."""
    storages = {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if not isinstance(value, _Storage):
                return None
            kind = getattr(_FAKE["torch"], f"{KINDS[value.array.dtype.str[1:]]}Storage")
            return ("storage", kind, value.key, "cpu", value.array.size, *(None,) * legacy)

    def told(value):
        if isinstance(value, np.ndarray):
            key = str(len(storages))
            storages[key] = value = np.asarray(value, order="C")
            return _Tensor(_Storage(value, key))
        if isinstance(value, dict):
            return type(value)((name, told(one)) for name, one in value.items())
        return value

    buffer, known = io.BytesIO(), {name: sys.modules.get(name) for name in _FAKE}
    sys.modules.update(_FAKE)
    try:
        Pickler(buffer, protocol=2).dump(told(content))
    finally:
        for name, module in known.items():
            sys.modules.pop(name) if module is None else sys.modules.update({name: module})
    return buffer.getvalue(), storages


def write_pth(path, content, change=None):
    """As torch writes since 1.6: a zip of a pickle and its storages; `change` may spoil the dict of entries."""
    text, storages = pickled(content)
    entries = {"archive/data.pkl": text, "archive/byteorder": b"little"}
    entries |= {f"archive/data/{key}": array.tobytes() for key, array in storages.items()} | {"archive/version": b"3\n"}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name, value in (change(entries) if change else entries).items():
            file.writestr(name, value)
    return path


def write_legacy(path, content):
    """As torch wrote before 1.6: pickles, then the storages one after another."""
    text, storages = pickled(content, legacy=True)
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    with open(path, "wb") as file:
        for part in (0x1950A86A20F9469CFC6C, 1001, machine):
            pickle.dump(part, file, protocol=2)
        file.write(text)
        pickle.dump(sorted(storages), file, protocol=2)
        for key in sorted(storages):
            file.write(struct.pack("<q", storages[key].size) + storages[key].tobytes())
    return path


def write_safetensors(path, tensors, change=None):
    """As safetensors writes; `change` may spoil the description."""
    kinds = {"f4": "F32", "f8": "F64", "f2": "F16", "i8": "I64", "u1": "U8"}
    described, start = {"__metadata__": {"format": "pt"}}, 0
    for name, value in tensors.items():
        place = [start, start + value.nbytes]
        described[name] = {"dtype": kinds[value.dtype.str[1:]], "shape": list(value.shape), "data_offsets": place}
        start += value.nbytes
    text = json.dumps(change(described) if change else described).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for value in tensors.values():
            file.write(np.asarray(value, order="C").tobytes())
    return path


def write_pickle(path, content):
    """A plain pickle of arrays, as Detectron2 writes it."""
    with open(path, "wb") as file:
        pickle.dump(content, file, protocol=2)
    return path
