"""Files that readers need: whether they exist, their text, and the size of the upright picture in an image file."""

import functools
import hashlib
import io
import os
import struct
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from kerasdet import images
from kerasdet.data import faults
from kerasdet.data.dataset import Encoded

_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)
_HEAD = 2**12
# The markers that begin a JPEG's frame header, SOF0 to SOF15 (ITU-T T.81, table B.1).
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def require(paths, source):
    """Checks that every file exists, listing each folder only once.

    Args:
        paths: list of paths.
        source: the file or folder that names them, for the message.

    Raises:
        FileNotFoundError: states the number of missing files and the first of them.
        ValueError: a name is not UTF-8, so TensorFlow would not find the file.
    """
    not_utf8 = [path for path in paths if not _is_utf8(path)]
    if not_utf8:
        faults.report(
            f"{source}: the file name {not_utf8[0]!a} is not UTF-8, one of {len(not_utf8)} such; rename the files."
        )
    # One listing per folder is far cheaper than one look-up per file, above all on network disks.
    names = functools.cache(lambda folder: set(os.listdir(folder)) if os.path.isdir(folder) else set())
    unlisted = [path for path in paths if os.path.basename(path) not in names(os.path.dirname(path) or ".")]
    missing = [path for path in unlisted if not os.path.exists(path)]
    if missing:
        line = f"{source}: {len(missing)} of {len(paths)} files are missing, first {missing[0]}."
        faults.report(line, FileNotFoundError)


def _is_utf8(path):
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def sha256(path):
    """The SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def text(path):
    """Reads a text file, without its byte order mark, if any.

    Args:
        path: path of a UTF-8 file.

    Returns:
        str.

    Raises:
        ValueError: the file is not UTF-8.
    """
    with open(path, "rb") as file:
        content = file.read()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}, line {line}: byte {content[error.start]:#04x} is not UTF-8; save the file as UTF-8."
        ) from None


def upright_sizes(paths, stated):
    """Sizes of the decoded pictures, with the EXIF orientation of JPEG files applied.

    Sizes are read from the first 4 kB of each file, in threads: this takes seconds for the 118,000 files of COCO. If
    they do not hold the size, the stated size is trusted; without a stated size the file is opened.

    Args:
        paths: list of image paths, or of `Encoded` pictures.
        stated: list of (height, width) from the annotations, pixels; None where unknown.

    Returns:
        List of (height, width), pixels.
    """
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(_size_or_fault, paths, stated))


def _size_or_fault(path, stated):
    try:
        return _upright_size(path, stated)
    except OSError as error:
        faults.report(f"{path}: cannot be opened as an image ({error}).")
        return stated or (0, 0)


def _upright_size(path, stated):
    encoded = isinstance(path, Encoded)
    with open(path.file if encoded else path, "rb") as file:
        file.seek(path.offset if encoded else 0)
        start = file.read(min(path.length, _HEAD) if encoded else _HEAD)
    if not start:
        raise OSError("it is empty")
    has_exif = start.startswith(b"\xff\xd8") and b"Exif\0\0" in start
    size = (not has_exif and _size(start)) or stated
    if size and not has_exif:
        return size
    if not encoded and images.is_heic(path):
        return images.load(path).shape[:2]
    with Image.open(io.BytesIO(path.read()) if encoded else path) as image:
        width, height = image.size
        sideways = has_exif and image.getexif().get(_ORIENTATION) in _SIDEWAYS
    return (width, height) if sideways else (height, width)


def _size(start):
    """(height, width) from the beginning of a PNG or JPEG file, or None."""
    if start.startswith(b"\x89PNG") and len(start) >= 24:
        width, height = struct.unpack(">II", start[16:24])
        return height, width
    # A JPEG is a chain of segments: two bytes of marker, two of length. The frame header holds the size.
    position = 2 if start.startswith(b"\xff\xd8\xff") else len(start)
    while position + 9 <= len(start) and start[position] == 0xFF:
        if start[position + 1] in _FRAMES:
            return struct.unpack(">HH", start[position + 5 : position + 9])
        position += 2 + int.from_bytes(start[position + 2 : position + 4], "big")
    return None
