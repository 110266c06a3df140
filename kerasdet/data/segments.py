"""COCO segmentations to masks and back."""

import numpy as np
from pycocotools import mask as rle


def decode(segment, height, width):
    """A segmentation (polygons, or RLE of either kind) as a mask [height, width] uint8 of 0/1."""
    if isinstance(segment, list):
        segment = rle.merge(rle.frPyObjects(segment, height, width))
    elif isinstance(segment["counts"], list):
        segment = rle.frPyObjects(segment, height, width)
    return rle.decode(segment)


def encode(mask):
    """A mask [height, width] of 0/1 as RLE."""
    code = rle.encode(np.asfortranarray(mask, np.uint8))
    return {"size": code["size"], "counts": code["counts"].decode()}
