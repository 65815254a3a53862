"""Rows that need not be made again: those of an earlier commit, and those that an interrupted ingest has left."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sidcurate.ingest import journal, reading
from sidcurate.ingest.times import Times
from sidcurate.pairs import traces
from sidcurate.places.place import Place
from sidcurate.places.scan import RawFile
from sidcurate.schemas import Capture
from sidcurate.source import Source
from sidcurate.tables.columns import Where
from sidcurate.tables.rows import Rows


@dataclass(frozen=True)
class Commit:
    """Captures that were committed.

    Attributes:
        said: what was said of them then.
        rows: all of them.
        folder: where they are, and their traces.
    """

    said: Source
    rows: Rows[Capture]
    folder: Path

    def holding(self, files: Sequence[RawFile], times: Times, *, headers_only: bool = False) -> Where:
        """Return which rows are those of some files and still hold: same reader, size and time.

        A row without a hash was never read through, and holds only where headers are all that is asked for; one with
        an exposure time that nobody gives any more has lost its own.

        Args:
            files: as they are now.
            times: the exposure times that are given now.
            headers_only: whether what a header says is enough.
        """
        if is_stale(self.said):
            return self.rows.nowhere()
        same = [file.path for file in files if self.said.seen.get(file.path) == file.seen]
        read_through = self.rows.arrow("sha256").is_valid().to_numpy(zero_copy_only=False)
        enough = read_through | (self.rows.named("status", ["header"]) & headers_only)
        lost_its_time = self.rows.named("exposure_source", ["override"]) & ~self.rows.named("path", times)
        holding: Where = self.rows.named("path", same) & enough & ~lost_its_time & self._has_traces()
        return holding

    def _has_traces(self) -> Where:
        kept = (_trace_is_kept(row, self.folder) for batch in self.rows.batches() for row in batch.views())
        return np.fromiter(kept, bool, len(self.rows))


def left(
    place: Place,
    files: Sequence[RawFile],
    folder: Path,
    device: str,
    progress: Callable[[int, None], None],
    *,
    headers_only: bool = False,
) -> Iterator[Capture]:
    """Yield the rows of some files that an ingest since the last commit has read, and did not come to commit.

    Of two of one file, the later one counts; `progress` is called with the count of rows so far.
    """
    there = set(files)
    for done, (file, row) in enumerate(journal.rows(folder, place.name, reading.reader(), device), start=1):
        progress(done, None)
        if file in there and (headers_only or row.status != "header") and _trace_is_kept(row, folder):
            yield row


def is_stale(last: Source) -> bool:
    """Return whether another reader has made the rows of a commit."""
    return last.reader != reading.reader()


def _trace_is_kept(row: Capture, directory: Path) -> bool:
    needed = row.status == "ok" and reading.has_trace(row)
    return not needed or traces.path(directory, row.sha256 or "").is_file()
