"""Converts COCO segmentations to masks and back."""

import numpy as np
from pycocotools import mask as rle


def decode(segment, height, width):
    """Converts a segmentation (polygons, or RLE of either kind) to a mask [height, width] uint8 of 0/1."""
    if isinstance(segment, list):
        segment = rle.merge(rle.frPyObjects(segment, height, width))
    elif isinstance(segment["counts"], list):
        segment = rle.frPyObjects(segment, height, width)
    return rle.decode(segment)


def area(segment, height, width):
    """Pixels that a segmentation covers."""
    return float(np.sum(decode(segment, height, width)))


def encode(mask):
    """Converts a mask [height, width] of 0/1 to RLE."""
    code = rle.encode(np.asfortranarray(mask, np.uint8))
    return {"size": code["size"], "counts": code["counts"].decode()}


def fault(segment, height, width):
    """Says why a segmentation cannot be decoded, or returns None. Others must not reach pycocotools, which may crash.

    Args:
        segment: what an annotation file holds.
        height, width: size of the picture, pixels.
    """
    if isinstance(segment, dict):
        return _run_fault(segment, height, width)
    if not isinstance(segment, list) or not segment:
        return "is neither polygons nor RLE"
    faults = [_polygon_fault(polygon, height, width) for polygon in segment]
    return next(filter(None, faults), None)


def _polygon_fault(polygon, height, width):
    if not isinstance(polygon, list):
        return "has a polygon that is no list of numbers"
    if len(polygon) < 6 or len(polygon) % 2:
        return f"has a polygon of {len(polygon)} numbers, less than three points x, y" + " or an odd count" * (
            len(polygon) % 2
        )
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in polygon):
        return "has a polygon with something else than numbers"
    # Polygons far outside would be drawn point by point, and fill the memory.
    low, high = -max(height, width), 2 * max(height, width)
    if not all(low <= value <= high for value in polygon):
        return "has a polygon with a number that is not finite or far outside the picture"
    return None


def _run_fault(segment, height, width):
    """Run lengths must fill the picture."""
    size, counts = segment.get("size"), segment.get("counts")
    if not isinstance(size, list) or size != [height, width]:
        return f"has RLE of size {size}, the picture is {[height, width]} (height, width)"
    runs = _runs(counts) if isinstance(counts, str) else counts
    whole = isinstance(runs, list) and all(isinstance(run, int) and not isinstance(run, bool) for run in runs)
    if not whole or any(run < 0 for run in runs):
        return "has RLE whose counts are not whole numbers of 0 or more"
    if sum(runs) != height * width:
        return f"has RLE of {sum(runs)} pixels, the picture has {height * width}"
    return None


def _runs(text):
    """The runs of compressed RLE: five bits a character, from the third on differences; None if it is broken."""
    runs, value, shift = [], 0, 0
    for code in text.encode("ascii", "replace"):
        code -= 48
        if not 0 <= code < 64:
            return None
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return None if shift else runs
