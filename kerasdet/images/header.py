"""What an image file says of itself before its pixels: size, EXIF orientation, bits, and whether it is whole."""

import dataclasses
import os
import struct

ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)
# The markers that begin a JPEG's frame header, SOF0 to SOF15 (ITU-T T.81, table B.1), and those without a length.
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE = {0x01, 0xFF, *range(0xD0, 0xD9)}
_SCAN, _END = 0xDA, b"\xff\xd9"
_TAIL = 2**12


@dataclasses.dataclass
class Header:
    """What a header says.

    Attributes:
        height, width: stored size, pixels; None if the format is unknown.
        orientation: the EXIF orientation, 1...8.
        bits: of a PNG's channel; 8 in other formats.
        cut: whether the file ends before its picture does.
    """

    height: int | None = None
    width: int | None = None
    orientation: int = 1
    bits: int = 8
    cut: bool = False

    @property
    def upright(self):
        """(height, width) of the upright picture, or None."""
        size = (self.height, self.width)
        return (size[::-1] if self.orientation in SIDEWAYS else size) if all(size) else None


def read(file):
    """Reads the header of a JPEG, PNG, WebP, GIF or BMP.

    Args:
        file: a file opened for reading bytes, at the beginning of the picture.

    Returns:
        `Header`; without size if the format is another one.
    """
    start = file.tell()
    head = file.read(32)
    for magic, reader in ((b"\xff\xd8\xff", _jpeg), (b"\x89PNG", _png), (b"RIFF", _webp)):
        if head.startswith(magic):
            file.seek(start)
            try:
                return reader(file, start)
            except (struct.error, ValueError):
                return Header(cut=True)
    if head.startswith(b"GIF8") and len(head) >= 10:
        width, height = struct.unpack("<HH", head[6:10])
        return Header(height, width)
    if head.startswith(b"BM") and len(head) >= 26:
        width, height = struct.unpack("<ii", head[18:26])
        return Header(abs(height), width)
    return Header()


def _jpeg(file, start):
    """A chain of segments: two bytes of marker, two of length. Tools put several of them before the EXIF."""
    header, position = Header(), start + 2
    while True:
        file.seek(position)
        lead, marker = file.read(2)
        if lead != 0xFF:
            break
        if marker in _BARE:
            position += 1 if marker == 0xFF else 2
            continue
        if marker == _SCAN:
            header.cut = not _has_end(file, position)
            break
        (length,) = struct.unpack(">H", file.read(2))
        if marker in _FRAMES:
            header.height, header.width = struct.unpack(">xHH", file.read(5))
        elif marker == 0xE1 and header.orientation == 1 and file.read(6) == b"Exif\0\0":
            header.orientation = orientation(file.read(length - 8))
        position += 2 + length
    return header


def _has_end(file, position):
    """Whether the end marker comes at all; often it is at the very end, and cheap to find there."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(position, size - _TAIL))
    if _END in file.read():
        return True
    file.seek(position)
    return _END in file.read()


def _png(file, start):
    """A chain of chunks: four bytes of length, four of name, data, four of checksum. The EXIF may be the last."""
    header, position = Header(cut=True), start + 8
    while len(chunk := _at(file, position, 8)) == 8:
        length, name = struct.unpack(">I4s", chunk)
        if name == b"IHDR":
            header.width, header.height, header.bits = struct.unpack(">IIB", file.read(9))
        elif name == b"eXIf":
            header.orientation = orientation(file.read(length))
        elif name == b"IEND":
            header.cut = False
            break
        position += 12 + length
    return header


def _webp(file, start):
    """Chunks of four bytes of name, four of length, and data, padded to an even length."""
    header, position = Header(), start + 12
    end = start + 8 + struct.unpack("<4xI", _at(file, start, 8))[0]
    header.cut = file.seek(0, os.SEEK_END) < end
    while position < end and len(chunk := _at(file, position, 8)) == 8:
        name, length = struct.unpack("<4sI", chunk)
        if name == b"VP8X":
            sides = file.read(10)[4:]
            header.width, header.height = (1 + int.from_bytes(side, "little") for side in (sides[:3], sides[3:]))
        elif name == b"VP8 " and header.width is None:
            width, height = struct.unpack("<6xHH", file.read(10))
            header.width, header.height = width & 0x3FFF, height & 0x3FFF
        elif name == b"VP8L" and header.width is None:
            (bits,) = struct.unpack("<xI", file.read(5))
            header.width, header.height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        elif name == b"EXIF":
            header.orientation = orientation(file.read(length).removeprefix(b"Exif\0\0"))
        position += 8 + length + length % 2
    return header


def _at(file, position, count):
    file.seek(position)
    return file.read(count)


def orientation(exif):
    """The orientation tag in the first directory of a TIFF structure; 1 if there is none, or no valid one."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    try:
        (first,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, first)
        for entry in range(first + 2, first + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", exif, entry)
            if tag == ORIENTATION:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
