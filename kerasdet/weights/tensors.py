"""Named arrays into a model's variables: every tensor of both sides has its place, or one line says which has not."""

import mmap

import numpy as np

# Numbers that are copied at once.
_PART = 2**21


def check(pairs, tensors, source=None):
    """Checks that named arrays fit variables.

    Args:
        pairs: list of (variable, name).
        tensors: dict of name to array of the variable's shape.
        source: what the message calls them; None where the caller says it.

    Raises:
        ValueError: a tensor is missing, left over or of another shape; the line names it.
    """
    start = "" if source is None else f"{source}: "
    for variable, name in pairs:
        if name not in tensors:
            raise ValueError(f"{start}no tensor '{name}', which the model needs.")
        shape = np.shape(tensors[name])
        if shape != tuple(variable.shape):
            raise ValueError(f"{start}tensor '{name}' has shape {shape}, the model's is {tuple(variable.shape)}.")
        if not np.isfinite(tensors[name]).all():
            raise ValueError(f"{start}tensor '{name}' has numbers that are not finite.")
        _forget(tensors[name])
    left = sorted(set(tensors) - {name for _, name in pairs})
    if left:
        raise ValueError(f"{start}the model has no place for the tensor '{left[0]}' and {len(left) - 1} others.")


def assign(pairs, tensors, source=None):
    """Copies arrays into variables; nothing is copied where one does not fit. Arguments and errors as in `check`."""
    check(pairs, tensors, source)
    # The largest first: the others then find room where those before them have been.
    for variable, name in sorted(pairs, key=lambda pair: -np.size(tensors[pair[1]])):
        _put(variable, tensors[name])
        _forget(tensors[name])


def _put(variable, value):
    """Copies an array into a variable; a large one part by part, as TensorFlow holds three of it meanwhile."""
    if np.size(value) < _PART or hasattr(variable.value, "values"):  # of several devices
        variable.assign(value)
        return
    rows = max(_PART * len(value) // np.size(value), 1)
    for start in range(0, len(value), rows):
        variable.value[start : start + rows].assign(np.asarray(value[start : start + rows], variable.dtype))


def _forget(array):
    """Gives back the memory of an array that is mapped from a file, which is read again where it is still needed."""
    while isinstance(array, np.ndarray):
        array = array.base
    if isinstance(array, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.madvise(mmap.MADV_DONTNEED)
