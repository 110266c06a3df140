"""Truncated SVD of fully connected layers (Fast R-CNN, Girshick, ICCV 2015, sections 3.1 and 4.4)."""

import inspect

import numpy as np

from kerasdet.layers import FC
from kerasdet.weights import names


def factors(matrix, rank):
    """Factorizes a matrix into the two factors of its best approximation of a given rank, by least squares.

    Args:
        matrix: [N, M].
        rank: rank of the approximation, 1...min(N, M).

    Returns:
        [N, rank] U S and [rank, M] V^T of the largest singular values, float32; as in the paper, the layer that runs
        first holds the singular values.

    Raises:
        ValueError: the rank is out of range.
    """
    matrix = np.asarray(matrix, np.float32)
    if not 1 <= rank <= min(matrix.shape):
        raise ValueError(f"the rank must lie in 1...{min(matrix.shape)} for a matrix of {matrix.shape}, got {rank}.")
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    return u[:, :rank] * s[:rank], v[:rank]


def compress(model, ranks):
    """Replaces each fully connected layer of a detector with two smaller ones.

    Args:
        model: a `Detector` with an argument `ranks`, not yet compressed.
        ranks: one per fully connected layer, in the order of the argument; (1024, 256) in the paper for VGG16's fc6
            and fc7.

    Returns:
        A new `Detector` with the same weights except in these layers, and a dict from the name of each of these layers
        to the share of its matrix's sum of squares that is kept.

    Raises:
        ValueError: the detector has no such layers, or is compressed already.
    """
    if "ranks" not in inspect.signature(type(model).__init__).parameters:
        raise ValueError(f"{type(model).__name__} has no fully connected layers to compress.")
    config = model.get_config()
    if config["ranks"] is not None:
        raise ValueError(f"the model is compressed already, to ranks {tuple(config['ranks'])}.")
    small = type(model).from_config({**config, "ranks": tuple(ranks)})
    original, kept, done = names.layers(model), {}, set()
    for path, layer in names.layers(small).items():
        if isinstance(layer, FC) and layer.inner is not None:
            kernel = np.asarray(original[path].kernel)
            inner, outer = factors(kernel, layer.rank)
            layer.inner.kernel.assign(inner)
            layer.inner.bias.assign(np.zeros(layer.rank, np.float32))
            layer.kernel.assign(outer)
            kept[path] = float(np.square(inner).sum() / np.square(kernel).sum())
            done |= {f"{path}/{name}" for name in ("kernel", "inner/kernel", "inner/bias")}
    original_weights = names.weights(model)
    for name, variable in names.weights(small).items():
        if name not in done:
            variable.assign(original_weights[name])
    return small, kept
