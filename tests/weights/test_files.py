"""Files of tensors: what torch, NumPy and safetensors write comes back, and hostile files end in one line.

`torch_zip.pth` and `torch_legacy.pth` were written by torch 1.13 itself: a checkpoint of a convolution and a norm with
an optimizer, a view, a parameter in double precision, half floats and transposed brain floats.
"""

import io
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections import OrderedDict

import h5py
import numpy as np
import pytest

from kerasdet.weights import files
from tests.weights import torch_files

HERE = pathlib.Path(__file__).parent


@pytest.mark.parametrize("name", ["torch_zip", "torch_legacy"])
def test_files_of_torch_itself(name):
    found = files.read(HERE / f"{name}.pth")
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    expected = {
        "conv.weight": np.arange(54, dtype=np.float32).reshape(3, 2, 3, 3), "conv.bias": np.float32([1, 2, 3]),
        "norm.weight": np.float32([2, 3, 4]), "norm.bias": np.float32([3, 4, 5]),
        "norm.running_mean": np.zeros(3, np.float32), "norm.running_var": np.ones(3, np.float32),
        "norm.num_batches_tracked": np.int64(0), "view": base[1:3, 1:5].T, "half": base, "brain": base.T,
        "parameter": base,
    }  # fmt: skip
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
        assert found[name].dtype == value.dtype


def tensors(prefix=""):
    rng = np.random.default_rng(0)
    found = {f"{prefix}layer.{kind}": rng.normal(size=(3, 4, 1, 2)).astype(kind) for kind in ("f4", "f2", "f8")}
    return OrderedDict({**found, f"{prefix}layer.count": np.array(7), f"{prefix}layer.none": np.zeros([0, 3], "f4")})


def write_npz(path, content):
    np.savez(path, **content)
    return path


WAYS = {
    "pth": torch_files.write_pth, "pt": torch_files.write_legacy, "safetensors": torch_files.write_safetensors,
    "pkl": torch_files.write_pickle, "npz": write_npz,
}  # fmt: skip


@pytest.mark.parametrize("ending", WAYS)
@pytest.mark.parametrize("inside", [None, "state_dict", "model", "blobs"])
def test_every_kind_comes_back(tmp_path, ending, inside):
    """Also inside of a checkpoint, with "module." before each name, and whatever the file is called."""
    if inside and ending in ("safetensors", "npz"):
        pytest.skip("holds tensors alone")
    content = tensors("module.")
    whole = content if inside is None else {"epoch": 3, inside: content, "lr": [0.1, None, True]}
    found = files.read(WAYS[ending](tmp_path / "weights.npz", whole))
    assert list(found) == list(tensors())
    for name, value in tensors().items():
        np.testing.assert_array_equal(found[name], value.astype("f4") if value.dtype.kind == "f" else value)


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_of_pickle(tmp_path, protocol):
    content = {"model": dict(tensors()), "more": np.float64(2.5), "fortran": np.ones([2, 3], order="F")}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol))
    for name, value in files.read(tmp_path / "a.pkl").items():
        np.testing.assert_allclose(value, tensors()[name], rtol=1e-6)


def test_pickles_of_python_2(tmp_path):
    """There text and the bytes of arrays are one kind, which has no encoding."""
    value = np.float32([[1.5, -2.0], [300.0, 0.1]])
    raw = value.tobytes()
    text = (
        b"\x80\x02}q\x00U\x05blobsq\x01}q\x02U\x06conv_wq\x03cnumpy.core.multiarray\n_reconstruct\nq\x04cnumpy\nndarray\n"
        b"q\x05K\x00\x85U\x01b\x87R(K\x01K\x02K\x02\x86cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff"
        b"\xffJ\xff\xff\xff\xffK\x00tb\x89U" + bytes([len(raw)]) + raw + b"tbss."
    )
    (tmp_path / "old.pkl").write_bytes(text)
    np.testing.assert_array_equal(files.read(tmp_path / "old.pkl")["conv_w"], value)


