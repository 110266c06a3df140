"""Reads files of tensors by name, whoever wrote them, without running code and without torch.

The kind of a file is seen by its first bytes, not by its name: a zip of torch or NumPy, torch's format before 1.6, a
plain pickle, safetensors, HDF5, a graph of TensorFlow. Where numbers lie plain in the file, arrays are mapped from the
disk, so that a file takes no memory of its own.
"""

import ast
import hashlib
import io
import json
import math
import mmap
import os
import struct
import tarfile
import zipfile

import numpy as np

from kerasdet.weights import pickles

# What torch's format before 1.6 begins with, as a number; then come a version and a description of the machine.
_LEGACY = 0x1950A86A20F9469CFC6C

# Names under which checkpoints keep their tensors beside other things.
_INSIDE = ("state_dict", "model", "model_state_dict", "blobs")

# Descriptions of tensors have some hundred kilobytes.
_LONGEST = 2**26
_LONGEST_NPY = 10_000

_SAFETENSORS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<bf2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1",
    "U8": "<u1", "BOOL": "?",
}  # fmt: skip


def read(path):
    """Reads a file of tensors.

    Args:
        path: of a `.pth`, `.pt`, `.pkl`, `.safetensors`, `.npz`, `.h5` or `.pb` file, or of a `.tar.gz` with the last.

    Returns:
        Dict of name to array, numbers of any size as they are in the file but for floats, which are float32; arrays
        cannot be written.

    Raises:
        FileNotFoundError: there is none.
        ValueError: one line; it is damaged, something else, or would run code.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such weights file.")
    if os.path.getsize(path) == 0:
        raise ValueError(f"{path}: the file is empty.")
    try:
        content, placed = _content(path)
        return _arrays(_inside(content), placed, os.path.getsize(path))
    except (ValueError, zipfile.BadZipFile, EOFError, NotImplementedError, RecursionError) as error:
        raise ValueError(f"{path}: {(str(error).splitlines() or ['damaged'])[0].rstrip('.')[:300]}.") from None


def sha256(path):
    """The SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as data:
        digest = hashlib.sha256()
        while block := data.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _inside(content):
    """The tensors of a checkpoint, which may lie beside others, without the `module.` of runs on several devices."""
    if not isinstance(content, dict):
        raise ValueError("no tensors by name in it")
    for name in _INSIDE:
        if isinstance(content.get(name), dict):
            content = content[name]
            break
    kept = {name: value for name, value in content.items() if isinstance(value, np.ndarray | pickles.Tensor)}
    kept = {name: value for name, value in kept.items() if isinstance(name, str)}
    if not kept:
        raise ValueError("no tensors by name in it")
    if all(name.startswith("module.") for name in kept):
        return {name.removeprefix("module."): value for name, value in kept.items()}
    return kept


def _arrays(tensors, placed, size):
    """Dict of name to array; all of them together must lie in the file."""
    total = sum(4 * math.prod(one.shape) for one in tensors.values())
    if total > 8 * size:  # bytes and half floats become four each, and tensors may share a storage
        raise ValueError(f"its tensors have {total:,} bytes, but the file only {size:,}")
    found = {name: placed(one) if isinstance(one, pickles.Tensor) else one for name, one in tensors.items()}
    return {name: _float32(value) for name, value in found.items()}


def _float32(value):
    if value.dtype.kind != "f" or value.dtype == np.float32:
        return value
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which no model takes
        return value.astype(np.float32)


def _content(path):
    """What a file holds, by its first bytes, and a function from a `pickles.Tensor` in it to its array."""
    with open(path, "rb") as file:
        head = file.read(4096)
        if head[:4] == b"PK\3\4":
            return _zip(path, _mapped(file))
        if head[:8] == b"\x89HDF\r\n\x1a\n":
            return _hdf5(path), None
        if head.lstrip()[:1] == b"<":
            raise ValueError("a web page and no weights: the address that it came from needs a login or is gone")
        if head.startswith(b"version https://git-lfs"):
            raise ValueError("a pointer of Git LFS and no weights: fetch the file itself by `git lfs pull`")
        if tarfile.is_tarfile(path):
            return _graph(path), None
        if head[8:9] == b"{":
            return _safetensors(_mapped(file)), None
        if head[:1] == b"\x80" or head[:1] in b"(}]cl":
            return _pickle(_mapped(file))
        if head[:1] == b"\n":
            return _graph(path), None
        if head[:2] == b"\x08\1":
            raise ValueError("a SavedModel of TensorFlow: take the frozen graph, frozen_inference_graph.pb")
    raise ValueError("no file of tensors that is known here: torch, pickle, safetensors, NumPy, HDF5 or a frozen graph")


