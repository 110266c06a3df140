"""Weights of a frozen graph of TensorFlow, which is parsed, and neither imported nor run."""

import math
import tarfile
import zlib

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow.core.framework import graph_pb2, types_pb2

# The graph in an archive of TensorFlow's model zoo.
_GRAPH = "frozen_inference_graph.pb"

# Released graphs have less than a quarter of it, bytes.
_LONGEST = 2**30


def read(path):
    """Reads the constants of a graph.

    Args:
        path: of a frozen graph, or of a tar archive with a `frozen_inference_graph.pb`.

    Returns:
        Dict of name to array, of all constants that are float32.

    Raises:
        ValueError: one line, without the path; it is something else, damaged or cut off, or larger than a gigabyte.
    """
    data = _member(path) if tarfile.is_tarfile(path) else _head(open(path, "rb"))
    graph = graph_pb2.GraphDef()
    try:
        graph.ParseFromString(data)
    except DecodeError:
        raise ValueError("no graph of TensorFlow, or a damaged one, or one that was cut off") from None
    tensors = {node.name: node.attr["value"].tensor for node in graph.node if node.op == "Const"}
    tensors = {name: tensor for name, tensor in tensors.items() if tensor.dtype == types_pb2.DT_FLOAT}
    shapes = {name: [one.size for one in tensor.tensor_shape.dim] for name, tensor in tensors.items()}
    # A constant may be written as one number and a shape: without this a small file could fill the memory.
    total = sum(4 * abs(math.prod(shape)) for shape in shapes.values())
    if total > 8 * len(data):
        raise ValueError(f"its tensors have {total:,} bytes, but the graph only {len(data):,}")
    if not tensors:
        raise ValueError(f"a graph of TensorFlow without weights: take the frozen one, {_GRAPH}")
    return {name: _array(name, tensor, shapes[name]) for name, tensor in tensors.items()}


def _array(name, tensor, shape):
    """A constant's numbers, plain or as a list, of which the last stands for all that are left out."""
    plain = tensor.tensor_content
    if len(plain) % 4 == 0:
        values = np.frombuffer(plain, "<f4") if plain else np.array(tensor.float_val, np.float32)
        left = math.prod(shape) - len(values)
        if left == 0:
            return values.reshape(shape)
        if left > 0 and len(values) and not plain:
            return np.pad(values, (0, left), "edge").reshape(shape)
    raise ValueError(f"it says that tensor '{name[:80]}' has shape {tuple(shape)}, which its numbers do not fill")


def _member(path):
    """The graph in an archive."""
    try:
        with tarfile.open(path) as archive:
            for entry in archive:
                if entry.isfile() and entry.name.rpartition("/")[2] == _GRAPH:
                    return _head(archive.extractfile(entry))
    except (tarfile.TarError, EOFError, OSError, zlib.error):
        raise ValueError("a damaged archive, or one that was cut off") from None
    raise ValueError(
        f"a tar archive without {_GRAPH}; one of torch is loaded and saved again by a torch of this decade"
    )


def _head(file):
    """All bytes of a file that is not too long."""
    with file:
        data = file.read(_LONGEST + 1)
    if len(data) > _LONGEST:
        raise ValueError(f"a graph of more than {_LONGEST:,} bytes, which is none of a detector")
    return data
