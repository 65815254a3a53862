"""A committed table to its bytes and from them: Parquet, within bounds that no manifest of ours comes near.

The bytes may come from anywhere. What a few of them could unfold to is known from the footer before a page is read:
rows, values, bytes before compression, encodings; and no page may be larger than that. A string that a dictionary
repeats unfolds only after it was counted.

A table stays packed: its verified bytes are kept, a tenth of what they unfold to, and decoded some rows or one column
at a time.
"""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sidcurate.errors import IntegrityError
from sidcurate.storage.commits import START_AGAIN
from sidcurate.tables import pages

GROUP_ROWS = 1 << 13
"""Rows that are written, decoded and looked at together: few enough to bound the memory."""
MOST_ROWS = 1 << 22
_MOST_VALUES_A_ROW = 16
_MOST_VALUES = 1 << 20  # beyond those by row: one finding may name every raw
_MOST_UNPACKED_BYTES = 1 << 32
_MOST_BYTES_AT_ONCE = 1 << 28
_MOST_FOOTER_BYTES = 1 << 22
# What our own writer uses; others unfold in ways that the footer does not tell.
_ENCODINGS = {"PLAIN", "RLE", "RLE_DICTIONARY", "PLAIN_DICTIONARY"}
_TAIL_BYTES = 8


class _RefusedError(ValueError):
    """What is wrong with a file, in words that follow its name."""


@dataclass(frozen=True)
class Packed:
    """A table as the bytes of its Parquet file. Nothing else may be asked of it before `batches` has gone through.

    Attributes:
        where: the file, for messages; it is not opened.
        content: the whole of it.
    """

    where: Path
    content: bytes = field(repr=False)

    @cached_property
    def num_rows(self) -> int:
        """Count of the rows."""
        return int(self._file.metadata.num_rows)

    @cached_property
    def schema(self) -> pa.Schema:
        """Columns without dictionaries, with the file's own key-values.

        Raises:
            IntegrityError: it is no Parquet file, damaged, or larger than any manifest.
        """
        with _refusing(self.where):
            found = self._file.schema_arrow
            return pa.schema([column.with_type(_plain(column.type)) for column in found], metadata=found.metadata)

    def batches(self) -> Iterator[pa.Table]:
        """Yield all rows in order, `GROUP_ROWS` at most at a time, after every check.

        Raises:
            IntegrityError: it is no Parquet file, damaged, or larger than any manifest.
        """
        text = 0
        with _refusing(self.where):
            for number in range(self._file.num_row_groups):
                for batch in self._file.iter_batches(GROUP_ROWS, row_groups=[number]):
                    table = pa.Table.from_batches([batch])
                    table.validate(full=True)
                    at_once = sum(map(_text_bytes, table.columns))
                    text += at_once
                    if at_once > _MOST_BYTES_AT_ONCE or text > _MOST_UNPACKED_BYTES:
                        raise _RefusedError("has more text when it is unpacked than any manifest of ours")
                    yield table.cast(self.schema)

    def column(self, name: str) -> pa.Array:
        """Return one column of all rows, text by dictionary; it is kept, so that rows can be picked from it."""
        if name not in self._columns:
            kind = self.schema.field(name).type
            groups = [self._read(name, number) for number in range(self._file.num_row_groups)]
            if pa.types.is_string(kind):
                none = pa.array([], pa.dictionary(pa.int32(), kind))
                self._columns[name] = pa.chunked_array([none, *groups]).unify_dictionaries().combine_chunks()
            else:
                self._columns[name] = pa.concat_arrays([self._none(name), *map(plainly, groups)])
        return self._columns[name]

    def slice(self, start: int, count: int) -> "Span":
        """Return some rows in sequence, of which only the columns that are asked for are decoded."""
        return Span(self, start, count)

    def part(self, name: str, start: int, count: int) -> pa.Array:
        """Return one column of some rows in sequence."""
        if not self._is_grouped:
            return plainly(self.column(name).slice(start, count))
        first, last = start // GROUP_ROWS, max(start, start + count - 1) // GROUP_ROWS
        groups = [self._group(name, number) for number in range(first, min(last + 1, self._file.num_row_groups))]
        whole = groups[0] if len(groups) == 1 else pa.concat_arrays([self._none(name), *groups])
        return whole.slice(start - first * GROUP_ROWS, count)

    def _group(self, name: str, number: int) -> pa.Array:
        """Return one column of a row group; the last one is kept, for who goes through the rows in small steps."""
        kept, values = self._latest.get(name, (-1, None))
        if kept != number:
            values = plainly(self._read(name, number))
            self._latest[name] = number, values
        return values

    def _read(self, name: str, number: int) -> pa.Array:
        return self._file.read_row_group(number, [name], use_threads=False).column(0).combine_chunks()

    def _none(self, name: str) -> pa.Array:
        return pa.array([], self.schema.field(name).type)

    @cached_property
    def _file(self) -> pq.ParquetFile:
        with _refusing(self.where):
            return _opened(self.content)

    @cached_property
    def _is_grouped(self) -> bool:
        """Whether the row groups are as our writer makes them: an older one made one of everything."""
        sizes = [self._file.metadata.row_group(number).num_rows for number in range(self._file.num_row_groups)]
        return all(size == GROUP_ROWS for size in sizes[:-1]) and all(0 < size <= GROUP_ROWS for size in sizes[-1:])

    @cached_property
    def _columns(self) -> dict[str, pa.Array]:
        return {}

    @cached_property
    def _latest(self) -> dict[str, tuple[int, pa.Array]]:
        return {}


