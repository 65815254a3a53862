"""Rows that need not be made again: those of an earlier commit, and those that an interrupted ingest has left."""

from collections.abc import Sequence
from pathlib import Path

from sidcurate import journal, reading, traces
from sidcurate.places import Place
from sidcurate.rows import Rows
from sidcurate.scan import RawFile
from sidcurate.schemas import Capture
from sidcurate.source import Source
from sidcurate.times import Times


def committed(
    last: Source,
    rows: Rows[Capture],
    files: Sequence[RawFile],
    directory: Path,
    times: Times,
    *,
    headers_only: bool = False,
) -> dict[str, Capture]:
    """Return the committed rows of some files that still hold: same reader, size and time, by path.

    A row without a hash was never read through, and holds only where headers are all that is asked for; one with an
    exposure time that nobody gives any more has lost its own.

    Args:
        last: what was said of the rows when they were committed.
        rows: all that were.
        files: as they are now.
        directory: where they were committed, and where their traces are.
        times: the exposure times that are given now.
        headers_only: whether what a header says is enough.
    """
    if is_stale(last):
        return {}
    same = {file.path for file in files if last.seen.get(file.path) == file.seen}
    enough = ~rows.sha256.unknown | (rows.status.equals("header") & headers_only)
    whole = rows.take(rows.named("path", same) & enough).records()
    return {
        row.path: row
        for row in whole
        if (row.exposure_source != "override" or row.path in times) and _trace_is_kept(row, directory)
    }


def left(
    place: Place, files: Sequence[RawFile], folder: Path, device: str, *, headers_only: bool = False
) -> dict[str, Capture]:
    """Return the rows of some files that an ingest since the last commit has read, and did not come to commit."""
    found = journal.rows(folder, place.name, reading.reader(), device)
    return {
        file.path: found[file]
        for file in files
        if file in found and (headers_only or found[file].status != "header") and _trace_is_kept(found[file], folder)
    }


def is_stale(last: Source) -> bool:
    """Return whether another reader has made the rows of a commit."""
    return last.reader != reading.reader()


def _trace_is_kept(row: Capture, directory: Path) -> bool:
    needed = row.status == "ok" and reading.has_trace(row)
    return not needed or traces.path(directory, row.sha256 or "").is_file()
