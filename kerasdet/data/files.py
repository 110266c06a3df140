"""Files as a reader meets them: whether they are there, and how large the upright picture in an image file is."""

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
    """Checks that every file exists, at the cost of one listing a folder.

    Args:
        paths: list of paths.
        source: the file or folder that names them, for the message.

    Raises:
        FileNotFoundError: one line with the number of missing files and the first of them.
        ValueError: one line; a name is not UTF-8, and TensorFlow would not find the file.
    """
    odd = [path for path in paths if not _is_utf8(path)]
    if odd:
        faults.report(f"{source}: the file name {odd[0]!a} is not UTF-8, of {len(odd)} such; rename the files.")
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
    """The SHA-256 of a file in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def text(path):
    """The text of a file that people write, without a byte order mark.

    Args:
        path: of a UTF-8 file.

    Returns:
        str.

    Raises:
        ValueError: one line; it is not UTF-8.
    """
    with open(path, "rb") as file:
        content = file.read()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}, line {line}: byte {content[error.start]:#04x} is not UTF-8; save it so.") from None


def upright_sizes(paths, stated):
    """Sizes of the pictures as they are decoded, with the EXIF orientation of JPEG files applied.

    They come from the first 4 kB of a file, at the cost of one short read, in threads: seconds for the 118,000 files of
    COCO. Where these do not hold it, a stated size is believed, and a file without one is opened.

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
    inside = isinstance(path, Encoded)
    with open(path.file if inside else path, "rb") as file:
        file.seek(path.offset if inside else 0)
        start = file.read(min(path.length, _HEAD) if inside else _HEAD)
    if not start:
        raise OSError("it is empty")
    tagged = start.startswith(b"\xff\xd8") and b"Exif\0\0" in start
    known = (not tagged and _size(start)) or stated
    if known and not tagged:
        return known
    if not inside and images.is_heic(path):
        return images.load(path).shape[:2]
    with Image.open(io.BytesIO(path.read()) if inside else path) as image:
        width, height = image.size
        sideways = tagged and image.getexif().get(_ORIENTATION) in _SIDEWAYS
    return (width, height) if sideways else (height, width)


def _size(start):
    """Height and width from the beginning of a PNG or JPEG file, or None."""
    if start.startswith(b"\x89PNG") and len(start) >= 24:
        width, height = struct.unpack(">II", start[16:24])
        return height, width
    place = 2 if start.startswith(b"\xff\xd8\xff") else len(start)
    while place + 9 <= len(start) and start[place] == 0xFF:
        if start[place + 1] in _FRAMES:
            return struct.unpack(">HH", start[place + 5 : place + 9])
        place += 2 + int.from_bytes(start[place + 2 : place + 4], "big")
    return None
