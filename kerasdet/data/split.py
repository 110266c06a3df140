"""Splits a data set in two by a seed, with every class on both sides and near-duplicates on the same side."""

import contextlib
import dataclasses
import io
import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from kerasdet.data.dataset import Encoded

# The hashes of two copies of a picture may differ by this many of 64 bits, and their thumbnails by this many gray
# levels on average. The hash alone is not enough: all pictures that grow brighter from left to right share one.
NEAR = 4
_GRAY = 16
_SIDE = 8
_BANDS = NEAR + 1


def split(dataset, share=0.2, seed=0):
    """Splits a data set into training and validation, stratified by class.

    Images are assigned class by class, rarest class first, each to the side that lacks most of it (iterative
    stratification, Sechidis et al., ECML PKDD 2011); images without objects count as a class. Near-duplicates, found
    by a 64-bit difference hash, stay together. A class that occurs in at least two groups of images is on both sides.

    Args:
        dataset: a `Dataset` of two images or more.
        share: share of the images for validation, between 0 and 1.
        seed: integer of 0 or more; a different seed gives a different split.

    Returns:
        (train, validation): two `Dataset`s, their images in the order of the data set.

    Raises:
        ValueError: the share is out of range, or all images are copies of one.
    """
    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, got {share}.")
    groups = near_duplicates(dataset)
    if len(groups) < 2:
        raise ValueError(f"{dataset.name} cannot be split: it has {len(dataset)} images, all copies of one.")
    counts = np.stack([_counts(dataset, group) for group in groups])
    sides = _stratified(counts, share, np.random.default_rng(seed))
    _spread(counts, sides)
    repeats = [group for group in groups if len(group) > 1]
    notes = list(dataset.notes)
    if repeats:
        first = ", ".join(dataset.records[index].name for index in repeats[0][:2])
        notes.append(
            f"{dataset.name}: {sum(map(len, repeats))} images are near-duplicates, in {len(repeats)} groups that the "
            f"split keeps together, first {first}."
        )
    for class_id, name in enumerate(dataset.classes):
        owners = np.flatnonzero(counts[:, class_id])
        if len(set(sides[owners])) == 1:
            side = ("training", "validation")[sides[owners[0]]]
            notes.append(f"{dataset.name}: class {name!r} is only in {side}; {len(owners)} images or groups have it.")
    parts = []
    for side, name in ((0, "train"), (1, "validation")):
        groups_here = [group for group, group_side in zip(groups, sides, strict=True) if group_side == side]
        chosen = sorted(index for group in groups_here for index in group)
        records = [dataset.records[index] for index in chosen]
        parts.append(dataclasses.replace(dataset, name=f"{dataset.name} {name}", records=records, notes=notes))
    return tuple(parts)


def near_duplicates(dataset):
    """Groups images whose hashes differ by at most 4 of 64 bits and whose thumbnails are similar.

    Args:
        dataset: a `Dataset`.

    Returns:
        List of lists of positions in the data set; a unique image is alone in its group.

    Raises:
        ValueError: an image cannot be decoded; the message names it.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        thumbnails = np.stack(list(pool.map(_thumbnail, dataset.records)))
    signs = (thumbnails[:, :, 1:] > thumbnails[:, :, :-1]).reshape(-1, _SIDE * _SIDE)
    hashes = np.packbits(signs, axis=1).view(np.uint64)[:, 0]
    parents = list(range(len(hashes)))

    def root(index):
        while parents[index] != index:
            parents[index] = index = parents[parents[index]]
        return index

    # Hashes that differ in at most 4 bits agree in at least one of 5 bands, so comparing within equal bands finds all.
    bits = np.array_split(np.arange(64, dtype=np.uint64), _BANDS)
    for band in bits:
        mask = np.bitwise_or.reduce(np.uint64(1) << band)
        alike = defaultdict(list)
        for index, key in enumerate((hashes & mask).tolist()):
            alike[key].append(index)
        for indices in map(np.array, alike.values()):
            for i, index in enumerate(indices[:-1]):
                others = indices[i + 1 :]
                differing = np.unpackbits((hashes[others] ^ hashes[index])[:, None].view(np.uint8), axis=1).sum(1)
                apart = np.abs(thumbnails[others] - thumbnails[index]).mean((1, 2))
                for other in others[(differing <= NEAR) & (apart <= _GRAY)]:
                    parents[root(other)] = root(index)
    groups = defaultdict(list)
    for index in range(len(hashes)):
        groups[root(index)].append(index)
    return list(groups.values())


def _thumbnail(record):
    """Mean gray levels [8, 9]; the difference hash tells which are brighter than their left neighbor."""
    if isinstance(record.image, (str, Encoded)):
        file = record.image if isinstance(record.image, str) else io.BytesIO(record.image.read())
        with contextlib.suppress(OSError), Image.open(file) as picture:
            picture.draft("L", (8 * _SIDE, 8 * _SIDE))  # a JPEG is decoded at an eighth of its size
            return _means(picture)
    # Files that Pillow cannot open are decoded as in training, which names a damaged file.
    return _means(Image.fromarray(record.pixels()))


def _means(picture):
    return np.asarray(picture.convert("L").resize((_SIDE + 1, _SIDE), Image.Resampling.BOX), np.int16)


def _counts(dataset, group):
    """[K + 2]: images of a group that contain each class, images without objects, and all images."""
    counts = np.zeros(len(dataset.classes) + 2, int)
    for record in (dataset.records[index] for index in group):
        present = np.unique(record.classes[~record.crowds])
        counts[present if len(present) else -2] += 1
        counts[-1] += 1
    return counts


def _stratified(counts, share, rng):
    """The side of each group, 0 or 1, by greedy iterative stratification."""
    wanted = np.outer([1 - share, share], counts.sum(0)).astype(float)
    sides = np.full(len(counts), -1)
    while (sides < 0).any():
        remaining = np.where((sides < 0)[:, None], counts, 0).sum(0)[:-1]
        rarest = np.where(remaining > 0, remaining, remaining.max() + 1).argmin()
        candidates = np.flatnonzero((sides < 0) & (counts[:, rarest] > 0))
        # Large groups first, because small ones can still even out the imbalance that these leave.
        order = rng.permutation(candidates)
        for group in order[np.argsort(-counts[order, -1], kind="stable")]:
            # The side that lacks most images of the class; in case of a tie, most images.
            side = int(np.lexsort((wanted[:, -1], wanted[:, rarest]))[-1])
            sides[group] = side
            wanted[side] -= counts[group]
    return sides


def _spread(counts, sides):
    """Moves groups so that both sides have images, and every class of two or more groups, as far as possible."""
    present = counts > 0
    for column in np.argsort(present.sum(0), kind="stable"):
        owners = np.flatnonzero(present[:, column])
        if len(owners) < 2 or len(set(sides[owners])) == 2:
            continue
        here = sides[owners[0]]
        # Move the smallest group that takes no class away from this side.
        movable = [(present[(sides == here)].sum(0)[present[group]] > 1).all() for group in owners]
        candidates = owners[np.array(movable)]
        if len(candidates):
            sides[candidates[counts[candidates, -1].argmin()]] = 1 - here
