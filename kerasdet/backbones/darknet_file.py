"""Darknet's `.weights` files: a header, then the numbers of one layer after another, without names or shapes."""

import math
import os
import struct
from typing import NamedTuple

import numpy as np

from kerasdet.layers.conv import Conv
from kerasdet.layers.darknet import Connected, Local

# Of version 0.2: the number of images seen takes eight bytes, before it took four.
HEADER = (0, 2, 0)


class Header(NamedTuple):
    """What a file begins with.

    version: major, minor and revision.
    seen: number of images that the weights have learned from.
    """

    version: tuple = HEADER
    seen: int = 0

    @property
    def wide(self):
        """Whether `seen` takes eight bytes."""
        major, minor, _ = self.version
        return major * 10 + minor >= 2 and major < 1000 and minor < 1000

    @property
    def turned(self):
        """Whether kernels of connected layers are (in, out)."""
        return self.version[0] > 1000 or self.version[1] > 1000

    @property
    def size(self):
        """Bytes of the header."""
        return 20 if self.wide else 16

    def to_bytes(self):
        """The header as bytes."""
        return struct.pack("<iii", *self.version) + struct.pack("<q" if self.wide else "<i", self.seen)


def read(path):
    """Reads a file.

    Args:
        path: of the file.

    Returns:
        Its `Header`, and its numbers, [N] float32, mapped from the disk.

    Raises:
        FileNotFoundError: there is none.
        ValueError: one line; it is too short, or no whole number of float32.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such weights file.")
    with open(path, "rb") as file:
        head = file.read(20)
    if len(head) < 16:
        raise ValueError(f"{path}: {len(head)} bytes are no weights of darknet, which begin with a header of 16 or 20.")
    header = Header(struct.unpack("<iii", head[:12]))
    if len(head) < header.size:
        raise ValueError(f"{path}: the file ends in its header.")
    seen = struct.unpack("<q" if header.wide else "<i", head[12 : header.size])[0]
    header = header._replace(seen=seen)
    body = os.path.getsize(path) - header.size
    if min(*header.version, seen) < 0 or body % 4:
        raise ValueError(f"{path}: no weights of darknet: version {header.version}, seen {seen}, then {body} bytes.")
    numbers = np.memmap(path, "<f4", "r", header.size) if body else np.zeros(0, np.float32)
    return header, numbers


def write(path, header, arrays):
    """Writes a file, under another name until it is complete.

    Args:
        path: of the file.
        header: `Header`.
        arrays: iterable of arrays in the file's order.
    """
    writing = f"{path}.writing"
    with open(writing, "wb") as file:
        file.write(header.to_bytes())
        for array in arrays:
            file.write(np.ascontiguousarray(array, "<f4").tobytes())
    os.replace(writing, path)


def is_weighted(layer):
    """Whether a Keras layer has its place in a `.weights` file."""
    return isinstance(layer, (Conv, Local))


def variables(layer):
    """The variables of a built layer in the file's order: dict of our name below the layer to variable."""
    norm = getattr(layer, "norm", None)
    if norm is None:
        return {"bias": layer.bias, "kernel": layer.kernel}
    own = {f"norm/{name}": getattr(norm, name) for name in ("beta", "gamma", "moving_mean", "moving_variance")}
    if isinstance(layer, Connected):
        return {"norm/beta": own.pop("norm/beta"), "kernel": layer.kernel, **own}
    return {**own, "kernel": layer.kernel}


def _file_shape(layer, name, shape, turned):
    """The shape of a variable in the file, and the axes that bring it to ours."""
    if name == "kernel" and isinstance(layer, Local):
        rows, columns, window, filters = shape
        size = layer.size
        return (rows * columns, filters, window // size**2, size, size), (0, 3, 4, 2, 1)
    if name == "bias" and isinstance(layer, Local):
        return (shape[2], *shape[:2]), (1, 2, 0)
    if name == "kernel" and isinstance(layer, Connected):
        height, width, channels = layer.inputs
        if turned:
            return (channels, height, width, shape[3]), (1, 2, 0, 3)
        return (shape[3], channels, height, width), (2, 3, 1, 0)
    if name == "kernel":
        return (shape[3], shape[2], *shape[:2]), (2, 3, 1, 0)
    return tuple(shape), tuple(range(len(shape)))


def from_file(layer, name, numbers, shape, turned=False):
    """Numbers of a file [N] as the array of a layer's variable of a shape."""
    stored, axes = _file_shape(layer, name, shape, turned)
    return np.ascontiguousarray(np.asarray(numbers).reshape(stored).transpose(axes)).reshape(shape)


def to_file(layer, name, value, turned=False):
    """The array of a layer's variable in the file's order."""
    stored, axes = _file_shape(layer, name, value.shape, turned)
    moved = np.asarray(value).reshape([stored[axis] for axis in axes])
    return moved.transpose(np.argsort(axes))


def taken(layers, path, left=0):
    """Reads the arrays of layers, one after another.

    Args:
        layers: dict of name to built Keras layer, in the file's order; those without weights are skipped.
        path: of the file.
        left: how many numbers may be left over.

    Returns:
        Its `Header`, and a dict of the name of each variable, "layer/kernel", to its array.

    Raises:
        FileNotFoundError: there is none.
        ValueError: one line; the file is shorter or longer than the layers, or a number is not finite or a variance
            below 0.
    """
    header, numbers = read(path)
    places = [
        (layer, f"{place}/{name}", name, tuple(variable.shape))
        for place, layer in layers.items()
        if is_weighted(layer)
        for name, variable in variables(layer).items()
    ]
    needed = sum(math.prod(shape) for *_, shape in places)
    check_count(path, len(numbers), needed, left)
    found, start = {}, 0
    for layer, full, name, shape in places:
        count = math.prod(shape)
        part = numbers[start : start + count]
        if not np.isfinite(part).all():
            raise ValueError(f"{path}: {full} holds numbers that are not finite.")
        if name.endswith("variance") and (part < 0).any():
            raise ValueError(f"{path}: {full} holds negative variances; the file does not fit the layers.")
        found[full] = from_file(layer, name, part, shape, header.turned)
        start += count
    return header, found


def check_count(path, count, needed, left=0):
    """Raises a ValueError, one line, where a file has not the numbers that layers need."""
    if count < needed:
        raise ValueError(f"{path}: the file ends early: {count} numbers of the {needed} that the layers need.")
    if count - needed not in (0, left):
        raise ValueError(f"{path}: {count - needed} numbers are left over of {count}; the layers need {needed}.")


def load_first(blocks, path, classifier=0):
    """Loads a file into the first of some layers.

    Args:
        blocks: list of built Keras layers, of which those without weights are skipped.
        path: of a file that ends with one of these layers, such as `darknet53.conv.74`.
        classifier: numbers of a classifier that may follow the layers if the file has them all.

    Raises:
        ValueError: one line; as in `taken`, or the file ends inside a layer.
    """
    _, numbers = read(path)
    layers, total = {}, 0
    for i, block in enumerate(blocks):
        if is_weighted(block):
            count = sum(math.prod(variable.shape) for variable in variables(block).values())
            if total + count > len(numbers):
                break
            layers[str(i)], total = block, total + count
    _, found = taken(layers, path, classifier)
    for place, layer in layers.items():
        for name, variable in variables(layer).items():
            variable.assign(found[f"{place}/{name}"])
