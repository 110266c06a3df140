"""Boxes and detections from a picture to the image that a network sees, and back."""

import tensorflow as tf


def to_frames(boxes, frames):
    """Maps boxes from the original image to the network's.

    Args:
        boxes: [..., N, 4] float32, original pixels.
        frames: [..., 4] float32, as in `contract`.

    Returns:
        [..., N, 4] float32, network pixels.
    """
    scales, offsets = _corners(frames)
    return boxes * scales + offsets


def from_frames(boxes, frames):
    """Maps boxes from the network's image back to the original.

    Args:
        boxes: [..., N, 4] float32, network pixels.
        frames: [..., 4] float32, as in `contract`.

    Returns:
        [..., N, 4] float32, original pixels.
    """
    scales, offsets = _corners(frames)
    return (boxes - offsets) / scales


def detections_from_frames(found, frames):
    """Maps detections from the network's image back to the original: boxes, and keypoints where there are.

    Masks are grids over their boxes, and so go with them.

    Args:
        found: the detections dict of `contract`, in network pixels.
        frames: [B, 4] float32, as in `contract`.

    Returns:
        The dict, in original pixels.
    """
    found = {**found, "boxes": from_frames(found["boxes"], frames)}
    if "keypoints" in found:
        points, scores = tf.split(found["keypoints"], [2, 1], axis=-1)
        points = (points - frames[:, None, None, 2:]) / frames[:, None, None, :2]
        found["keypoints"] = tf.concat([points, scores], axis=-1)
    return found


def _corners(frames):
    """Frames as factors and terms for boxes: [..., 1, 4] each."""
    scales, offsets = frames[..., None, :2], frames[..., None, 2:]
    return tf.concat([scales, scales], -1), tf.concat([offsets, offsets], -1)
