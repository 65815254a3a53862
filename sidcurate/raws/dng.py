"""What a DNG states about its sensor, from the directory (IFD) of its full-size raw image.

LibRaw gives these facts too, but truncates a fractional black, reports a missing tag as 0 or 65535, shows a 4x4 pattern
by its top-left quarter, and does not tell that tiles are missing. Tag numbers are those of TIFF 6.0, TIFF/EP and the
DNG 1.7 specification.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float64, Shaped

from sidcurate.raws.directories import Directories, Entry, Read

Directory: TypeAlias = dict[int, Float64[np.ndarray, "values"]]

_SUBFILE, _WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _SUB_IFDS = 254, 256, 257, 259, 262, 330
_STRIP_OFFSETS, _PLANES, _STRIP_ROWS, _STRIP_BYTES = 273, 277, 278, 279
_TILE_WIDTH, _TILE_ROWS, _TILE_OFFSETS, _TILE_BYTES = 322, 323, 324, 325
_CFA_SIDES, _CFA_COLORS, _DNG_VERSION, _ACTIVE_AREA = 33421, 33422, 50706, 50829
_BLACK_SIDES, _BLACK, _BLACK_DELTA_H, _BLACK_DELTA_V, _WHITE = 50713, 50714, 50715, 50716, 50717
_CFA_IMAGE, _LINEAR_RAW, _UNCOMPRESSED, _SONY_ARW = 32803, 34892, 1, 32767
_WANTED = {
    *(_SUBFILE, _WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _SUB_IFDS),
    *(_STRIP_OFFSETS, _PLANES, _STRIP_ROWS, _STRIP_BYTES, _TILE_WIDTH, _TILE_ROWS, _TILE_OFFSETS, _TILE_BYTES),
    *(_CFA_SIDES, _CFA_COLORS, _DNG_VERSION, _ACTIVE_AREA),
    *(_BLACK_SIDES, _BLACK, _BLACK_DELTA_H, _BLACK_DELTA_V, _WHITE),
}
_MOST_SUB_IFDS = 32  # A file has a handful; a damaged count has millions.
DAMAGED = (ValueError, LookupError, ArithmeticError, struct.error)
"""What reading a damaged header raises."""
_COLOR_LETTERS = np.array(list("RGBCMYW"))  # By the codes of CFAPattern.


class Extent(NamedTuple):
    """How large the header of a raw says its image is; None where it does not tell.

    Width and height are in pixels. `missing_fraction` is the share of the bytes of the pixels that the file does not
    hold.
    """

    width: int | None = None
    height: int | None = None
    missing_fraction: float | None = None


@dataclass(frozen=True)
class SensorTags:
    """What a DNG states about its sensor; None where a tag is missing.

    ActiveArea has its top left at `origin`, (row, column), where patterns start, and a `size` of (height, width). `cfa`
    holds letters; a linear image has none, but a count of `planes`, its values a pixel. `black_level` is in DN, the
    mean over the planes; `white_level` has one value a plane in DN. From row `whole_rows` of the full raw image on,
    compressed strips or tiles are missing or reach past the end of the file. `extent` is that of the full raw image.
    """

    origin: tuple[int, int]
    size: tuple[int, int]
    compression: int
    whole_rows: int
    extent: Extent
    cfa: Shaped[np.ndarray, "rows columns"] | None
    planes: int | None
    black_level: Float64[np.ndarray, "rows columns"] | None
    white_level: tuple[float, ...] | None


def sensor_tags(content: bytes) -> SensorTags | None:
    """Return what a DNG states about its sensor; None for every other file and for a damaged header."""
    return sensor_tags_at(lambda start, count: content[start : start + count], len(content))


def sensor_tags_at(read: Read, size_bytes: int) -> SensorTags | None:
    """Return what `sensor_tags` does of a file of so many bytes that is read piece by piece."""
    try:
        with np.errstate(all="ignore"):  # Rationals may be 1/0 or 0/0.
            directory = _raw_directory(read, dng_only=True)
            return _sensor_tags(directory, size_bytes) if directory else None
    except DAMAGED:
        return None


def extent_at(read: Read, size_bytes: int) -> Extent:
    """Return what the directory of the raw image of a TIFF-like file of so many bytes states.

    Of the bytes of its pixels a DNG and Sony's lossy ARW tell; some makers state other bytes than they write: Panasonic
    those of a picture without compression.

    Raises:
        DAMAGED: the header is damaged.
    """
    with np.errstate(all="ignore"):
        directory = _raw_directory(read)
    if directory is None:
        return Extent()
    tells = _DNG_VERSION in directory or _number(directory, _COMPRESSION, 0) == _SONY_ARW
    extent = _extent(directory, size_bytes)
    return extent if tells else extent._replace(missing_fraction=None)


def _raw_directory(read: Read, *, dng_only: bool = False) -> Directory | None:
    tiff = Directories.of(read) if read(0, 4) in (b"II*\0", b"MM\0*") else None
    if tiff is None:
        return None
    first = tiff.first(_WANTED)
    if dng_only and _DNG_VERSION not in first:
        return None
    below = tiff.numbers(first[_SUB_IFDS])[:_MOST_SUB_IFDS] if _SUB_IFDS in first else []
    of_file = {code: first[code] for code in (_DNG_VERSION,) if code in first}
    directories = [first, *(tiff.at(place, _WANTED) for place in below if isinstance(place, int))]
    found = (_values(tiff, of_file | entries) for entries in directories)
    full_size = (each for each in found if not _number(each, _SUBFILE, 0))
    return next((each for each in full_size if _number(each, _PHOTOMETRIC, 0) in (_CFA_IMAGE, _LINEAR_RAW)), None)


def _values(tiff: Directories, entries: Mapping[int, Entry]) -> Directory:
    """Return the numbers of a directory by tag, rationals as quotients."""
    found: Directory = {}
    for code, entry in entries.items():
        values = np.array(tiff.numbers(entry), np.float64)
        if values.size:
            found[code] = values[:, 0] / values[:, 1] if values.ndim == 2 else values
    return found


def _number(directory: Directory, code: int, default: int) -> int:
    return int(directory[code][0]) if code in directory else default


def _finite(directory: Directory, code: int) -> Float64[np.ndarray, "values"] | None:
    values = directory.get(code)
    return values if values is not None and values.size and np.isfinite(values).all() else None


def _sensor_tags(directory: Directory, file_size: int) -> SensorTags:
    white = _finite(directory, _WHITE)
    whole = np.array([0, 0, _number(directory, _HEIGHT, 0), _number(directory, _WIDTH, 0)])
    top, left, bottom, right = directory.get(_ACTIVE_AREA, whole)
    is_linear = _number(directory, _PHOTOMETRIC, 0) == _LINEAR_RAW
    return SensorTags(
        origin=(int(top), int(left)),
        size=(int(bottom - top), int(right - left)),
        compression=_number(directory, _COMPRESSION, _UNCOMPRESSED),
        whole_rows=_whole_rows(directory, file_size),
        extent=_extent(directory, file_size),
        cfa=None if is_linear else _cfa(directory),
        planes=_number(directory, _PLANES, 1) if is_linear else None,
        black_level=_black(directory),
        white_level=None if white is None else tuple(white.tolist()),
    )


def _whole_rows(directory: Directory, file_size: int) -> int:
    height = _number(directory, _HEIGHT, 0)
    if _number(directory, _COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED:
        return height  # There LibRaw counts bytes itself and refuses a file that is too short.
    rows, across = _grid(directory)
    offsets, sizes = _pieces(directory)
    outside = np.flatnonzero(offsets + sizes > file_size)
    whole = int(outside[0]) if outside.size else offsets.size
    return min(height, whole // across * rows)


def _extent(directory: Directory, file_size: int) -> Extent:
    width, height = _number(directory, _WIDTH, 0), _number(directory, _HEIGHT, 0)
    return Extent(width, height, _missing_fraction(directory, file_size))


def _missing_fraction(directory: Directory, file_size: int) -> float | None:
    try:
        rows, across = _grid(directory)
        offsets, sizes = _pieces(directory)
        there = int(np.clip(file_size - offsets, 0, sizes).sum()) / int(sizes.sum())
        listed = offsets.size / (across * -(-_number(directory, _HEIGHT, 0) // rows))
    except DAMAGED:
        return None
    missing = 1 - there * min(1.0, listed)
    return missing if 0 <= missing <= 1 else None


def _grid(directory: Directory) -> tuple[int, int]:
    """Return how many rows a strip or tile has, and how many stand beside each other."""
    height, width = _number(directory, _HEIGHT, 0), _number(directory, _WIDTH, 0)
    rows = _number(directory, _TILE_ROWS if _TILE_OFFSETS in directory else _STRIP_ROWS, height)
    return min(rows, height), -(-width // _number(directory, _TILE_WIDTH, width))


def _pieces(directory: Directory) -> tuple[Float64[np.ndarray, "pieces"], Float64[np.ndarray, "pieces"]]:
    """Return where each strip or tile starts in the file, and how many bytes it has."""
    tiled = _TILE_OFFSETS in directory
    offsets, sizes = (_TILE_OFFSETS, _TILE_BYTES) if tiled else (_STRIP_OFFSETS, _STRIP_BYTES)
    return directory[offsets], directory[sizes]


def _cfa(directory: Directory) -> Shaped[np.ndarray, "rows columns"] | None:
    if _CFA_COLORS not in directory or _CFA_SIDES not in directory:
        return None
    rows, columns = directory[_CFA_SIDES].astype(int)
    return np.asarray(_COLOR_LETTERS[directory[_CFA_COLORS].astype(int)].reshape(rows, columns))


def _black(directory: Directory) -> Float64[np.ndarray, "rows columns"] | None:
    deltas = (directory.get(code, np.zeros(1)) for code in (_BLACK_DELTA_H, _BLACK_DELTA_V))
    black = _finite(directory, _BLACK)
    if black is None or any(delta.any() for delta in deltas):
        return None  # With deltas by column or row BlackLevel is not the whole black; LibRaw averages them in.
    rows, columns = directory.get(_BLACK_SIDES, np.ones(2)).astype(int)
    return np.asarray(black.reshape(rows, columns, -1).mean(axis=2))
