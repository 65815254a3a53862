"""The Exif tags of a raw file, whatever container they stand in: TIFF-like, CR3 or RAF."""

import io
import logging
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import exifread

# exifread talks about foreign files on stderr; whoever asks gets the reason instead.
logging.getLogger("exifread").addHandler(logging.NullHandler())

_CANON_UUID = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_RAF_MAGIC = b"FUJIFILMCCD-RAW "
_RAF_JPEG = 84  # Offset and length of the embedded JPEG, two big-endian u32.


def exif_tags(stream: BinaryIO) -> dict[str, Any]:
    """Return the Exif tags of a raw file by name ("ExposureTime"), each as exifread's values; empty where none are.

    IFD0 and the Exif IFD share one set of names: some writers put all tags in IFD0, and CR3 keeps its Exif IFD apart.
    Maker notes are left alone: exifread can hang in them.

    Raises:
        Exception: of any kind that exifread leaks on a damaged file.
    """
    head = stream.read(16)
    if head == _RAF_MAGIC:
        return _tags(_raf_jpeg(stream))
    if head[4:12] == b"ftypcrx ":
        return {name: values for block in _cr3_blocks(stream) for name, values in _tags(block).items()}
    return _tags(stream)


def _tags(stream: BinaryIO) -> dict[str, Any]:
    found = exifread.process_file(stream, details=False, extract_thumbnail=False)
    return {
        name.removeprefix(ifd): tag.values
        for ifd in ("Image ", "EXIF ")  # The Exif IFD is the authority where both have a tag.
        for name, tag in found.items()
        if name.startswith(ifd) and hasattr(tag, "values")
    }


def _raf_jpeg(stream: BinaryIO) -> BinaryIO:
    stream.seek(_RAF_JPEG)
    offset, length = struct.unpack(">II", stream.read(8))
    stream.seek(offset)
    return io.BytesIO(stream.read(length))


def _cr3_blocks(stream: BinaryIO) -> Iterator[BinaryIO]:
    """Yield the TIFF blocks CMT1 (IFD0) and CMT2 (Exif IFD) of a CR3: moov -> Canon's uuid -> CMT1, CMT2."""
    size = stream.seek(0, io.SEEK_END)
    for moov in _boxes(stream, 0, size, b"moov"):
        for start, end in _boxes(stream, *moov, b"uuid"):
            stream.seek(start)
            if stream.read(16) != _CANON_UUID:
                continue
            for kind in (b"CMT1", b"CMT2"):
                for first, last in _boxes(stream, start + 16, end, kind):
                    stream.seek(first)
                    yield io.BytesIO(stream.read(last - first))


def _boxes(stream: BinaryIO, start: int, end: int, kind: bytes) -> Iterator[tuple[int, int]]:
    """Yield where the content of each ISO-BMFF box of one kind starts and ends (ISO/IEC 14496-12, 4.2)."""
    while start + 8 <= end:
        stream.seek(start)
        size, name = struct.unpack(">I4s", stream.read(8))
        header = 8
        if size == 1:
            (size,), header = struct.unpack(">Q", stream.read(8)), 16
        size = size or end - start
        if size < header:
            raise ValueError(f"box {name!r} at byte {start} states a size of {size} bytes")
        if name == kind:
            yield start + header, min(start + size, end)
        start += size
