"""Cuts a data set into tiles: each record is a window of a picture."""

import dataclasses

import numpy as np

from kerasdet import views
from kerasdet.data import segments
from kerasdet.data.dataset import Record

# An object is ignored instead of learned if less than this share of it lies in the window.
VISIBLE = 0.5


@dataclasses.dataclass(frozen=True)
class Window:
    """Part of a picture, cropped only when needed.

    Attributes:
        record: the complete picture.
        box: x1, y1, x2, y2, whole pixels.
    """

    record: Record
    box: tuple

    def __str__(self):
        return f"{self.record.image} in the window {self.box}"

    def pixels(self):
        """The pixels of the window, [H, W, 3] uint8."""
        x1, y1, x2, y2 = self.box
        return self.record.pixels()[y1:y2, x1:x2]


def places(dataset, size, overlap):
    """Lists the windows of all pictures, in the order of the records.

    Args:
        dataset: a `Dataset`.
        size, overlap: see `views.windows`.

    Returns:
        List of (index of the record, (x1, y1, x2, y2)).
    """
    return [
        (index, tuple(map(int, window)))
        for index, record in enumerate(dataset.records)
        for window in views.windows(record.height, record.width, size, overlap)
    ]


def dataset(whole, size, overlap):
    """Makes the data set of all windows, for training and for evaluation.

    Objects are clipped to their window. Those that lose more than half of their area become crowds, which are ignored;
    those outside are dropped because other windows hold them.

    Args:
        whole: a `Dataset`.
        size, overlap: see `views.windows`.

    Returns:
        A `Dataset`; its images are numbered in the order of `places`.

    Raises:
        ValueError: the data set has proposals, which are made for complete pictures.
    """
    if any(record.proposals is not None for record in whole.records):
        raise ValueError(f"{whole.name} has proposals for whole pictures; tiles are for detectors that need none.")
    records = [_window(whole.records[i], box, n) for n, (i, box) in enumerate(places(whole, size, overlap))]
    return dataclasses.replace(whole, name=f"{whole.name} in tiles of {size}", records=records)


def _window(record, box, number):
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    moved = record.boxes - np.float32([x1, y1, x1, y1])
    boxes = np.clip(moved, 0, np.float32([width, height, width, height]))
    share = _area(boxes) / _area(moved)
    inside = np.flatnonzero(share > 0)
    areas, masks = (record.areas * share)[inside], None
    if record.segments is not None:
        complete = (segments.decode(record.segments[i], record.height, record.width) for i in inside)
        masks = [mask[y1:y2, x1:x2] for mask in complete]
        areas = np.float32([mask.sum() for mask in masks])
        masks = [segments.encode(mask) for mask in masks]
    return dataclasses.replace(
        record, id=number, image=Window(record, box), height=height, width=width, boxes=boxes[inside],
        classes=record.classes[inside], crowds=(record.crowds | (share < VISIBLE))[inside],
        areas=areas, segments=masks, stated=None,
        keypoints=None if record.keypoints is None else _points(record.keypoints[inside], box),
    )  # fmt: skip


def _points(keypoints, box):
    """Keypoints [M, P, 3] in pixels of the window; those outside become unlabeled."""
    moved = keypoints - np.float32([box[0], box[1], 0])
    size = np.float32([box[2] - box[0], box[3] - box[1]])
    inside = ((moved[..., :2] >= 0) & (moved[..., :2] <= size)).all(-1)
    return moved * (inside & (moved[..., 2] > 0))[..., None]


def _area(boxes):
    return np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
