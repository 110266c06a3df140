"""A data set seen through tiles: each record is a window of a picture."""

import dataclasses

import numpy as np

from kerasdet import views
from kerasdet.data import segments
from kerasdet.data.dataset import Record

# An object of which less than this share lies in the window is ignored instead of learned.
VISIBLE = 0.5


@dataclasses.dataclass(frozen=True)
class Window:
    """Part of a picture, cut out when it is needed.

    Attributes:
        record: the whole picture.
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
        List of (number of the record, (x1, y1, x2, y2)).
    """
    return [
        (number, tuple(map(int, window)))
        for number, record in enumerate(dataset.records)
        for window in views.windows(record.height, record.width, size, overlap)
    ]


def dataset(whole, size, overlap):
    """Makes the data set of all windows, for training and for evaluation.

    Objects are clipped to their window. Those that lose more than half of their area become crowds, which are ignored;
    those outside are left out, as other windows hold them.

    Args:
        whole: a `Dataset`.
        size, overlap: see `views.windows`.

    Returns:
        A `Dataset`; its images are numbered in the order of `places`.

    Raises:
        ValueError: the data set has proposals, which are made for whole pictures.
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
    held = np.flatnonzero(share > 0)
    areas, masks = (record.areas * share)[held], None
    if record.segments is not None:
        whole = (segments.decode(record.segments[i], record.height, record.width) for i in held)
        masks = [mask[y1:y2, x1:x2] for mask in whole]
        areas = np.float32([mask.sum() for mask in masks])
        masks = [segments.encode(mask) for mask in masks]
    return dataclasses.replace(
        record, id=number, image=Window(record, box), height=height, width=width, boxes=boxes[held],
        classes=record.classes[held], crowds=(record.crowds | (share < VISIBLE))[held],
        areas=areas, segments=masks, stated=None,
        keypoints=None if record.keypoints is None else _points(record.keypoints[held], box),
    )  # fmt: skip


def _points(keypoints, box):
    """Keypoints [M, P, 3] in pixels of the window; those outside become unlabeled."""
    moved = keypoints - np.float32([box[0], box[1], 0])
    size = np.float32([box[2] - box[0], box[3] - box[1]])
    inside = ((moved[..., :2] >= 0) & (moved[..., :2] <= size)).all(-1)
    return moved * (inside & (moved[..., 2] > 0))[..., None]


def _area(boxes):
    return np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
