"""How large the pages of a Parquet file are, by their own headers: the footer may say anything.

Only the sizes are read. The headers are structs of Thrift's compact protocol; `parquet.thrift` of the format defines
them.
"""

_UNPACKED, _PACKED = 2, 3
_BOOLEANS, _INTEGERS, _BINARY, _STRUCT = (1, 2), (4, 5, 6), 8, 12
_MOST_PAGES = 1 << 12
_DEEPEST = 4
_VARINT_BYTES = 10


def unpacked_bytes(content: bytes, start: int, count: int) -> int:
    """Return how many bytes the pages of one column of a row group have when they are unpacked.

    Args:
        content: the whole file.
        start: where the first page stands, byte.
        count: of all of them, as they are packed, in bytes.

    Raises:
        ValueError: other things than pages stand there.
    """
    at, end, found = start, start + count, 0
    if not 0 <= start <= end <= len(content):
        raise ValueError("pages lie outside of the file")
    try:
        for _ in range(_MOST_PAGES):
            if at >= end:
                break
            sizes, at = _struct(content, at)
            if min(sizes[_UNPACKED], sizes[_PACKED]) < 0:
                raise ValueError("a page has less than no bytes")
            found, at = found + sizes[_UNPACKED], at + sizes[_PACKED]
    except LookupError as error:
        raise ValueError("a page has no header") from error
    if at != end:
        raise ValueError("the pages do not end where the footer says")
    return found


def _struct(content: bytes, at: int, depth: int = 0) -> tuple[dict[int, int], int]:
    """Return the integers of a struct by the number of their field, and where it ends."""
    if depth > _DEEPEST:
        raise ValueError("a page header has structs within structs without end")
    found: dict[int, int] = {}
    number = 0
    while content[at]:
        step, kind = divmod(content[at], 16)
        number, at = (number + step, at + 1) if step else _integer(content, at + 1)
        if kind in _INTEGERS:
            found[number], at = _integer(content, at)
        elif kind == _BINARY:
            length, at = _varint(content, at)
            at += length
        elif kind == _STRUCT:
            _, at = _struct(content, at, depth + 1)
        elif kind not in _BOOLEANS:
            raise ValueError(f"a page header has a field of type {kind}")
    return found, at + 1


def _integer(content: bytes, at: int) -> tuple[int, int]:
    """Return a signed number, which Thrift folds to 0, -1, 1, -2, and where it ends."""
    value, at = _varint(content, at)
    return value >> 1 ^ -(value & 1), at


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(_VARINT_BYTES):
        byte = content[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ValueError("a number has more bytes than any")
