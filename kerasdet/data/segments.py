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


def encode(mask):
    """Converts a mask [height, width] of 0/1 to RLE."""
    code = rle.encode(np.asfortranarray(mask, np.uint8))
    return {"size": code["size"], "counts": code["counts"].decode()}
