"""Files that readers need: whether they exist, their text, and the size of the upright picture in an image file."""

import functools
import hashlib
import io
import json
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from kerasdet import images
from kerasdet.data import faults
from kerasdet.data.dataset import Encoded
from kerasdet.images import header

# Pictures of 16 bits must use this many of them; so many of a data set are looked at, since cameras do not change.
_USED, _DEEP = 14, 20
_START = 2**16


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


def load_json(path):
    """The content of a JSON file.

    Raises:
        ValueError: one line that names the file.
    """
    try:
        return json.loads(text(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a JSON file: {error}.") from None


def upright_sizes(paths, stated):
    """Sizes of the decoded pictures, with their EXIF orientation applied.

    Sizes are read from the headers, in threads: this takes seconds for the 118,000 files of COCO. Only a file of a
    format whose header is unknown here is opened by Pillow; of a picture in a shard the stated size is trusted then.

    Args:
        paths: list of image paths, or of `Encoded` pictures.
        stated: list of (height, width) from the annotations, pixels; None where unknown. They stand for files that
            cannot be opened.

    Returns:
        List of (height, width), pixels.

    Raises:
        ValueError: a file is no picture, is cut off, or uses a small part of its 16 bits.
    """
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(_header_or_fault, paths, stated))
    deep = [path for path, (_, bits) in zip(paths, found, strict=True) if bits == 16][:_DEEP]
    for path in deep:
        _check_bits(path)
    return [size for size, _ in found]


def _header_or_fault(path, stated):
    """(height, width) of the upright picture, and its bits."""
    try:
        return _header(path, stated)
    except OSError as error:
        faults.report(f"{path}: cannot be opened as an image ({error}).")
        return stated or (0, 0), 8


def _header(path, stated):
    encoded = isinstance(path, Encoded)
    with open(path.file if encoded else path, "rb") as file:
        file.seek(path.offset if encoded else 0)
        # A shard is not read for the sizes of its pictures; their beginning holds them.
        start = io.BytesIO(file.read(min(path.length, _START))) if encoded else file
        found = header.read(start)
        if not found.upright and not start.seek(0, os.SEEK_END):
            raise OSError("it is empty")
    if found.cut and not encoded:
        faults.report(f"{path}: the file is cut off, its picture has no end: copy it again, or open and save it.")
    if found.upright:
        return found.upright, found.bits
    if encoded and stated:
        return stated, 8
    if not encoded and images.is_heic(path):
        return images.load(path).shape[:2], 8
    with Image.open(io.BytesIO(path.read()) if encoded else path) as image:
        return image.size[::-1], 8


def _check_bits(path):
    """Refuses 16-bit pictures whose high byte, which is what networks see, is nearly constant."""
    try:
        with Image.open(io.BytesIO(path.read()) if isinstance(path, Encoded) else path) as image:
            most = int(np.asarray(image).max()) if image.mode.startswith("I") else 2**16 - 1
    except OSError as error:
        return faults.report(f"{path}: cannot be opened as an image ({error}).")
    used = max(most.bit_length(), 1)
    if used < _USED:
        faults.report(
            f"{path}: has 16 bits a pixel, but uses {used}, at most {most}: of 16 bits the upper 8 are read, so it "
            f"would be nearly black. Multiply its pixels by {2 ** (16 - used)}, or save them with 8 bits."
        )
    return None
