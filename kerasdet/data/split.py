"""Splits a data set in two by its photos' content, every class on both sides, near-duplicates and scenes together."""

import contextlib
import dataclasses
import functools
import hashlib
import io
import os
import re
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from kerasdet.data.dataset import Encoded

# The hashes of two copies of a picture may differ by this many of 64 bits, and their thumbnails by this many gray
# levels on average. The hash alone is not enough: all pictures that grow brighter from left to right share one.
NEAR = 4
_GRAY = 16
# Pictures whose names follow each other are frames of one scene even if they differ by more.
_FRAMES, _FRAME_GRAY = 10, 24
# A scene of a large share of the pictures, such as all of a fixed camera, could not be split fairly as one group; it is
# cut into blocks of so many.
_BLOCK, _LARGE = 8, 0.2
_SIDE = 8
_BANDS = NEAR + 1
# The two ends of a file are enough to tell photos apart, and those of 118,000 are read in minutes.
_END = 2**16
# Roboflow's exports are several changed copies of a photo; what comes before this in their names is the photo.
_COPY = re.compile(r"\.rf\.[0-9a-zA-Z]+$")


def split(dataset, share=0.2, seed=0, thumbnails=None):
    """Splits a data set into training and validation.

    The side of a photo follows from its content and the seed, so a photo stays on its side if others are added.
    Near-duplicates, found by a 64-bit difference hash, and frames of one scene, which also follow each other by name,
    go where the first of them goes. A scene of more than a fifth of the pictures, such as the frames of a fixed camera,
    is cut into blocks of 8 consecutive ones. Only if a class of two groups or more would be missing on one side, the
    nearest of its groups changes sides.

    Args:
        dataset: a `Dataset` of two images or more.
        share: share of the images for validation, between 0 and 1.
        seed: integer of 0 or more; a different seed gives a different split.
        thumbnails: what `thumbnail` made of each picture, if they are decoded already.

    Returns:
        (train, validation): two `Dataset`s, their images in the order of the data set.

    Raises:
        ValueError: the share is out of range, or all images are copies of one.
    """
    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, got {share}.")
    keys = contents(dataset)
    groups, blocks = _groups(dataset, keys, thumbnails)
    if len(groups) < 2:
        raise ValueError(f"{dataset.name} cannot be split: it has {len(dataset)} images, all copies of one.")
    counts = np.stack([_counts(dataset, group) for group in groups])
    draws = np.array([_draw(keys[group[0]], seed) for group in groups])
    sides = (draws < share).astype(int)
    _spread(counts, sides, draws - share)
    notes = list(dataset.notes) + _notes(dataset, groups, blocks)
    for class_id, name in enumerate(dataset.classes):
        owners = np.flatnonzero(counts[:, class_id])
        if len(set(sides[owners])) == 1:
            side = ("training", "validation")[sides[owners[0]]]
            notes.append(
                f"{dataset.name}: class {name!r} is only in {side} (images or groups that have it: {len(owners)})."
            )
    parts = []
    for side, name in ((0, "train"), (1, "validation")):
        groups_here = [group for group, group_side in zip(groups, sides, strict=True) if group_side == side]
        chosen = sorted(index for group in groups_here for index in group)
        records = [dataset.records[index] for index in chosen]
        parts.append(dataclasses.replace(dataset, name=f"{dataset.name} {name}", records=records, notes=notes))
    return tuple(parts)


def contents(dataset):
    """A hash of the content of each photo, as text; equal for copies of a file.

    Args:
        dataset: a `Dataset`.

    Returns:
        List of hexadecimal digits.
    """
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda record: _content(record.image), dataset.records))


def _content(image):
    if isinstance(image, str):
        known = os.stat(image)
        return _of_file(image, known.st_size, known.st_mtime_ns)
    if isinstance(image, Encoded):
        data = image.read()
        data = data[:_END] + data[-_END:] + str(image.length).encode()
    else:
        data = np.ascontiguousarray(image).tobytes() if isinstance(image, np.ndarray) else str(image).encode()
    return _digest(data)


@functools.lru_cache(2**20)  # a run asks several times: for the split, to compare its parts, for its notes
def _of_file(path, size, changed):
    """The hash of a file of this size that was changed last at this time."""
    with open(path, "rb") as file:
        data = file.read(_END)
        file.seek(max(size - _END, 0))
        data += file.read() + str(size).encode()
    return _digest(data)


def _digest(data):
    return hashlib.sha256(data).hexdigest()[:32]


def _draw(key, seed):
    """A number 0...1 that follows from a photo's content and the seed."""
    code = hashlib.sha256(f"{seed}{key}".encode()).digest()
    return int.from_bytes(code[:8], "big") / 2**64


