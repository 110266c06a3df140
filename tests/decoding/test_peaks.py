"""The best peaks of all classes, found in the few cells that can hold them, are those of a search of every cell."""

import numpy as np
import pytest

from kerasdet.decoding import peaks


def oracle(maps, count, kernel):
    """Values, places and classes of an image's best cells, one by one; the lowest number where a neighbor is better."""
    found, half = [], kernel // 2
    for y, x, k in np.ndindex(maps.shape):
        around = maps[max(y - half, 0) : y + half + 1, max(x - half, 0) : x + half + 1, k]
        value = maps[y, x, k] if maps[y, x, k] == around.max() else np.finfo(np.float32).min
        found.append((value, x, y, k))
    return sorted(found, key=lambda one: -one[0])[:count]  # equal ones stay in their order


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("kind", ["noise", "ties", "bumps"])
def test_best_peaks_of_all_cells(kind, kernel):
    rng = np.random.default_rng(kernel)
    for trial in range(8):
        size = (rng.integers(1, 4), *rng.integers(1, 18, 2), rng.integers(1, 5))
        maps = rng.normal(size=size)
        if kind == "ties":
            maps = np.round(maps)
        elif kind == "bumps":
            y, x = (np.arange(side)[:, None] - rng.uniform(0, side, 6) for side in size[1:3])
            heights = rng.uniform(0, 1, (size[0], 6, size[3])) * (rng.uniform(size=(size[0], 6, size[3])) > 0.5)
            maps = np.einsum("yi,xi,bik->byxk", np.exp(-(y**2) / 8), np.exp(-(x**2) / 8), heights)
        maps, count = np.float32(maps), int(rng.integers(1, 60))
        values, places, classes = (one.numpy() for one in peaks.peaks(maps, count, kernel))
        for i, one in enumerate(maps):
            wanted = oracle(one, count, kernel)
            np.testing.assert_array_equal(values[i], [value for value, *_ in wanted], f"trial {trial}")
            real = values[i] > np.finfo(np.float32).min
            got = np.column_stack([places[i], classes[i]])[real]
            np.testing.assert_array_equal(got, np.reshape([place for _, *place in wanted], [-1, 3])[real])
