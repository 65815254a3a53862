"""Captures as they come, from wherever and in any order -> one packed table, sorted by path.

A record takes kilobytes, a packed row a tenth of one: of a million captures no more than some are records at a time.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sidcurate.errors import UsageError
from sidcurate.schemas import Capture
from sidcurate.tables.bounded import GROUP_ROWS, MOST_ROWS, Packed, written
from sidcurate.tables.columns import Where
from sidcurate.tables.rows import Rows, arrow_schema, table_of

_RECORDS = 1 << 10
"""Records that are held until they are packed."""
_AT_ONCE = 8 * GROUP_ROWS
"""Rows that are brought into order together: each piece that has some of them is unpacked for it."""

Progress: TypeAlias = Callable[[int, int], None]
"""Takes a count of rows done, and the count to do."""


class Gathering:
    """The captures of some paths. Of two with one path, the one that came later counts."""

    def __init__(self, paths: Iterable[str]) -> None:
        """Take the paths, sorted: those of all captures that may come.

        Raises:
            UsageError: they are more than a table can hold.
        """
        self._numbers = {path: number for number, path in enumerate(paths)}
        if len(self._numbers) > MOST_ROWS:
            raise UsageError(
                f"{len(self._numbers)} raws are more than the {MOST_ROWS} that a manifest can hold; ingest the folders "
                "in theirs one by one, each under a --device of its own"
            )
        # By path: where its capture stands in the sequence of all that came; -1 as long as none did.
        self._places = np.full(len(self._numbers), -1)
        self._loose: list[Capture] = []
        self._pieces: list[bytes] = []
        self._starts = [0]  # Of the pieces in that sequence, and of what comes next.

    def __contains__(self, path: str) -> bool:
        return bool(self._places[self._numbers[path]] >= 0)

    def update(self, captures: Iterable[Capture]) -> None:
        """Take captures one by one."""
        for capture in captures:
            self._places[self._numbers[capture.path]] = self._starts[-1] + len(self._loose)
            self._loose.append(capture)
            if len(self._loose) == _RECORDS:
                self._pack_loose()

    def extend(self, rows: Rows[Capture], where: Where, progress: Progress = lambda done, total: None) -> None:
        """Take some of many rows."""
        self._pack_loose()
        for start in range(0, len(rows), GROUP_ROWS):
            some = slice(start, start + GROUP_ROWS)
            table = rows.take(some).table().filter(pa.array(where[some]))
            numbers = [self._numbers[path] for path in table.column("path").to_pylist()]
            self._places[numbers] = self._starts[-1] + np.arange(len(numbers))
            self._pack(table)
            progress(min(start + GROUP_ROWS, len(rows)), len(rows))

    def packed(self, folder: Path, progress: Progress = lambda done, total: None) -> Packed:
        """Return the captures of all paths, each of which must have come, as the table of a folder."""
        self._pack_loose()
        return Packed(folder / f"{Capture.table}.parquet", written(arrow_schema(Capture), self._sorted(progress)))

    def _sorted(self, progress: Progress) -> Iterator[pa.Table]:
        rows = len(self._places)
        for start in range(0, max(1, rows), _AT_ONCE):
            yield self._taken(self._places[start : start + _AT_ONCE])
            progress(min(start + _AT_ONCE, rows), rows)

    def _pack_loose(self) -> None:
        self._pack(table_of(Capture, self._loose))
        self._loose.clear()

    def _pack(self, table: pa.Table) -> None:
        if table.num_rows:
            self._pieces.append(written(table.schema, [table]))
            self._starts.append(self._starts[-1] + table.num_rows)

    def _taken(self, places: np.ndarray) -> pa.Table:
        """Return what stands at some places; rows that came about together are unpacked together."""
        pieces = np.searchsorted(self._starts, places, side="right") - 1
        found, order = [arrow_schema(Capture).empty_table()], [np.zeros(0, np.int64)]
        for number in np.unique(pieces):
            of_piece = (pieces == number).nonzero()[0]
            piece = pq.read_table(pa.BufferReader(self._pieces[number]), use_threads=False)
            found.append(piece.take(places[of_piece] - self._starts[number]))
            order.append(of_piece)
        return pa.concat_tables(found).take(np.argsort(np.concatenate(order))).combine_chunks()