@dataclass(frozen=True)
class Span:
    """Some rows of a packed table, in sequence."""

    packed: Packed
    start: int
    count: int

    def column(self, name: str) -> pa.Array:
        """Return one column of the rows."""
        return self.packed.part(name, self.start, self.count)


def written(schema: pa.Schema, parts: Iterable[pa.Table]) -> bytes:
    """Return the bytes of a Parquet file: the same for a table in one piece and in parts of `GROUP_ROWS` rows.

    Args:
        schema: columns, and the key-values of the file.
        parts: the rows in order, at least one part; every part but the last holds a multiple of `GROUP_ROWS`.
    """
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, schema, compression="zstd", write_page_checksum=True) as writer:
        for part in parts:
            writer.write_table(part, row_group_size=GROUP_ROWS)
    return buffer.getvalue()


def parse(where: Path, content: bytes) -> pa.Table:
    """Return the table that the bytes of a Parquet file hold, valid as Arrow, with the file's own key-values.

    Args:
        where: the file, for messages; it is not opened.
        content: the whole of it.

    Raises:
        IntegrityError: it is no Parquet file, damaged, or larger than any manifest.
    """
    packed = Packed(where, content)
    return pa.concat_tables([packed.schema.empty_table(), *packed.batches()])


def plainly(column: pa.Array) -> pa.Array:
    """Return a column with every row's own text where a dictionary holds it."""
    return column.cast(_plain(column.type))


@contextmanager
def _refusing(where: Path) -> Iterator[None]:
    """Name the file in what is wrong with it."""
    try:
        yield
    except _RefusedError as error:
        raise IntegrityError(f"{where} {error}; {START_AGAIN}") from error
    except IntegrityError:
        raise
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise IntegrityError(f"{where} is not a readable Parquet file ({error}); {START_AGAIN}") from error


def _opened(content: bytes) -> pq.ParquetFile:
    if int.from_bytes(content[-_TAIL_BYTES:-4], "little") > _MOST_FOOTER_BYTES:
        raise _RefusedError("has a footer larger than any of ours")
    stream = pa.BufferReader(content)
    metadata = pq.read_metadata(stream)
    _check_sizes(metadata)
    _check_pages(metadata, content)
    # Text is read by dictionary: a megabyte that every row repeats is then a megabyte, not a terabyte.
    options = {"metadata": metadata, "read_dictionary": sorted(set(_text_columns(metadata)))}
    return pq.ParquetFile(stream, page_checksum_verification=True, **options)


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
        "more rows": max(metadata.num_rows, sum(group.num_rows for group in groups)) > MOST_ROWS,
        "more values in a row": any(chunk.num_values > most_values for chunk in chunks),
        "more bytes when it is unpacked": sum(map(_unpacked_bytes, groups)) > _MOST_UNPACKED_BYTES,
        "more bytes to unpack at once": max(map(_unpacked_bytes, groups), default=0) > _MOST_BYTES_AT_ONCE,
        "other encodings": any(set(chunk.encodings) - _ENCODINGS for chunk in chunks),
    }
    for fault in (name for name, is_there in faults.items() if is_there):
        raise _RefusedError(f"has {fault} than any manifest of ours")


def _check_pages(metadata: pq.FileMetaData, content: bytes) -> None:
    """Refuse pages that are larger than the footer says."""
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for chunk in map(group.column, range(group.num_columns)):
            first, start = chunk.dictionary_page_offset, chunk.data_page_offset
            start = first if first is not None and 0 < first < start else start  # As pyarrow takes them.
            count, most = chunk.total_compressed_size, chunk.total_uncompressed_size
            if chunk.num_values and pages.unpacked_bytes(content, start, count) > most:
                raise _RefusedError("has pages that are larger than its footer says")


def _unpacked_bytes(group: pq.RowGroupMetaData) -> int:
    """Return what the footer says that the columns of a row group have when they are unpacked."""
    return sum(group.column(number).total_uncompressed_size for number in range(group.num_columns))


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
