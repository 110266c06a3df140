"""Detects from a file's boxes whether they were read in the wrong format."""

import io

import numpy as np

from kerasdet.images import header

# Pixels by which a box may leave its picture: tools count from 0 or 1, with or without the last pixel.
SLACK = 2.0
# Above this share of misfits, they are not accidental.
FEW = 0.01
# Fewer boxes than this prove nothing; in the right format, at least this share of even sloppy boxes fits.
_ENOUGH, _MOST = 6, 0.9
# Where less of the boxes' area than this lies inside their pictures, something is wrong, whatever it is.
_INSIDE = 0.6
# Boxes that are compared with all of their photo at once, which bounds the memory.
_AT_ONCE = 256
SWAPPED = "have swapped corners"
# How files state boxes: corners (VOC, tables), a corner and sides (COCO), or center and sides (YOLO).
WRITTEN = ("corners", "sizes", "centers")

# The corners that result if the file's four numbers meant something else. a, b, c, d are the corners as read. A file
# that was read as corners holds a, b, c, d; one that was read as x, y, width, height holds a, b, c - a, d - b.
_FROM_CORNERS = {
    "x, y, width, height": lambda a, b, c, d: (a, b, a + c, b + d),
    "center x, center y, width, height": lambda a, b, c, d: (a - c / 2, b - d / 2, a + c / 2, b + d / 2),
    "y1, x1, y2, x2": lambda a, b, c, d: (b, a, d, c),
}
_FROM_CENTERS = {
    "x1, y1, x2, y2": lambda a, b, c, d: ((a + c) / 2, (b + d) / 2, c - a, d - b),
    "x, y, width, height": lambda a, b, c, d: ((a + c) / 2, (b + d) / 2, (3 * c - a) / 2, (3 * d - b) / 2),
    "center y, center x, height, width": lambda a, b, c, d: (b, a, d, c),
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


def misread(boxes, sizes, written="corners"):
    """Names the real format of boxes if they were read in another one.

    Args:
        boxes: [N, 4] float32, x1 y1 x2 y2 as read, neither clipped nor dropped.
        sizes: [N, 2] float32, height and width of each box's picture, pixels.
        written: one of `WRITTEN`, how the file states its boxes in the opinion of the reader.

    Returns:
        None, or words that follow "the boxes": "look relative ...", "look like x, y, width, height ...", `SWAPPED`
        if no format fits all, or "leave their photos ..." if most of their area lies outside.
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
    others = _FROM_CORNERS if reversed_share > FEW else _FROM_CENTERS if written == "centers" else _FROM_SIZES
    shares = {name: _share(_fit(np.stack(change(*boxes.T), 1), sizes)) for name, change in others.items()}
    best = max(shares, key=shares.get)
    if shares[best] >= 1 - FEW:
        return f"look like {best}: read that way, {shares[best]:.1%} fit their picture; as read now, {good:.1%}"
    if reversed_share > FEW:
        return f"{SWAPPED}: x2 < x1 or y2 < y1 in {reversed_share:.1%} of them"
    inside = _area_inside(boxes, sizes)
    if inside < _INSIDE:
        likeliest = f", the likeliest format is {best} ({shares[best]:.0%} fit)" if shares[best] > good else ""
        return f"leave their photos: {inside:.0%} of their area and {good:.0%} of the boxes lie inside{likeliest}"
    return None


def _area_inside(boxes, sizes):
    """The share of the boxes' area that lies inside their pictures; a box counts as at most one picture."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    shared = np.minimum(boxes[:, 2:], sizes[:, ::-1]) - np.maximum(boxes[:, :2], 0)
    shares = np.prod(np.maximum(shared, 0), 1) / np.maximum(np.prod(sides, 1), 1e-9)
    weights = np.minimum(np.prod(sides, 1), np.prod(sizes, 1))
    return float(np.sum(shares * weights) / max(np.sum(weights), 1e-9))


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
        with open(image, "rb") if isinstance(image, str) else io.BytesIO(image.read()) as file:
            return header.read(file).orientation
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
    count = len(record.boxes)
    copies = np.zeros(count, bool)
    for start in range(0, count if count > 1 else 0, _AT_ONCE):
        own = np.arange(start, min(start + _AT_ONCE, count))
        pairs = (own[:, None] < np.arange(count)) & (record.classes[own][:, None] == record.classes)
        pairs &= ~record.crowds[own][:, None] & ~record.crowds
        copies |= (pairs & (_iou(record.boxes[own][:, None], record.boxes) > overlap)).any(0)
    return copies


def _iou(boxes, others):
    sides = np.minimum(boxes[..., 2:], others[..., 2:]) - np.maximum(boxes[..., :2], others[..., :2])
    areas = [np.prod(some[..., 2:] - some[..., :2], -1) for some in (boxes, others)]
    shared = np.prod(np.maximum(sides, 0), -1)
    return shared / np.maximum(1e-9, areas[0] + areas[1] - shared)


def _fit(boxes, sizes):
    """[N] bool: which boxes have positive sides and lie inside their picture, within the slack."""
    limits = sizes[:, ::-1] + SLACK
    inside = (boxes[:, :2] >= -SLACK).all(1) & (boxes[:, 2:] <= limits).all(1)
    return inside & (boxes[:, 2:] > boxes[:, :2]).all(1)


def _share(mask):
    return float(np.mean(mask))