def _mapped(file):
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _array(data, dtype, start, shape, strides=None, end=None):
    """An array at a place of the file; Google's brain floats, which NumPy has not, as float32."""
    brain = dtype.endswith("bf2")
    kind = np.dtype(dtype.replace("bf2", "u2"))
    end = len(data) if end is None else end
    if strides is None and start + math.prod(shape) * kind.itemsize > end:
        raise ValueError(f"it says that a tensor has shape {tuple(shape)}, but it has fewer bytes")
    if 0 in shape:
        return np.zeros(shape, np.float32 if brain or kind.kind == "f" else kind)
    steps = None if strides is None else [step * kind.itemsize for step in strides]
    found = np.ndarray(shape, kind, data, start, steps)
    return (found.astype(np.uint32) << 16).view(np.float32) if brain else found


def _zip(path, data):
    """Of torch: a pickle beside its storages; of NumPy: arrays. Both write their numbers plain."""
    with zipfile.ZipFile(path) as packed:
        entries = {entry.filename: entry for entry in packed.infolist()}
    pickled = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if not pickled and all(name.endswith(".npy") for name in entries):
        return {name[:-4]: _npy(data, *_place(data, entry)) for name, entry in entries.items()}, None
    if len(pickled) != 1:
        raise ValueError("a zip that is neither torch's nor NumPy's")
    folder = pickled[0].removesuffix("data.pkl")
    start, size = _place(data, entries[pickled[0]])
    if size > _LONGEST:
        raise ValueError(f"a pickle of {size:,} bytes, which is no description of tensors")
    order = ">" if _is_big(data, entries.get(f"{folder}byteorder")) else "<"

    def tensor(one):
        entry = entries.get(f"{folder}data/{one.storage.key}")
        if entry is None:
            raise ValueError(f"the numbers of a tensor are missing, '{one.storage.key[:40]}'")
        place, length = _place(data, entry)
        return _of_storage(data, one, place, place + length, order)

    return pickles.load(io.BytesIO(data[start : start + size]), size), tensor


def _is_big(data, entry):
    """Whether torch says that the machine that wrote the file had the greatest byte first."""
    if entry is None:
        return False
    start, _ = _place(data, entry)
    return data[start : start + 3] == b"big"


def _place(data, entry):
    """First byte and length of an entry of a zip that is not compressed."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise ValueError(f"'{entry.filename[:80]}' in it is compressed or locked; torch and np.savez write it plain")
    head = data[entry.header_offset : entry.header_offset + 30]
    if len(head) < 30 or head[:4] != b"PK\3\4":
        raise ValueError("a damaged zip, or one that was cut off")
    start = entry.header_offset + 30 + sum(struct.unpack("<HH", head[26:30]))
    if start + entry.file_size > len(data) or entry.file_size != entry.compress_size:
        raise ValueError(f"it says that '{entry.filename[:80]}' has {entry.file_size:,} bytes, which it has not")
    return start, entry.file_size


def _of_storage(data, tensor, start, end, order="<"):
    """The array of a `pickles.Tensor`, whose storage lies between two bytes of the file."""
    size = np.dtype(tensor.storage.dtype.replace("bf2", "u2")).itemsize
    if start + tensor.storage.count * size > end:
        raise ValueError(f"it says that a tensor's storage has {tensor.storage.count:,} numbers, which it has not")
    first = start + tensor.offset * size
    return _array(data, order + tensor.storage.dtype, first, tensor.shape, tensor.strides)


def _npy(data, start, size):
    """An array of NumPy: a version, the length of a description and the description, a dict as Python writes it."""
    head = data[start : start + min(size, _LONGEST_NPY + 12)]
    wide = head[6:7] >= b"\2"
    length, begin = (int.from_bytes(head[8:12], "little"), 12) if wide else (int.from_bytes(head[8:10], "little"), 10)
    try:
        described = ast.literal_eval(head[begin : begin + length].decode().strip())
        shape, dtype, fortran = described["shape"], np.dtype(described["descr"]), described["fortran_order"]
        plain = all(type(side) is int and 0 <= side < 2**48 for side in shape) and len(shape) <= 8
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        plain = False
    if head[:6] != b"\x93NUMPY" or not plain or dtype.kind not in "fiub":
        raise ValueError("no file of plain arrays of numbers")
    found = _array(data, dtype.str, start + begin + length, shape[::-1] if fortran else shape, end=start + size)
    return found.T if fortran else found


def _pickle(data):
    """A pickle of arrays, or torch's format before 1.6: five pickles, and then the storages one after another."""
    content = pickles.load(data, len(data))
    if content != _LEGACY:
        return content, None
    pickles.load(data, len(data))  # the format's version
    machine = pickles.load(data, len(data))
    order = "<" if not isinstance(machine, dict) or machine.get("little_endian", True) else ">"
    content, keys = pickles.load(data, len(data)), pickles.load(data, len(data))
    storages = {one.storage.key: one.storage for one in _tensors(content)}
    places, start = {}, data.tell()
    for key in keys if isinstance(keys, list) else ():
        if key not in storages:
            raise ValueError("a storage in it belongs to no tensor")
        count, size = storages[key].count, np.dtype(storages[key].dtype.replace("bf2", "u2")).itemsize
        if data[start : start + 8] != struct.pack("<q", count) or start + 8 + count * size > len(data):
            raise ValueError(f"damaged or cut off: it says that a storage has {count:,} numbers, which it has not")
        places[key] = start + 8, start + 8 + count * size
        start = places[key][1]

    def tensor(one):
        if one.storage.key not in places:
            raise ValueError("the numbers of a tensor are missing")
        return _of_storage(data, one, *places[one.storage.key], order)

    return content, tensor


