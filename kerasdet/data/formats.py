"""Detects from a file's boxes whether they were read in the wrong format."""

import io

import numpy as np
from PIL import Image

# Pixels by which a box may leave its picture: tools count from 0 or 1, with or without the last pixel.
SLACK = 2.0
# Above this share of misfits, they are not accidental.
FEW = 0.01
# Fewer boxes than this prove nothing; in the right format, at least this share of even sloppy boxes fits.
_ENOUGH, _MOST = 10, 0.9
_ORIENTATION = 0x0112
SWAPPED = "have swapped corners"

# The corners that result if the file's four numbers meant something else. a, b, c, d are the corners as read. A file
# that was read as corners holds a, b, c, d; one that was read as x, y, width, height holds a, b, c - a, d - b.
_FROM_CORNERS = {
    "x, y, width, height": lambda a, b, c, d: (a, b, a + c, b + d),
    "center x, center y, width, height": lambda a, b, c, d: (a - c / 2, b - d / 2, a + c / 2, b + d / 2),
    "y1, x1, y2, x2": lambda a, b, c, d: (b, a, d, c),
}
_FROM_SIZES = {
    "x1, y1, x2, y2": lambda a, b, c, d: (a, b, c - a, d - b),
    "center x, center y, width, height": lambda a, b, c, d: (
        1.5 * a - c / 2,
        1.5 * b - d / 2,
        (a + c) / 2,
        (b + d) / 2,
    ),
    "y before x": lambda a, b, c, d: (b, a, d, c),
}


def misread(boxes, sizes):
    """Names the real format of boxes if they were read in another one.

    Args:
        boxes: [N, 4] float32, x1 y1 x2 y2 as read, neither clipped nor dropped.
        sizes: [N, 2] float32, height and width of each box's picture, pixels.

    Returns:
        None, or words that follow "the boxes": "look relative ...", "look like x, y, width, height ...", or `SWAPPED`
        if no format fits all.
    """
    if not len(boxes):
        return None
    if _share((np.abs(boxes).max(1) <= 2) & (sizes.min(1) >= 16)) >= 1 - FEW:
        return "look relative: all lie within 0...1 instead of pixels; multiply them by width and height"
    good = _share(_fit(boxes, sizes))
    reversed_share = _share((boxes[:, 2:] < boxes[:, :2]).any(1))
    if len(boxes) < _ENOUGH or (good >= _MOST and reversed_share <= FEW):
        return None
    # Negative sides come from reading other formats as corners; positive sides that leave the picture, as sizes.
    others = _FROM_CORNERS if reversed_share > FEW else _FROM_SIZES
    shares = {name: _share(_fit(np.stack(change(*boxes.T), 1), sizes)) for name, change in others.items()}
    best = max(shares, key=shares.get)
    if shares[best] >= 1 - FEW:
        return f"look like {best}: read that way, {shares[best]:.1%} fit their picture; as read now, {good:.1%}"
    if reversed_share > FEW:
        return f"{SWAPPED}: x2 < x1 or y2 < y1 in {reversed_share:.1%} of them"
    return None


def outside(record):
    """[N] bool: which of the stated boxes lie mostly outside their picture or have no area."""
    boxes = stated(record)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    low, high = np.maximum(boxes[:, :2], 0), np.minimum(boxes[:, 2:], [record.width, record.height])
    return np.prod(np.maximum(high - low, 0), 1) <= 0.5 * np.prod(sides, 1)


def unturned(record):
    """Whether the boxes fit the picture before its EXIF rotation, but not the upright picture."""
    boxes = stated(record)
    upright = np.tile(np.float32([[record.height, record.width]]), (len(boxes), 1))
    if isinstance(record.image, np.ndarray) or _fit(boxes, upright).all() or not _fit(boxes, upright[:, ::-1]).all():
        return False
    return orientation(record.image) in (5, 6, 7, 8)


def orientation(image):
    """The EXIF orientation, 1...8, of an image file or `Encoded` image; 1 if it has none or cannot be opened."""
    try:
        with Image.open(image if isinstance(image, str) else io.BytesIO(image.read())) as opened:
            return opened.getexif().get(_ORIENTATION, 1)
    except OSError:
        return 1


def stated(record):
    """The boxes [N, 4] of a `Record` as its file states them, or its own boxes if the reader kept no others."""
    return record.boxes if record.stated is None else record.stated


def of_records(records):
    """All stated boxes [N, 4] of some records, with height and width [N, 2] of their pictures."""
    records = [record for record in records if len(stated(record))]
    if not records:
        return np.zeros((0, 4), np.float32), np.zeros((0, 2), np.float32)
    sizes = [np.tile(np.float32([[r.height, r.width]]), (len(stated(r)), 1)) for r in records]
    return np.concatenate([stated(r) for r in records]), np.concatenate(sizes)


def repeats(record, overlap=0.95):
    """[M] bool: which of a record's boxes nearly repeat an earlier one of their class, with an IoU above `overlap`."""
    copies = np.zeros(len(record.boxes), bool)
    for i in range(len(record.boxes) - 1):
        same_class = (record.classes[i + 1 :] == record.classes[i]) & ~record.crowds[i + 1 :] & ~record.crowds[i]
        copies[i + 1 :] |= same_class & (_iou(record.boxes[i], record.boxes[i + 1 :]) > overlap)
    return copies


def _iou(box, others):
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.prod(np.maximum(sides, 0), 1)
    return shared / np.maximum(1e-9, np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], 1) - shared)


def _fit(boxes, sizes):
    """[N] bool: which boxes have positive sides and lie inside their picture, within the slack."""
    limits = sizes[:, ::-1] + SLACK
    inside = (boxes[:, :2] >= -SLACK).all(1) & (boxes[:, 2:] <= limits).all(1)
    return inside & (boxes[:, 2:] > boxes[:, :2]).all(1)


def _share(mask):
    return float(np.mean(mask))
