"""How many pixels the header of a raw states, and how many of their bytes its file holds, before a decoder is asked.

A CR3 tells it by its boxes (ISO/IEC 14496-12), a RAF by the table at its start, a TIFF-like file by the directory of
its raw image.
"""

import struct
from collections.abc import Iterable

from sidcurate.raws import dng
from sidcurate.raws.containers import RAF_MAGIC, boxes, cr3_blocks, is_cr3
from sidcurate.raws.directories import Directories, Read
from sidcurate.raws.dng import Extent

_WIDTH, _HEIGHT = 256, 257
_RAF_TABLE = 92  # Offset and length of the sensor's directory, then those of the pixels: big-endian u32.
_RAF_SIDES, _MOST_RAF_ENTRIES = 0x100, 255


def extent_at(read: Read, size_bytes: int) -> Extent:
    """Return what the header of a file of so many bytes states; nothing of other containers and of a damaged header."""
    try:
        head = read(0, 16)
        if is_cr3(head):
            return _of_cr3(read, size_bytes)
        return _of_raf(read, size_bytes) if head == RAF_MAGIC else dng.extent_at(read, size_bytes)
    except dng.DAMAGED:
        return Extent()


def _of_cr3(read: Read, size_bytes: int) -> Extent:
    """Return the sides of the picture, and how much is missing of all media: previews stand among the pixels."""
    missing = _missing(boxes(read, 0, None, b"mdat"), size_bytes)
    return Extent(*_cr3_sides(read), 1.0 if missing is None else missing)


def _cr3_sides(read: Read) -> tuple[int | None, int | None]:
    for block in cr3_blocks(read):
        if image := Directories.of(read, block):
            entries = image.first({_WIDTH, _HEIGHT})
            sides = [side for tag in sorted(entries) for side in image.numbers(entries[tag]) if isinstance(side, int)]
            return (sides[0], sides[1]) if len(sides) == 2 else (None, None)
    return None, None


def _of_raf(read: Read, size_bytes: int) -> Extent:
    directory, _, start, length = struct.unpack(">4I", read(_RAF_TABLE, 16))
    return Extent(*_raf_sides(read, directory), _missing([(start, start + length)], size_bytes))


def _raf_sides(read: Read, place: int) -> tuple[int | None, int | None]:
    (count,) = struct.unpack(">I", read(place, 4))
    place += 4
    for _ in range(min(count, _MOST_RAF_ENTRIES)):
        tag, length = struct.unpack(">HH", read(place, 4))
        if tag == _RAF_SIDES:
            height, width = struct.unpack(">HH", read(place + 4, 4))
            return width, height
        place += 4 + length
    return None, None


def _missing(parts: Iterable[tuple[int, int | None]], size_bytes: int) -> float | None:
    """Return the share of some parts of a file that lies beyond its end; a part without an end reaches there."""
    stated = [(start, size_bytes if end is None else end) for start, end in parts]
    whole = sum(end - start for start, end in stated)
    held = sum(max(0, min(end, size_bytes) - start) for start, end in stated)
    return 1 - held / whole if whole > 0 else None