def _tensors(content):
    """All `pickles.Tensor`s in dicts within dicts and lists."""
    waiting, seen = [content], set()
    while waiting:
        one = waiting.pop()
        if isinstance(one, pickles.Tensor):
            yield one
        elif isinstance(one, dict | list | tuple) and id(one) not in seen:
            seen.add(id(one))
            waiting += one.values() if isinstance(one, dict) else one


def _safetensors(data):
    """A length, a description in JSON and the numbers."""
    (length,) = struct.unpack("<Q", data[:8])
    if length > min(_LONGEST, len(data) - 8):
        raise ValueError(f"it says that its description has {length:,} bytes, which it has not")
    try:
        described = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError):
        raise ValueError("a damaged file of safetensors (its description is no JSON)") from None
    found = {}
    for name, one in described.items():
        if name == "__metadata__":
            continue
        try:
            dtype, shape, (begin, end) = _SAFETENSORS[one["dtype"]], one["shape"], one["data_offsets"]
            whole = all(type(value) is int and 0 <= value < 2**48 for value in (*shape, begin, end)) and len(shape) <= 8
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"a damaged file of safetensors (tensor '{name[:80]}')") from None
        size = math.prod(shape) * np.dtype(dtype.replace("bf2", "u2")).itemsize if whole else -1
        if size != end - begin or 8 + length + end > len(data):
            raise ValueError(f"it says that tensor '{name[:80]}' has {end - begin} bytes, which it has not")
        found[name] = _array(data, dtype, 8 + length + begin, shape)
    return found


def _graph(path):
    """The constants of TensorFlow's graph, whose description TensorFlow itself has."""
    from kerasdet.weights import graphs

    return graphs.read(path)


def _hdf5(path):
    """The variables of a file of Keras, by the path within it without the layer's own name."""
    import h5py

    found, left = {}, os.path.getsize(path)
    try:
        with h5py.File(path, "r") as file:
            for name, one in _datasets(file):
                left -= math.prod(one.shape) * one.dtype.itemsize
                if one.dtype.kind not in "fiu" or one.external or one.is_virtual or left < 0:
                    raise ValueError(f"'{name[:80]}' in it is no plain array of the file's own")
                found[name.split("/", 1)[-1].removesuffix(":0")] = np.asarray(one[()], np.float32)
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"a damaged file of HDF5 ({str(error).splitlines()[0][:100]})") from None
    return found


def _datasets(group, prefix=""):
    import h5py

    for key in group:
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise ValueError("it points to other files")
        one = group[key]
        if isinstance(one, h5py.Dataset):
            yield prefix + key, one
        else:
            yield from _datasets(one, f"{prefix}{key}/")
