"""Header of a raw file -> standard words, each with its source; LibRaw as the second opinion.

Tolerances, all of them: tags in IFD0 instead of the Exif IFD; ISO in any of three tags; capture time in any of three
tags; the model from UniqueCameraModel; the serial from CameraSerialNumber. A sentinel (0, 1/0, 0/0, 65535, 1970) is
unknown.
"""

import struct
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

from sidcurate.raws.containers import Tags, exif_tags
from sidcurate.raws.directories import Read
from sidcurate.raws.raw import LARGEST, LibrawReadings
from sidcurate.schemas import Source

# Of the tags that may hold ISO, the first with a value counts; 65535 there means "see the next".
_ISO_TAGS = ("ISOSpeedRatings", "RecommendedExposureIndex", "StandardOutputSensitivity")
_TIME_TAGS = (
    ("DateTimeOriginal", "SubSecTimeOriginal", "OffsetTimeOriginal"),
    ("DateTimeDigitized", "SubSecTimeDigitized", "OffsetTimeDigitized"),
    ("DateTime", "SubSecTime", "OffsetTime"),
)
_U16_MAX = 0xFFFF
_LONGEST_TEXT = 300


@dataclass(frozen=True)
class Metadata:
    """How a frame was taken. Every field is None when unknown; each fact or group of facts has its source.

    `exposure_time_s` is the nominal time, exactly as written. `captured_at` is the local time of the camera, without a
    zone. `voided` names the fields whose tag is there but holds a sentinel. `reason` says why the header gave nothing.
    """

    camera_make: str | None = None
    camera_model: str | None = None
    camera_serial: str | None = None
    lens_model: str | None = None
    camera_source: Source | None = None
    exposure_time_s: Fraction | None = None
    exposure_source: Source | None = None
    iso: int | None = None
    iso_source: Source | None = None
    f_number: float | None = None
    f_number_source: Source | None = None
    focal_length_mm: float | None = None
    focal_length_source: Source | None = None
    captured_at: datetime | None = None
    utc_offset_min: int | None = None
    captured_at_source: Source | None = None
    orientation: int | None = None
    orientation_source: Source | None = None
    voided: frozenset[str] = frozenset()
    reason: str | None = None


def read_header(path: Path) -> Metadata:
    """Return what the header of a raw file says; a foreign or damaged file says nothing, and `reason` tells why.

    Only the header is read. The time is not bounded here: call it in a worker that may be killed.

    Raises:
        OSError: the file cannot be opened.
    """
    with path.open("rb") as stream:
        return header_of(stream)


def header_of(stream: BinaryIO) -> Metadata:
    """Return what `read_header` does of an open file, or of one in memory."""

    def read(start: int, count: int) -> bytes:
        stream.seek(start)
        return stream.read(count)

    return header_at(read)


def header_at(read: Read) -> Metadata:
    """Return what `read_header` does of a file that is read piece by piece."""
    try:
        tags = exif_tags(read)
    except (ValueError, OverflowError, struct.error) as error:  # A damaged file ends the header; the reason is kept.
        return Metadata(reason=f"damaged header ({error})"[:_LONGEST_TEXT])
    return _metadata(tags) if tags else Metadata(reason="no Exif tags: not a TIFF-like, CR3 or RAF header")


def with_second_opinion(header: Metadata, libraw: LibrawReadings) -> Metadata:
    """Return the header with what it lacks taken from LibRaw, under the source "libraw".

    LibRaw reads 1.0 from a zeroed or infinite exposure time or f-number: where the header has such a tag, a reading of
    1.0 is that tag again and no opinion.
    """
    exposure = _unless_voided(header, "exposure_time_s", libraw.exposure_time_s)
    readings: dict[str, tuple[str, Any]] = {
        "exposure_time_s": ("exposure_source", (rational(exposure) or None) if exposure else None),
        "iso": ("iso_source", (round(libraw.iso) or None) if libraw.iso else None),
        "f_number": ("f_number_source", _unless_voided(header, "f_number", libraw.f_number)),
        "focal_length_mm": ("focal_length_source", libraw.focal_length_mm),
        "captured_at": ("captured_at_source", libraw.captured_at),
        "orientation": ("orientation_source", libraw.orientation),
    }
    filled: dict[str, Any] = {}
    for name, (source, value) in readings.items():
        if getattr(header, name) is None and value is not None:
            filled |= {name: value, source: "libraw"}
    return replace(header, **filled)


