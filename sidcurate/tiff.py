"""Encode TIFF image file directories: as much of TIFF 6.0 as a DNG or a plain picture needs, little-endian."""

import struct
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple, TypeAlias

from sidcurate.errors import UsageError

Rational: TypeAlias = Fraction | tuple[int, int]
"""A fraction, or its numerator and denominator as they shall stand in the file: (0, 0) and (1, 0) too."""

BYTE, ASCII, SHORT, LONG, RATIONAL, SRATIONAL = 1, 2, 3, 4, 5, 10
HEADER_BYTES = 8
_STRUCT_CODES = {BYTE: "B", SHORT: "H", LONG: "I", RATIONAL: "I", SRATIONAL: "i"}


class Entry(NamedTuple):
    """One tag of a directory; a length of 0 means that the tag is left out."""

    code: int
    kind: int
    length: int
    payload: bytes


def header() -> bytes:
    """Return the header of a file whose first directory follows at once."""
    return struct.pack("<2sHI", b"II", 42, HEADER_BYTES)


def directory(entries: Iterable[Entry], start: int) -> bytes:
    """Return a directory that stands at `start`, its longer values behind it, each at an even offset."""
    present = sorted(entry for entry in entries if entry.length)
    rows, values = b"", b""
    values_at = start + 2 + 12 * len(present) + 4
    for code, kind, length, payload in present:
        inline = payload
        if len(payload) > 4:
            inline = struct.pack("<I", values_at + len(values))
            values += payload + b"\0" * (len(payload) % 2)
        rows += struct.pack("<HHI", code, kind, length) + inline.ljust(4, b"\0")
    return struct.pack("<H", len(present)) + rows + struct.pack("<I", 0) + values


def text(code: int, value: str | None) -> Entry:
    """Return a tag of text; None leaves it out."""
    payload = b"" if value is None else value.encode("ascii", "replace") + b"\0"
    return Entry(code, ASCII, len(payload), payload)


def numbers(code: int, kind: int, *values: int | None, width: int = 1) -> Entry:
    """Return a tag of whole numbers, `width` of them a value; None leaves one out.

    Raises:
        UsageError: a number does not fit the field.
    """
    known = [value for value in values if value is not None]
    try:
        payload = struct.pack(f"<{len(known)}{_STRUCT_CODES[kind]}", *known)
    except struct.error as error:
        raise UsageError(f"TIFF tag {code} cannot hold {known}: {error}; give a value that fits the field") from error
    return Entry(code, kind, len(known) // width, payload)


def rationals(code: int, values: Iterable[Rational | None], kind: int = RATIONAL) -> Entry:
    """Return a tag of rationals; None leaves one out."""
    pairs = [item.as_integer_ratio() if isinstance(item, Fraction) else item for item in values if item is not None]
    return numbers(code, kind, *(part for pair in pairs for part in pair), width=2)
