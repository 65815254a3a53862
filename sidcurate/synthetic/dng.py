"""Write a mosaic as a DNG that rawpy and exifread both read.

Tag numbers are those of Exif 2.32 and the DNG 1.4 specification. Camera settings stand in an Exif IFD, as bodies write
them: LibRaw takes the ISO from nowhere else.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt16

from sidcurate import tiff
from sidcurate.errors import UsageError
from sidcurate.storage.durable import whole_file
from sidcurate.tiff import LONG, SHORT, Rational

_CFA, _LINEAR_RAW = 32803, 34892
_LETTER_CODES = {"R": 0, "G": 1, "B": 2}
_DAYLIGHT = 21
# XYZ (D65) to camera RGB of an invented, plausible sensor: rows sum to about 1, so that gray stays gray.
XYZ_TO_CAMERA = ((0.7, -0.1, -0.05), (-0.4, 1.2, 0.2), (-0.05, 0.15, 0.6))


@dataclass(frozen=True)
class DngTags:
    """What the header of a DNG says; None leaves the tag out.

    `cfa` are the letters row by row (4, 16 or 36 of them, or 1), None for a linear image. `black_level` has one value
    for all, or four by CFA position. `iso_rei` is Exif's RecommendedExposureIndex, `ifd0_exposure_time_s` a second
    exposure time outside the Exif IFD, as editors leave it behind. `as_shot_neutral` are the reciprocals of the
    camera's white-balance multipliers for R, G, B.
    """

    make: str | None = "Synthetic"
    model: str | None = "Synthetic"
    serial: str | None = None
    lens_model: str | None = None
    cfa: str | None = "RGGB"
    black_level: tuple[float, ...] | None = (512.0,)
    white_level: int | None = 16383
    exposure_time_s: Rational | None = None
    ifd0_exposure_time_s: Rational | None = None
    f_number: Rational | None = None
    iso: int | None = None
    iso_rei: int | None = None
    focal_length_mm: Rational | None = None
    captured_at: datetime | None = None
    utc_offset_min: int | None = None
    orientation: int = 1
    as_shot_neutral: tuple[float, float, float] = (0.52, 1.0, 0.65)


@dataclass(frozen=True)
class Stored:
    """How the pixels of a DNG stand in its file.

    Attributes:
        parts: the strip, or the tiles row by row, as they are written.
        bits: of a sample.
        compression: code of the Compression tag: 1 for none, 7 for (lossless) JPEG.
        tile: rows and columns of a tile; None for one strip.
    """

    parts: Sequence[bytes | memoryview]
    bits: int = 16
    compression: int = 1
    tile: tuple[int, int] | None = None


def write_dng(path: Path, image: UInt16[np.ndarray, "h w"] | UInt16[np.ndarray, "h w 3"], tags: DngTags) -> None:
    """Write an uncompressed 16-bit DNG: a CFA image, or a linear (demosaiced) one when `tags.cfa` is None.

    The file appears under its name only when it is complete, and the same input gives the same bytes.

    Raises:
        UsageError: the shape does not go with the CFA, or a tag does not fit its field.
    """
    write_stored(path, image.shape, Stored([np.ascontiguousarray(image, "<u2").data]), tags)


def write_stored(path: Path, shape: tuple[int, ...], stored: Stored, tags: DngTags) -> None:
    """Write a DNG whose pixels are already in the form that they have in the file.

    Raises:
        UsageError: as `write_dng`.
    """
    if (tags.cfa is None) != (len(shape) == 3):
        raise UsageError(
            f"a DNG of shape {shape} does not go with cfa={tags.cfa}: a mosaic has two axes, a linear image three"
        )
    with whole_file(path) as file:
        file.write(_head(shape, stored, tags))
        for part in stored.parts:
            file.write(part)


def _head(shape: tuple[int, ...], stored: Stored, tags: DngTags) -> bytes:
    fixed, exif = [*_image_entries(shape, stored, tags), *_color_entries(tags)], list(_exif_entries(tags))
    # Where a file has a second image directory, LibRaw believes IFD0's own exposure time, exifread the Exif IFD's.
    preview = tiff.directory([tiff.numbers(254, LONG, 1)], 0) if tags.ifd0_exposure_time_s else b""
    # The lengths are known before the offsets are.
    exif_at = tiff.HEADER_BYTES + len(tiff.directory([*fixed, *_pointers(stored, 0, 0, 0 if preview else None)], 0))
    preview_at = exif_at + len(tiff.directory(exif, exif_at))
    pointers = _pointers(stored, preview_at + len(preview), exif_at, preview_at if preview else None)
    main = tiff.directory([*fixed, *pointers], tiff.HEADER_BYTES)
    return tiff.header() + main + tiff.directory(exif, exif_at) + preview


def _pointers(stored: Stored, pixels_at: int, exif_at: int, preview_at: int | None) -> list[tiff.Entry]:
    offsets = pixels_at + np.cumsum([0, *_sizes(stored)[:-1]])
    return [
        tiff.numbers(324 if stored.tile else 273, LONG, *offsets.tolist()),
        tiff.numbers(330, LONG, preview_at),
        tiff.numbers(34665, LONG, exif_at),
    ]


def _sizes(stored: Stored) -> list[int]:
    return [memoryview(part).nbytes for part in stored.parts]


def _image_entries(shape: tuple[int, ...], stored: Stored, tags: DngTags) -> Iterable[tiff.Entry]:
    height, width, samples = (*shape, 1)[:3]
    yield tiff.numbers(254, LONG, 0)
    yield tiff.numbers(256, LONG, width)
    yield tiff.numbers(257, LONG, height)
    yield tiff.numbers(258, SHORT, *[stored.bits] * samples)
    yield tiff.numbers(259, SHORT, stored.compression)
    yield tiff.numbers(262, SHORT, _CFA if tags.cfa else _LINEAR_RAW)
    yield tiff.text(271, tags.make)
    yield tiff.text(272, tags.model)
    yield tiff.numbers(274, SHORT, tags.orientation)
    yield tiff.numbers(277, SHORT, samples)
    yield tiff.numbers(284, SHORT, 1)
    yield tiff.text(306, _stamp(tags.captured_at))
    yield tiff.rationals(33434, [tags.ifd0_exposure_time_s])
    yield tiff.numbers(50717, LONG, *[tags.white_level] * samples)
    if stored.tile:
        yield tiff.numbers(322, LONG, stored.tile[1])
        yield tiff.numbers(323, LONG, stored.tile[0])
        yield tiff.numbers(325, LONG, *_sizes(stored))
    else:
        yield tiff.numbers(278, LONG, height)
        yield tiff.numbers(279, LONG, *_sizes(stored))


def _color_entries(tags: DngTags) -> Iterable[tiff.Entry]:
    letters, black = tags.cfa or "", tags.black_level or ()
    side = int(len(letters) ** 0.5)
    matrix = [Fraction(str(value)) for row in XYZ_TO_CAMERA for value in row]
    yield tiff.numbers(33421, SHORT, *(side, side) if letters else ())
    yield tiff.numbers(33422, tiff.BYTE, *(_LETTER_CODES[letter] for letter in letters))
    yield tiff.numbers(50706, tiff.BYTE, 1, 4, 0, 0)
    yield tiff.numbers(50707, tiff.BYTE, 1, 1, 0, 0)
    yield tiff.text(50708, f"{tags.make} {tags.model}" if tags.make else None)
    yield tiff.numbers(50713, SHORT, *(2, 2) if len(black) == 4 else (1, 1))
    yield tiff.rationals(50714, [Fraction(value).limit_denominator(1000) for value in black])
    yield tiff.rationals(50721, matrix, tiff.SRATIONAL)
    yield tiff.rationals(50728, [Fraction(value).limit_denominator(10000) for value in tags.as_shot_neutral])
    yield tiff.numbers(50778, SHORT, _DAYLIGHT)


def _exif_entries(tags: DngTags) -> Iterable[tiff.Entry]:
    taken = tags.captured_at
    yield tiff.rationals(33434, [tags.exposure_time_s])
    yield tiff.rationals(33437, [tags.f_number])
    yield tiff.numbers(34855, SHORT, tags.iso)
    yield tiff.numbers(34866, LONG, tags.iso_rei)
    yield tiff.text(36867, _stamp(taken))
    yield tiff.text(36881, _offset(tags.utc_offset_min))
    yield tiff.rationals(37386, [tags.focal_length_mm])
    yield tiff.text(37521, f"{taken.microsecond // 10000:02d}" if taken else None)
    yield tiff.text(42033, tags.serial)
    yield tiff.text(42036, tags.lens_model)


def _stamp(moment: datetime | None) -> str | None:
    return moment.strftime("%Y:%m:%d %H:%M:%S") if moment else None


def _offset(minutes: int | None) -> str | None:
    if minutes is None:
        return None
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02d}:{rest:02d}"