def rational(seconds: float) -> Fraction:
    """Return the simplest time that a single-precision reading can stand for.

    >>> rational(0.0015625000232830644)
    Fraction(1, 640)
    """
    return Fraction(seconds).limit_denominator(_U16_MAX)


def _unless_voided(header: Metadata, name: str, value: float | None) -> float | None:
    return None if name in header.voided and value == 1.0 else value


def _metadata(tags: Tags) -> Metadata:
    exposure, iso = _positive(tags.get("ExposureTime")), _iso(tags)
    f_number, focal_length = _positive(tags.get("FNumber")), _positive(tags.get("FocalLength"))
    captured_at, utc_offset_min = _capture_time(tags)
    orientation = _orientation(tags)
    stated = {"exposure_time_s": ("ExposureTime", exposure), "f_number": ("FNumber", f_number)}
    return Metadata(
        **_camera(tags),
        exposure_time_s=exposure,
        exposure_source=_exif_if(exposure),
        iso=iso,
        iso_source=_exif_if(iso),
        f_number=float(f_number) if f_number else None,
        f_number_source=_exif_if(f_number),
        focal_length_mm=float(focal_length) if focal_length else None,
        focal_length_source=_exif_if(focal_length),
        captured_at=captured_at,
        utc_offset_min=utc_offset_min,
        captured_at_source=_exif_if(captured_at),
        orientation=orientation,
        orientation_source=_exif_if(orientation),
        voided=frozenset(name for name, (tag, value) in stated.items() if tag in tags and value is None),
    )


def _exif_if(value: object) -> Source | None:
    return None if value is None else "exif"


def _camera(tags: Tags) -> dict[str, Any]:
    names = {
        "camera_make": _text(tags.get("Make")),
        "camera_model": _text(tags.get("Model")) or _text(tags.get("UniqueCameraModel")),
        "camera_serial": _text(tags.get("BodySerialNumber")) or _text(tags.get("CameraSerialNumber")),
        "lens_model": _text(tags.get("LensModel")),
    }
    return names | {"camera_source": "exif" if any(names.values()) else None}


def _text(values: object) -> str | None:
    """Return a text tag without padding; None for blanks, undecodable bytes, dashes (no lens contacts), a novel."""
    known = isinstance(values, str) and values.strip(" -") and len(values) <= _LONGEST_TEXT
    return values.strip() if isinstance(values, str) and known else None


def _positive(values: object) -> Fraction | None:
    """Return the first value of a tag exactly; None where it is missing, zero, infinite, undefined or absurd."""
    first = values[0] if isinstance(values, list) and values else None
    if isinstance(first, float):
        return (rational(first) or None) if 0 < first < LARGEST else None
    numerator, denominator = first if isinstance(first, tuple) else (first or 0, 1)
    return Fraction(numerator, denominator) if 0 < numerator < LARGEST and denominator > 0 else None


def _iso(tags: Tags) -> int | None:
    values = (_positive(tags.get(name)) for name in _ISO_TAGS)
    return next((whole for value in values if value and (whole := round(value)) not in (0, _U16_MAX)), None)


def _orientation(tags: Tags) -> int | None:
    value = _positive(tags.get("Orientation"))
    return int(value) if value and value in range(1, 9) else None


def _capture_time(tags: Tags) -> tuple[datetime | None, int | None]:
    """Return the local time with its sub-seconds, and the offset of the camera's clock from UTC in minutes."""
    for date, fraction, offset in _TIME_TAGS:
        moment = _moment(_text(tags.get(date)))
        if moment:
            digits = _text(tags.get(fraction)) or ""
            micros = int(f"{digits:0<6.6}") if digits.isdecimal() else 0
            zone = _text(tags.get(offset)) or _text(tags.get("OffsetTime"))
            return moment.replace(microsecond=micros), _minutes(zone)
    return None, None


def _moment(text: str | None) -> datetime | None:
    try:
        moment = datetime.strptime(text or "", "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    return moment if moment.year > 1970 else None


def _minutes(text: str | None) -> int | None:
    try:
        offset = datetime.strptime(text or "", "%z").utcoffset()
    except ValueError:
        return None
    return None if offset is None else offset // timedelta(minutes=1)
