"""Images: decodes files, and resizes pixels for a network."""

from kerasdet.images.door import picture, whole
from kerasdet.images.files import decode, is_heic, load, read
from kerasdet.images.frames import detections_from_frames, from_frames, to_frames
from kerasdet.images.rules import ONE_SIZE, at_size, check_rule, pad, preprocess, resize

__all__ = [
    "ONE_SIZE", "at_size", "check_rule", "decode", "detections_from_frames", "from_frames", "is_heic", "load", "pad",
    "picture", "preprocess", "read", "resize", "to_frames", "whole",
]  # fmt: skip