def _groups(dataset, keys, thumbnails):
    """Groups of positions that stay together, the first by name at the front; and how many of them are blocks."""
    order = sorted(range(len(dataset)), key=lambda index: _natural(dataset.records[index].name))
    rank = {index: place for place, index in enumerate(order)}
    # Copies of one photo are one thing, however many there are.
    units = defaultdict(list)
    for index in order:
        units[_source(dataset.records[index], keys[index])].append(index)
    copies = {index: unit for unit in units.values() for index in unit}
    groups, blocks = [], 0
    for scene in near_duplicates(dataset, thumbnails, order):
        members = sorted({copies[index][0] for index in scene}, key=rank.get)
        if len(members) <= max(_BLOCK, _LARGE * len(dataset)):
            groups.append(list(dict.fromkeys(one for index in scene for one in copies[index])))
            continue
        cut = defaultdict(list)
        for place, index in enumerate(members):
            number = re.search(r"(\d+)\D*$", dataset.records[index].name)
            cut[int(number[1]) // _BLOCK if number else place // _BLOCK].append(index)
        blocks += len(cut)
        groups += [[one for index in block for one in copies[index]] for block in cut.values()]
    return _disjoint(groups), blocks


def _disjoint(groups):
    """Joins groups that share a member, such as copies that differ too much to be near-duplicates."""
    found, place = [], {}
    for group in groups:
        joined = {place[index] for index in group if index in place}
        members = list(dict.fromkeys([*(one for at in sorted(joined) for one in found[at]), *group]))
        for at in joined:
            found[at] = []
        found.append(members)
        place.update(dict.fromkeys(members, len(found) - 1))
    return [group for group in found if group]


def _natural(name):
    """A key that sorts frame 9 before frame 10."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]


def _source(record, key):
    """What a record is a copy of: the photo before the changes of a tool, else its own content."""
    if isinstance(record.image, str):
        stem = os.path.splitext(os.path.basename(record.image))[0]
        if _COPY.search(stem):
            return _COPY.sub("", stem)
    return key


def _notes(dataset, groups, blocks):
    repeats = [group for group in groups if len(group) > 1]
    if not repeats:
        return []
    first = ", ".join(dataset.records[index].name for index in repeats[0][:2])
    cut = f"; scenes of many frames are cut into {blocks} blocks of {_BLOCK} consecutive ones" if blocks else ""
    return [
        f"{dataset.name}: {sum(map(len, repeats))} images are near-duplicates, in {len(repeats)} groups that the "
        f"split keeps together, first {first}{cut}."
    ]


def near_duplicates(dataset, thumbnails=None, order=None):
    """Groups images whose hashes differ by at most 4 of 64 bits and whose thumbnails are similar.

    Args:
        dataset: a `Dataset`.
        thumbnails: what `thumbnail` made of each picture, if they are decoded already.
        order: positions in the order of the pictures' names, in which neighbors may be frames of one scene.

    Returns:
        List of lists of positions in the data set; a unique image is alone in its group.

    Raises:
        ValueError: an image cannot be decoded; the message names it.
    """
    if thumbnails is None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            thumbnails = list(pool.map(_thumbnail, dataset.records))
    thumbnails = np.stack(thumbnails)
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
    order = range(len(hashes)) if order is None else order
    for one, other in zip(order, order[1:], strict=False) if not isinstance(order, range) else ():
        apart = np.abs(thumbnails[one] - thumbnails[other]).mean()
        if bin(int(hashes[one] ^ hashes[other])).count("1") <= _FRAMES and apart <= _FRAME_GRAY:
            parents[root(other)] = root(one)
    groups = defaultdict(list)
    for index in order:
        groups[root(index)].append(index)
    return list(groups.values())


def thumbnail(pixels):
    """Mean gray levels [8, 9] of a picture [H, W, 3] uint8, from which its hash is made."""
    return _means(Image.fromarray(pixels))


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


def _spread(counts, sides, margins):
    """Moves groups so that both sides have images, and every class of two or more groups, as far as possible.

    Args:
        counts: [G, K + 2], see `_counts`.
        sides: [G], 0 or 1, changed in place.
        margins: [G], how far each group's draw lies from the border between the sides.
    """
    present = counts > 0
    for column in np.argsort(present.sum(0), kind="stable"):
        owners = np.flatnonzero(present[:, column])
        if len(owners) < 2 or len(set(sides[owners])) == 2:
            continue
        here = sides[owners[0]]
        # Move the group nearest to the border that takes no class away from this side.
        movable = [(present[(sides == here)].sum(0)[present[group]] > 1).all() for group in owners]
        candidates = owners[np.array(movable)]
        if len(candidates):
            sides[candidates[np.abs(margins[candidates]).argmin()]] = 1 - here