def test_files_of_keras(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["stem/net/stem/kernel:0"] = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(files.read(tmp_path / "a.h5")["net/stem/kernel"], np.arange(6.0).reshape(2, 3))


class Runs:
    """Runs a command where it is unpickled, and makes a file if it ran."""

    def __init__(self, function, *arguments):
        self.how = function, arguments

    def __reduce__(self):
        return self.how


BIG = 10_000_000_000


def claims(change):
    """A function that changes the description of a file of safetensors."""
    return lambda path: torch_files.write_safetensors(path, tensors(), lambda one: {**one, **change})


def zip_of(change):
    return lambda path: torch_files.write_pth(path, tensors(), change)


def deflated(path):
    """A zip bomb: a gigabyte of zeros in a megabyte."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        with file.open("archive/data.pkl", "w") as entry:
            for _ in range(64):
                entry.write(bytes(2**20))
    return path


def cut(path):
    torch_files.write_pth(path, tensors())
    path.write_bytes(path.read_bytes()[:-300])
    return path


def cut_legacy(path):
    torch_files.write_legacy(path, tensors())
    path.write_bytes(path.read_bytes()[:-20])
    return path


def bytes_of(text):
    def write(path):
        path.write_bytes(text)
        return path

    return write


def pickled(value, protocol=2):
    return bytes_of(pickle.dumps(value, protocol))


def swapped(old, new, content=None):
    """A file of torch whose pickle has other bytes somewhere."""

    def change(entries):
        name = "archive/data.pkl"
        assert entries[name].count(old), "the bytes are there"
        return {**entries, name: entries[name].replace(old, new)}

    return lambda path: torch_files.write_pth(path, content or {"a": np.zeros([7, 77], "f4")}, change)


def external(path):
    with h5py.File(path, "w") as file:
        file["a"] = h5py.ExternalLink("/etc/passwd", "/")
    return path


def unwritten(path):
    """A data set of 40 GB of which nothing was ever written."""
    with h5py.File(path, "w") as file:
        file.create_dataset("layer/kernel", (BIG,), "f4", chunks=(2**20,))
    return path


def compressed(path):
    np.savez_compressed(path, zeros=np.zeros(10_000_000, "f4"))
    return path


def a_tar(path):
    import tarfile

    with tarfile.open(path, "w") as file:
        file.addfile(tarfile.TarInfo("pickle"), io.BytesIO())
    return path


HOSTILE = {
    "a web page": (bytes_of(b"\n <!DOCTYPE html><html>Sign in</html>"), "a web page and no weights"),
    "git lfs": (bytes_of(b"version https://git-lfs.github.com/spec/v1\noid sha256:12"), "a pointer of Git LFS"),
    "nothing": (bytes_of(b""), "the file is empty"),
    "noise": (bytes_of(bytes(range(1, 200))), "no file of tensors that is known here"),
    "a tar": (a_tar, "a tar archive"),
    "runs a command": (
        pickled(Runs(os.system, "touch ran")),
        "calls 'posix.system', which builds no array; nothing of it",
    ),
    "runs, protocol 0": (pickled(Runs(os.system, "touch ran"), 0), "calls 'posix.system'"),
    "runs, protocol 4": (pickled({"a": Runs(eval, "1")}, 4), "calls 'builtins.eval'"),
    "runs in torch's": (
        swapped(b"ctorch._utils\n_rebuild_tensor_v2\n", b"cbuiltins\nexec\n"),
        "calls 'builtins.exec', which builds no array",
    ),
    "an object": (pickled(pathlib.PurePosixPath("/etc")), "calls 'pathlib.PurePosixPath'"),
    "an array of objects": (pickled({"a": np.array([{}, None])}), "an array of 'O8', which are no numbers"),
    "an opcode of Python 2": (bytes_of(b"(S'touch ran'\nios\nsystem\n."), "the step INST, which builds no array"),
    "an extension": (bytes_of(b"\x80\x02\x82\x01."), "the step EXT1, which builds no array"),
    "no dict": (pickled([1, 2]), "no tensors by name in it"),
    "no tensors": (pickled({"a": 1, "b": "text"}), "no tensors by name in it"),
    "cut off": (cut, "not a zip file"),
    "cut off, legacy": (cut_legacy, "damaged or cut off"),
    "cut off, pickle": (bytes_of(pickle.dumps(dict(tensors()), 2)[:-40]), "not enough data|exhausted|remain"),
    "a storage is missing": (
        zip_of(lambda e: {k: v for k, v in e.items() if k != "archive/data/1"}),
        "numbers of a tensor are missing, '1'",
    ),
    "a short storage": (
        zip_of(lambda e: {**e, "archive/data/1": b"12"}),
        "a tensor's storage has 24 numbers, which it has not",
    ),
    "a compressed zip": (deflated, "'archive/data.pkl' in it is compressed"),
    "compressed arrays": (compressed, "'zeros.npy' in it is compressed"),
    # 77 columns of 7 rows: as many as a byte can say become 10 thousand million.
    "a large shape": (
        swapped(b"K\x07KM\x86", b"K\x07\x8a\x05\x00\xe4\x0bT\x02\x86"),
        "does not fit in its storage of 539 numbers",
    ),
    "a large storage": (
        swapped(b"M\x1b\x02t", b"\x8a\x05\x00\xe4\x0bT\x02t"),
        "storage has 10,000,000,000 numbers, which it has not",
    ),
    "strides of nothing": (swapped(b"KMK\x01\x86", b"K\x00K\x00\x86", {"a": np.zeros([7, 77], "f4")}), None),
    "a large array": (
        bytes_of(pickle.dumps({"a": np.zeros(7, "f4")}, 2).replace(b"K\x07\x85", b"\x8a\x05\x00\xe4\x0bT\x02\x85")),
        "an array of shape .10000000000,. and float32 does not have 28 bytes",
    ),
    "bytes of a number": (
        bytes_of(b"\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02f4\x85R\x8a\x05\x00\xe4\x0bT\x02\x86R."),
        "where bytes should be",
    ),
    "a long text": (bytes_of(b"\x80\x02X\xff\xff\xff\x7fabc."), "expected 2147483647 bytes"),
    "long bytes": (bytes_of(b"\x80\x04\x8e" + struct.pack("<Q", BIG) + b"abc."), "expected 10000000000 bytes"),
    "a large memo": (bytes_of(b"\x80\x02}r\xff\xff\xff\x7f."), "no tensors by name in it"),
    "a text a thousand times": (
        bytes_of(
            b"\x80\x02c_codecs\nencode\nq\x00X"
            + struct.pack("<I", 10**5)
            + b"a" * 10**5
            + b"q\x01"
            + b"h\x00h\x01\x85R" * 20000
            + b"."
        ),
        "makes more of its bytes than there are",
    ),
    "nested a million times": (bytes_of(b"\x80\x02N" + b"\x85" * 10**6 + b"."), "no tensors by name in it"),
    "a name of tuples": (bytes_of(b"\x80\x02}N" + b"\x85" * 10**5 + b"Ns."), "a name that is no text"),
    "an empty stack": (bytes_of(b"\x80\x02R."), "a damaged pickle"),
    "safetensors: a large shape": (
        claims({"layer.f4": {"dtype": "F32", "shape": [BIG], "data_offsets": [0, 4 * BIG]}}),
        "says that tensor 'layer.f4' has 40000000000 bytes",
    ),
    "safetensors: another shape": (
        claims({"layer.f4": {"dtype": "F32", "shape": [5], "data_offsets": [0, 96]}}),
        "says that tensor 'layer.f4' has 96 bytes",
    ),
    "safetensors: no offsets": (
        claims({"layer.f4": {"dtype": "F32", "shape": [5]}}),
        "damaged file of safetensors .tensor 'layer.f4'",
    ),
    "safetensors: a negative shape": (
        claims({"layer.f4": {"dtype": "F32", "shape": [-24], "data_offsets": [96, 0]}}),
        "tensor 'layer.f4'",
    ),
    "safetensors: a large description": (
        bytes_of(struct.pack("<Q", BIG) + b"{}"),
        "its description has 10,000,000,000 bytes",
    ),
    "safetensors: no JSON": (bytes_of(struct.pack("<Q", 20) + b"{" * 20), "its description is no JSON"),
    "safetensors: deep JSON": (
        bytes_of(struct.pack("<Q", 10**5) + b'{"a":' + b"[" * (10**5 - 5)),
        "its description is no JSON",
    ),
    "hdf5: points elsewhere": (external, "it points to other files"),
    "hdf5: never written": (unwritten, "'layer/kernel' in it is no plain array"),
    "hdf5: cut off": (bytes_of(b"\x89HDF\r\n\x1a\n" + bytes(100)), "a damaged file of HDF5"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_end_in_one_line(tmp_path, monkeypatch, name):
    """No code runs, and no memory is taken that a file only claims to need."""
    monkeypatch.chdir(tmp_path)
    write, words = HOSTILE[name]
    path = write(tmp_path / "model.npz" if name == "compressed arrays" else tmp_path / "model.pth")
    tracemalloc.start()
    try:
        if words is None:  # a tensor all of whose elements are one: legal, and within its storage
            assert files.read(path)["a"].shape == (7, 77)
        else:
            with pytest.raises(ValueError, match=words) as raised:
                files.read(path)
            text = str(raised.value)
            assert text.startswith(f"{path}: ") and len(text.splitlines()) == 1 and len(text) < 600
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()
    assert not (tmp_path / "ran").exists()


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.pth: no such weights file"):
        files.read(tmp_path / "none.pth")


def test_damaged_anywhere_it_is_one_line_or_a_tensor(tmp_path):
    """A byte changed anywhere: whatever it does, a `ValueError` of one line or tensors, and never anything else."""
    rng = np.random.default_rng(0)
    for ending, write in WAYS.items():
        whole = write(tmp_path / "whole.npz", tensors()).read_bytes()
        for trial in range(150):
            spoiled = bytearray(whole)
            for place in rng.integers(0, len(whole), 1 + trial % 3):
                spoiled[place] = rng.integers(256)
            (tmp_path / "spoiled.pth").write_bytes(spoiled)
            try:
                files.read(tmp_path / "spoiled.pth")
            except ValueError as error:
                assert len(str(error).splitlines()) == 1, ending


def test_reading_needs_no_torch_and_no_tensorflow(tmp_path):
    torch_files.write_pth(tmp_path / "a.pth", tensors())
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from kerasdet.weights import files\n"
        f"assert len(files.read({str(tmp_path / 'a.pth')!r})) == 5\n"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=HERE.parents[1])
