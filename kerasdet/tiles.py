"""Tiles: a large picture is seen window by window, so that its small objects keep their size.

Training and evaluation (`data.tiles`) and `Detector.detect` take the same windows.
"""

import numpy as np

from kerasdet import ops


def windows(height, width, size, overlap):
    """Covers a picture with square windows.

    Args:
        height, width: of the picture, pixels.
        size: side of a window, pixels; where the picture is smaller, so is the window.
        overlap: least number of pixels that neighbors share; take the size of the objects.

    Returns:
        [T, 4] int64, x1 y1 x2 y2, row by row, evenly spread, all inside the picture.

    Raises:
        ValueError: the overlap does not lie in 0...size - 1.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"tiles take (size, overlap) in whole pixels, 0 <= overlap < size; got ({size}, {overlap}).")
    rows, columns = _spans(height, size, overlap), _spans(width, size, overlap)
    return np.array([(x1, y1, x2, y2) for y1, y2 in rows for x1, x2 in columns])


def merged(found, windows, iou):
    """Joins what was detected in the windows of one picture: greedy suppression per class.

    Args:
        found: for each window a dict of arrays: `boxes` [D, 4] in the window's pixels, `scores` [D], `classes` [D], and
            where there are `keypoints` [D, P, 3] in the window's pixels and `masks` [D, S, S], grids over the boxes.
        windows: [T, 4], as `windows` returns.
        iou: of two boxes of a class that overlap by more, the weaker is dropped.

    Returns:
        Dict of the same entries in the picture's pixels, by falling score.
    """
    shifted = [_shifted(one, x1, y1) for one, (x1, y1, _, _) in zip(found, windows, strict=True)]
    joined = {key: np.concatenate([one[key] for one in shifted]) for key in shifted[0]}
    count = len(joined["scores"])
    if not count:
        return joined
    batch = (joined["boxes"][None], joined["scores"][None], joined["classes"][None])
    indices, _, valid = ops.nms(*batch, iou=iou, above=-1.0, limit=count)
    kept = indices.numpy()[valid.numpy()]
    return {key: values[kept] for key, values in joined.items()}


def _shifted(found, x, y):
    """What was found in a window, in the picture's pixels."""
    found = {**found, "boxes": found["boxes"] + np.float32([x, y, x, y])}
    if "keypoints" in found:
        found["keypoints"] = found["keypoints"] + np.float32([x, y, 0])
    return found


def _spans(side, size, overlap):
    """Starts and ends along one side."""
    if side <= size:
        return [(0, side)]
    count = -(-(side - overlap) // (size - overlap))
    starts = np.round(np.linspace(0, side - size, count)).astype(int)
    return [(start, start + size) for start in starts]
