"""A committed table from its bytes: Parquet, within bounds that no manifest of ours comes near.

The bytes may come from anywhere. What a few of them could unfold to is known from the footer before a page is read:
rows, values, bytes before compression, encodings. A string that a dictionary repeats unfolds only after it was counted.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sidcurate.commits import START_AGAIN
from sidcurate.errors import IntegrityError

_MOST_ROWS = 1 << 22
_MOST_VALUES_A_ROW = 16
_MOST_VALUES = 1 << 20  # beyond those by row: one finding may name every raw
_MOST_UNPACKED_BYTES = 1 << 32
_MOST_FOOTER_BYTES = 1 << 22
# What our own writer uses; others unfold in ways that the footer does not tell.
_ENCODINGS = {"PLAIN", "RLE", "RLE_DICTIONARY", "PLAIN_DICTIONARY"}
_TAIL_BYTES = 8


class _RefusedError(ValueError):
    """What is wrong with a file, in words that follow its name."""


def parse(where: Path, content: bytes) -> pa.Table:
    """Return the table that the bytes of a Parquet file hold, valid as Arrow, with the file's own key-values.

    Args:
        where: the file, for messages; it is not opened.
        content: the whole of it.

    Raises:
        IntegrityError: it is no Parquet file, damaged, or larger than any manifest.
    """
    try:
        return _parse(content)
    except _RefusedError as error:
        raise IntegrityError(f"{where} {error}; {START_AGAIN}") from error
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise IntegrityError(f"{where} is not a readable Parquet file ({error}); {START_AGAIN}") from error


def _parse(content: bytes) -> pa.Table:
    if int.from_bytes(content[-_TAIL_BYTES:-4], "little") > _MOST_FOOTER_BYTES:
        raise _RefusedError("has a footer larger than any of ours")
    stream = pa.BufferReader(content)
    metadata = pq.read_metadata(stream)
    _check_sizes(metadata)
    # Text is read by dictionary: a megabyte that every row repeats is then a megabyte, not a terabyte.
    options = {"metadata": metadata, "read_dictionary": sorted(set(_text_columns(metadata)))}
    with pq.ParquetFile(stream, page_checksum_verification=True, **options) as file:
        table = file.read()
    table.validate(full=True)
    if sum(map(_text_bytes, table.columns)) > _MOST_UNPACKED_BYTES:
        raise _RefusedError("has more text when it is unpacked than any manifest of ours")
    plain = [field.with_type(_plain(field.type)) for field in table.schema]
    return table.cast(pa.schema(plain, metadata=table.schema.metadata))


def _text_columns(metadata: pq.FileMetaData) -> Iterator[str]:
    for number in range(metadata.num_columns):
        column = metadata.schema.column(number)
        if column.physical_type == "BYTE_ARRAY":
            yield column.path


def _check_sizes(metadata: pq.FileMetaData) -> None:
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    most_values = _MOST_VALUES + _MOST_VALUES_A_ROW * metadata.num_rows
    faults = {
        "more rows": max(metadata.num_rows, sum(group.num_rows for group in groups)) > _MOST_ROWS,
        "more values in a row": any(chunk.num_values > most_values for chunk in chunks),
        "more bytes when it is unpacked": sum(c.total_uncompressed_size for c in chunks) > _MOST_UNPACKED_BYTES,
        "other encodings": any(set(chunk.encodings) - _ENCODINGS for chunk in chunks),
    }
    for fault in (name for name, is_there in faults.items() if is_there):
        raise _RefusedError(f"has {fault} than any manifest of ours")


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return a type as it is without dictionaries."""
    if pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _text_bytes(column: pa.ChunkedArray) -> int:
    """Return how many bytes of text a column has once each row holds its own."""
    if pa.types.is_list(column.type):
        column = pc.list_flatten(column)
    if not pa.types.is_dictionary(column.type):
        return 0
    lengths = (pc.sum(pc.binary_length(chunk.dictionary).take(chunk.indices)) for chunk in column.chunks)
    return sum(length.as_py() or 0 for length in lengths)
