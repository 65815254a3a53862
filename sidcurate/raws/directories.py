"""Read the directories (IFDs) of a TIFF-like file entry by entry, where they stand (TIFF 6.0, section 2)."""

import struct
from collections.abc import Container
from typing import NamedTuple, Protocol, TypeAlias

Number: TypeAlias = int | float | tuple[int, int]
"""A value of an entry; a rational is its numerator and denominator as they stand there, (1, 0) too."""

_ASCII = 2
# By type: bytes a value, and the code of `struct` for it; a rational has two numbers.
_TYPES = {
    **{1: (1, "B"), _ASCII: (1, "s"), 3: (2, "H"), 4: (4, "I"), 5: (8, "I"), 6: (1, "b"), 7: (1, "B"), 8: (2, "h")},
    **{9: (4, "i"), 10: (8, "i"), 11: (4, "f"), 12: (8, "d"), 13: (4, "I")},
}
_RATIONALS = (5, 10)
_ORDERS = {b"II": "<", b"MM": ">"}
_ROW_BYTES = 12
_MOST_VALUE_BYTES = 1 << 20  # The offsets of a strip a row, of the tallest sensor, fit well.


class EndsEarlyError(ValueError):
    """The file ends before its header does."""


class Read(Protocol):
    """Gets bytes of a file from wherever it is."""

    def __call__(self, start: int, count: int, /) -> bytes:
        """Return so many bytes from a place on, fewer where the file ends."""


class Entry(NamedTuple):
    """What a directory says of one tag; its values may stand elsewhere."""

    kind: int
    length: int
    value_or_place: bytes


class Directories(NamedTuple):
    """A TIFF structure within a file: where it starts, to which all places are relative, and its byte order."""

    read: Read
    order: str
    base: int = 0

    @classmethod
    def of(cls, read: Read, base: int = 0) -> "Directories | None":
        """Return what starts at a place of a file; None where neither byte order stands there."""
        order = _ORDERS.get(read(base, 2))
        return None if order is None else cls(read, order, base)

    def first(self, wanted: Container[int]) -> dict[int, Entry]:
        """Return the wanted entries of the first directory, by tag.

        Raises:
            ValueError: the file ends before it does.
        """
        (place,) = struct.unpack(f"{self.order}I", self._bytes(4, 4))
        return self.at(place, wanted)

    def at(self, place: int, wanted: Container[int]) -> dict[int, Entry]:
        """Return the wanted entries of the directory at a place, by tag.

        Raises:
            ValueError: the file ends before it does.
        """
        (count,) = struct.unpack(f"{self.order}H", self._bytes(place, 2))
        rows = self._bytes(place + 2, _ROW_BYTES * count)
        return {
            tag: Entry(kind, length, value)
            for tag, kind, length, value in struct.iter_unpack(f"{self.order}HHI4s", rows)
            if tag in wanted and kind in _TYPES
        }

    def numbers(self, entry: Entry) -> list[Number]:
        """Return the values of an entry; none of a text.

        Raises:
            ValueError: the file ends before they do, or they are more than any that is read here.
        """
        if entry.kind == _ASCII:
            return []
        rational = entry.kind in _RATIONALS
        values = struct.unpack(
            f"{self.order}{entry.length * (1 + rational)}{_TYPES[entry.kind][1]}", self._payload(entry)
        )
        return list(zip(values[::2], values[1::2], strict=True)) if rational else list(values)

    def text(self, entry: Entry) -> str | None:
        """Return the text of an entry up to its end mark; None for bytes that are no UTF-8, and for numbers.

        Raises:
            ValueError: the file ends before it does, or it is longer than any that is read here.
        """
        if entry.kind != _ASCII:
            return None
        try:
            return self._payload(entry).split(b"\0", 1)[0].decode()
        except UnicodeDecodeError:
            return None

    def _payload(self, entry: Entry) -> bytes:
        size = entry.length * _TYPES[entry.kind][0]
        if size <= len(entry.value_or_place):
            return entry.value_or_place[:size]
        (place,) = struct.unpack(f"{self.order}I", entry.value_or_place)
        return self._bytes(place, size)

    def _bytes(self, place: int, count: int) -> bytes:
        if count > _MOST_VALUE_BYTES:
            raise ValueError(f"{count} bytes of one tag are more than any that is read here")
        found = self.read(self.base + place, count)
        if len(found) < count:
            raise EndsEarlyError("the file ends within its header")
        return found
