"""The Exif tags of a raw file, whatever container they stand in: TIFF-like, CR3, RAF or JPEG."""

import struct
from collections.abc import Iterator
from typing import TypeAlias

from sidcurate.raws.directories import Directories, Number, Read

Tags: TypeAlias = dict[str, str | list[Number]]
"""Values by the name of the tag, text or numbers."""

_EXIF_DIRECTORY = 0x8769
_TEXTS = {
    **{0x010F: "Make", 0x0110: "Model", 0xA431: "BodySerialNumber", 0xA434: "LensModel"},
    **{0xC614: "UniqueCameraModel", 0xC62F: "CameraSerialNumber"},
    **{0x0132: "DateTime", 0x9003: "DateTimeOriginal", 0x9004: "DateTimeDigitized"},
    **{0x9290: "SubSecTime", 0x9291: "SubSecTimeOriginal", 0x9292: "SubSecTimeDigitized"},
    **{0x9010: "OffsetTime", 0x9011: "OffsetTimeOriginal", 0x9012: "OffsetTimeDigitized"},
}
_NUMBERS = {
    **{0x0112: "Orientation", 0x829A: "ExposureTime", 0x829D: "FNumber", 0x920A: "FocalLength"},
    **{0x8827: "ISOSpeedRatings", 0x8831: "StandardOutputSensitivity", 0x8832: "RecommendedExposureIndex"},
}
_WANTED = {_EXIF_DIRECTORY, *_TEXTS, *_NUMBERS}

TIFF_HEADS = (b"II*\0", b"MM\0*", b"IIU\0", b"IIRO", b"IIRS", b"MMOR")  # the last four: RW2 and ORF
_CANON_UUID = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
RAF_MAGIC = b"FUJIFILMCCD-RAW "
_RAF_JPEG = 84  # Offset and length of the embedded JPEG, two big-endian u32.
_JPEG_HEAD, _APP1, _EXIF_HEAD = b"\xff\xd8", 0xE1, b"Exif\0\0"
_MOST_SEGMENTS, _MOST_BOXES = 64, 4096  # A file has a dozen; a damaged one could have a million.


def exif_tags(read: Read) -> Tags:
    """Return the Exif tags of a raw file by name ("ExposureTime"); empty where none are.

    IFD0 and the Exif IFD share one set of names: some writers put all tags in IFD0, and CR3 keeps its Exif IFD apart.
    Maker notes are left alone.

    Raises:
        ValueError, struct.error: the header is damaged.
    """
    head = read(0, 16)
    if head == RAF_MAGIC:
        (jpeg,) = struct.unpack(">I", read(_RAF_JPEG, 4))
        return _jpeg_tags(read, jpeg)
    if is_cr3(head):
        return {name: values for block in cr3_blocks(read) for name, values in _tags(read, block).items()}
    if head.startswith(_JPEG_HEAD):
        return _jpeg_tags(read, 0)
    return _tags(read, 0) if head.startswith(TIFF_HEADS) else {}


def is_cr3(head: bytes) -> bool:
    """Tell a CR3 by its first bytes."""
    return head[4:12] == b"ftypcrx "


def _tags(read: Read, base: int) -> Tags:
    tiff = Directories.of(read, base)
    if tiff is None:
        return {}
    entries = tiff.first(_WANTED)
    if _EXIF_DIRECTORY in entries:
        for place in tiff.numbers(entries[_EXIF_DIRECTORY])[:1]:
            # The Exif IFD is the authority where both have a tag.
            entries |= tiff.at(place, _WANTED) if isinstance(place, int) else {}
    found: Tags = {}
    for code, entry in entries.items():
        try:
            value = tiff.text(entry) if code in _TEXTS else tiff.numbers(entry)
        except ValueError:
            continue  # One damaged tag is unknown; the others still count.
        if value is not None and code != _EXIF_DIRECTORY:
            found[_TEXTS.get(code) or _NUMBERS[code]] = value
    return found


def _jpeg_tags(read: Read, start: int) -> Tags:
    """Return the Exif tags in the APP1 segment of a JPEG (ISO/IEC 10918-1, B.1.1; Exif 2.3, 4.7.2)."""
    place = start + len(_JPEG_HEAD)
    for _ in range(_MOST_SEGMENTS):
        mark, kind, size = struct.unpack(">BBH", read(place, 4))
        if mark != 0xFF:
            break
        if kind == _APP1 and read(place + 4, len(_EXIF_HEAD)) == _EXIF_HEAD:
            return _tags(read, place + 4 + len(_EXIF_HEAD))
        place += 2 + size
    return {}


def cr3_blocks(read: Read) -> Iterator[int]:
    """Yield where CMT1 (IFD0) and CMT2 (Exif IFD) of a CR3 start: TIFF structures in moov -> Canon's uuid."""
    for moov in boxes(read, 0, None, b"moov"):
        for start, end in boxes(read, *moov, b"uuid"):
            if read(start, 16) == _CANON_UUID:
                for kind in (b"CMT1", b"CMT2"):
                    yield from (first for first, _ in boxes(read, start + 16, end, kind))


def boxes(read: Read, start: int, end: int | None, kind: bytes) -> Iterator[tuple[int, int | None]]:
    """Yield where the content of each ISO-BMFF box of one kind starts and ends (ISO/IEC 14496-12, 4.2).

    None is the end of the file, to which a box without a size reaches.
    """
    for _ in range(_MOST_BOXES):
        head = read(start, 16) if end is None or start + 8 <= end else b""
        if len(head) < 8:
            return
        size, name = struct.unpack(">I4s", head[:8])
        header = 8
        if size == 1:
            (size,), header = struct.unpack(">Q", head[8:]), 16
        after = start + size if size else end
        if size and size < header:
            raise ValueError(f"box {name!r} at byte {start} states a size of {size} bytes")
        if name == kind:
            yield start + header, after if end is None or after is None else min(after, end)
        if after is None:
            return
        start = after
