"""What a user may call a picture, brought to one form, [H, W, 3] uint8 RGB; what it cannot be is said in one line.

Keras models and exported files take pictures through this one door, and so take and refuse the same.
"""

import os

import numpy as np
from PIL import Image, ImageOps

from kerasdet.images import files

_WANTED = "a path, the bytes of an image file, a PIL image or an array [height, width, 3] of RGB pixels 0...255"

# Modes of PIL that hold 8 bits a channel, which its `convert` brings to RGB.
_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")


def picture(value, name="the picture"):
    """Reads or checks one picture.

    Args:
        value: a path, the bytes of an image file, a PIL image, or an array or tensor [H, W, 3]: uint8, or other whole
            numbers or floats 0...255, which are rounded. Files and PIL images are turned upright by their EXIF tag.
        name: the picture's name in messages, such as "picture 3".

    Returns:
        NumPy array [H, W, 3] uint8, RGB.

    Raises:
        ValueError: it is no picture, or its pixels are not RGB 0...255; the line names the picture.
    """
    if isinstance(value, (str, os.PathLike)):
        return files.load(value)
    if isinstance(value, (bytes, bytearray)):
        return files.from_bytes(bytes(value), name)
    if isinstance(value, Image.Image):
        if value.mode not in _MODES:
            raise ValueError(f"{name}: a PIL image of mode {value.mode} does not hold 8 bits a channel; convert it.")
        value = np.asarray(ImageOps.exif_transpose(value).convert("RGB"))
    if value is None:
        raise ValueError(f"{name} is None, as after a failed read; it must be {_WANTED}.")
    try:
        pixels = np.asarray(value)
    except (TypeError, ValueError, NotImplementedError):
        pixels = np.asarray(None)
    if pixels.dtype.kind not in "buif":
        raise ValueError(f"{name} must be {_WANTED}, got a {type(value).__name__}.")
    if pixels.ndim != 3 or pixels.shape[-1] != 3:
        raise ValueError(f"{name} must be an array [height, width, 3] of RGB pixels, got shape {pixels.shape}.")
    return whole(pixels, name)


def whole(pixels, name):
    """Brings pixels to uint8.

    Args:
        pixels: array [..., H, W, 3] of numbers.
        name: their name in messages.

    Returns:
        The array as uint8.

    Raises:
        ValueError: there are none, or they are not 0...255.
    """
    if not pixels.size:
        raise ValueError(f"{name} is empty, shape {pixels.shape}; it must have pixels.")
    if pixels.dtype == np.uint8:
        return pixels
    wanted = f"{name} must hold RGB pixels 0...255"
    if pixels.dtype == bool:
        raise ValueError(f"{wanted}, got bool.")
    if pixels.dtype == np.uint16:
        raise ValueError(f"{wanted}, got uint16: divide by 257.")
    least, most = pixels.min(), pixels.max()
    if not (least > -0.5 and most < 255.5):  # as with NaN; resizing may have left rounding
        raise ValueError(f"{wanted}, got {least:g}...{most:g}.")
    if pixels.dtype.kind == "f" and 0 < most <= 1:
        raise ValueError(f"{wanted}, got {least:g}...{most:g}: multiply by 255.")
    return np.round(pixels).clip(0, 255).astype(np.uint8)
