"""Write RGB pictures of 16 bits a channel, which Pillow does not: PNG (ISO/IEC 15948) and TIFF 6.0.

Rows are encoded a strip at a time, so that a picture costs no second copy of itself.
"""

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from jaxtyping import Shaped, UInt16

from sidcurate import tiff
from sidcurate.errors import UsageError
from sidcurate.storage.durable import whole_file
from sidcurate.tiff import LONG, SHORT

Picture = UInt16[np.ndarray, "h w 3"]

_STRIP_ROWS = 64
_CHANNELS, _BITS, _PIXEL_BYTES = 3, 16, 6
# The lowest bits are noise: the sixth level of zlib saves 1 % of an enhanced frame for a fifth more time.
_ZLIB_LEVEL = 1
_PNG_TRUECOLOR, _SUB_FILTER = 2, 1
_TIFF_RGB, _TIFF_UPRIGHT, _TIFF_PLAIN, _TIFF_INCH = 2, 1, 1, 2
_TIFF_DPI = Fraction(300)  # A baseline file states some; without, Pillow reads 1.


def require_suffix(path: Path) -> None:
    """Refuse a name that `write` has no format for.

    Raises:
        UsageError: with the suffixes that there are.
    """
    if path.suffix.lower() not in _FORMATS:
        raise UsageError(f"{path}: no picture of 16 bits is written as {path.suffix!r}; name it {', '.join(_FORMATS)}")


def write(path: Path, picture: Picture) -> None:
    """Write a picture, whole or not at all, in the format of the name's suffix.

    A PNG is marked as sRGB; a TIFF has no profile, which editors take for sRGB. The same picture gives the same bytes.

    Args:
        path: where; its folder exists.
        picture: any view; rows from the top.

    Raises:
        UsageError: no such format, or the picture is larger than it can hold (4 GiB).
        OSError: the file cannot be written.
    """
    require_suffix(path)
    with whole_file(path) as stream:
        _FORMATS[path.suffix.lower()](stream, picture)


def _write_png(stream: BinaryIO, picture: Picture) -> None:
    height, width, _ = picture.shape
    stream.write(b"\x89PNG\r\n\x1a\n")
    _write_chunk(stream, b"IHDR", struct.pack(">2I5B", width, height, _BITS, _PNG_TRUECOLOR, 0, 0, 0))
    _write_chunk(stream, b"sRGB", b"\0")
    deflate = zlib.compressobj(_ZLIB_LEVEL)
    for strip in _strips(picture, ">u2"):
        _write_chunk(stream, b"IDAT", deflate.compress(_filtered(strip)))
    _write_chunk(stream, b"IDAT", deflate.flush())
    _write_chunk(stream, b"IEND", b"")


def _write_chunk(stream: BinaryIO, kind: bytes, content: bytes) -> None:
    stream.write(struct.pack(">I", len(content)) + kind + content)
    stream.write(struct.pack(">I", zlib.crc32(content, zlib.crc32(kind))))


def _filtered(strip: Shaped[np.ndarray, "rows w 3"]) -> bytes:
    """Return the rows as PNG filters them: each byte less that of the pixel on its left."""
    rows = strip.view(np.uint8).reshape(len(strip), -1)
    filtered = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _SUB_FILTER
    filtered[:, 1 : 1 + _PIXEL_BYTES] = rows[:, :_PIXEL_BYTES]
    np.subtract(rows[:, _PIXEL_BYTES:], rows[:, :-_PIXEL_BYTES], out=filtered[:, 1 + _PIXEL_BYTES :])
    return filtered.tobytes()


def _write_tiff(stream: BinaryIO, picture: Picture) -> None:
    height, width, _ = picture.shape
    # The offset is stored inline, so the directory is as long whatever it says.
    pixels_at = tiff.HEADER_BYTES + len(tiff.directory(_tiff_entries(height, width, 0), tiff.HEADER_BYTES))
    directory = tiff.directory(_tiff_entries(height, width, pixels_at), tiff.HEADER_BYTES)
    stream.write(tiff.header() + directory)
    for strip in _strips(picture, "<u2"):
        stream.write(strip.data)


def _tiff_entries(height: int, width: int, pixels_at: int) -> Iterator[tiff.Entry]:
    yield tiff.numbers(256, LONG, width)
    yield tiff.numbers(257, LONG, height)
    yield tiff.numbers(258, SHORT, *[_BITS] * _CHANNELS)
    yield tiff.numbers(259, SHORT, _TIFF_PLAIN)
    yield tiff.numbers(262, SHORT, _TIFF_RGB)
    yield tiff.numbers(273, LONG, pixels_at)
    yield tiff.numbers(274, SHORT, _TIFF_UPRIGHT)
    yield tiff.numbers(277, SHORT, _CHANNELS)
    yield tiff.numbers(278, LONG, height)
    yield tiff.numbers(279, LONG, _PIXEL_BYTES * height * width)
    yield from (tiff.rationals(code, [_TIFF_DPI]) for code in (282, 283))
    yield tiff.numbers(284, SHORT, 1)
    yield tiff.numbers(296, SHORT, _TIFF_INCH)


def _strips(picture: Picture, order: str) -> Iterator[Shaped[np.ndarray, "rows w 3"]]:
    """Yield some rows at a time, contiguous and in a byte order."""
    for top in range(0, len(picture), _STRIP_ROWS):
        yield np.ascontiguousarray(picture[top : top + _STRIP_ROWS], order)


_FORMATS: Final[Mapping[str, Callable[[BinaryIO, Picture], None]]] = {
    ".png": _write_png,
    ".tif": _write_tiff,
    ".tiff": _write_tiff,
}
