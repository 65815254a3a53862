"""Shards -> the manifest that one ingest of the whole folder would have written, byte for byte.

A pair needs the traces of both its frames, which may lie in two shards: pairs are made and measured here, by a crew.
"""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sidcurate import manifests, source
from sidcurate.align import trace
from sidcurate.errors import IntegrityError, UsageError
from sidcurate.ingest import kept, matching, reading, shards
from sidcurate.ingest.gathering import Gathering
from sidcurate.ingest.matching import Progress
from sidcurate.ingest.shards import Part
from sidcurate.isolation import crew
from sidcurate.manifests import Given
from sidcurate.pairs import measuring, traces
from sidcurate.pairs.pairing import Match
from sidcurate.schemas import Capture, Pair, Record, Unpaired
from sidcurate.storage.durable import read_bounded, write_whole
from sidcurate.tables.bounded import Packed
from sidcurate.tables.rows import Rows, table_of

_MOST_TRACE_BYTES = 1 << 26


@dataclass(frozen=True)
class Merged:
    """What shards became."""

    parts: Sequence[Part]
    captures: Rows[Capture]
    pairs: Sequence[Match]
    directory: Path


def merge(
    folders: Iterable[Path],
    manifests_root: Path,
    *,
    jobs: int | None = None,
    progress: Progress = lambda stage, done, total: None,
    dry_run: bool = False,
) -> Merged:
    """Write the manifest of a device from all its shards; the shards stay as they are, and no raw is read.

    Args:
        folders: those of the shards, in any order; one that is named twice counts once.
        manifests_root: folder that holds the manifest of each device.
        jobs: worker processes that measure pairs; one a core by default.
        progress: called with the stage in words, the count done in it and the count to do.
        dry_run: check and pair, write nothing; what only traces tell stays unknown.

    Raises:
        UsageError: they are not all the shards of one ingest, or the manifest is about another folder.
        IntegrityError: a shard, or the manifest that is there, is damaged; nothing is overwritten.
        MissingResourceError: the disk is full, or refuses.
    """
    parts = _parts(folders, progress)
    said = parts[0].statement
    directory = manifests_root / said.device
    last = source.read(directory)
    source.check_same_root(last, said.source.root or "", directory)
    before = manifests.load(directory) if (directory / manifests.SUMS).exists() else None
    table = _gathered(parts, directory)
    captures = Rows.of(Capture, table)
    show = partial(progress, "pairing captures")
    paired = matching.pair(captures.views(), said.source.pairing, matching.parts_of(before), show)
    if dry_run:
        return Merged(parts, captures, paired.pairs, directory)
    known = matching.measured_before(None if kept.is_stale(last) else before)
    _take_traces(parts, directory, progress)
    with crew(jobs) as workers:
        pairs = measuring.measured(paired.pairs, captures, directory, known, workers, progress)
    seen = {path: state for part in parts for path, state in part.statement.source.seen.items()}
    told = said.source.model_copy(update={"seen": dict(sorted(seen.items()))})
    tables: dict[type[Record], Given] = {Capture: table, Pair: pairs, Unpaired: table_of(Unpaired, paired.unpaired)}
    matching.save(directory, tables, before, told, progress)
    return Merged(parts, captures, paired.pairs, directory)


def _parts(folders: Iterable[Path], progress: Progress) -> list[Part]:
    """Return the shards by number; of copies one.

    Raises:
        UsageError: they are not all the shards of one ingest by this reader.
    """
    found = [shards.load(folder, progress) for folder in folders]
    parts = sorted({tuple(part.sums.items()): part for part in found}.values(), key=lambda part: part.shard)
    shards.check_parts(parts)
    if kept.is_stale(parts[0].statement.source):
        raise UsageError(
            f"the shards were read by {parts[0].statement.source.reader}, this is {reading.reader()}: merge them with "
            "the sidcurate that made them, or make them again with this one"
        )
    return parts


def _gathered(parts: Sequence[Part], directory: Path) -> Packed:
    gathered = Gathering(sorted(path for part in parts for path in part.statement.source.seen))
    for part in parts:
        gathered.extend(part.rows, ~part.rows.nowhere())
    return gathered.packed(directory)


def _take_traces(parts: Sequence[Part], directory: Path, progress: Progress) -> None:
    """Copy the traces that the manifest does not have; under their hashes they meet nothing else.

    Raises:
        IntegrityError: one is missing or damaged.
    """
    traces.sweep(directory)
    done, total = 0, sum(len(part.rows) for part in parts)
    for part in parts:
        for row in (row for batch in part.rows.batches() for row in batch.views()):
            target = traces.path(directory, row.sha256 or "")
            if row.status == "ok" and reading.has_trace(row) and not target.is_file():
                write_whole(target, _trace(part, row.path, traces.path(part.folder, row.sha256 or "")))
            done += 1
            progress("copying traces", done, total)


def _trace(part: Part, raw: str, path: Path) -> bytes:
    """Return the bytes of a trace that can be read through."""
    try:
        trace.load(path)
        return read_bounded(path, _MOST_TRACE_BYTES)
    except (IntegrityError, FileNotFoundError) as error:
        raise IntegrityError(
            f"{path}, the trace of {raw}, is damaged or missing ({error}); delete it and run "
            f"`sidcurate ingest {shlex.quote(part.statement.source.root or '')} "
            f"--device {part.statement.device} --shard {part.shard}`"
        ) from error
