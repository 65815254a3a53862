"""Files -> Captures, each read once and measured once, in workers that may die; then pairs, a split and a manifest."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial
from pathlib import Path

from sidcurate import manifests, source
from sidcurate.errors import UsageError
from sidcurate.ingest import headers, journal, kept, matching, reading, shards
from sidcurate.ingest.gathering import Gathering
from sidcurate.ingest.matching import Progress
from sidcurate.ingest.shards import Shard
from sidcurate.ingest.times import Times, check_times, with_time
from sidcurate.isolation import crew
from sidcurate.manifests import Given, Manifest
from sidcurate.pairs import pairing, traces
from sidcurate.places.place import Folder, Place
from sidcurate.places.scan import RawFile, Scan
from sidcurate.schemas import Capture, Pair, Record, Unpaired
from sidcurate.source import PairingRules, Source
from sidcurate.tables.bounded import Packed
from sidcurate.tables.rows import Rows


@dataclass(frozen=True)
class Scanned:
    """What a folder holds, the captures of its raws, and how many of them were read for it."""

    scan: Scan
    captures: Rows[Capture]
    read: int

    @cached_property
    def unreadable(self) -> list[Capture]:
        """Captures whose pixels no reader could decode."""
        return self.captures.take(self.captures.named("status", ["unreadable"])).records()


@dataclass(frozen=True)
class Ingested(Scanned):
    """What an ingest found and wrote."""

    pairs: Rows[Pair]
    unpaired: Rows[Unpaired]
    directory: Path
    gone: int


@dataclass(frozen=True)
class IngestedShard(Scanned):
    """What the ingest of one shard found, and wrote into its folder: `captures` are those that it owns."""

    shard: Shard
    folder: Path


@dataclass(frozen=True)
class _Start:
    """What an ingest goes out from.

    Attributes:
        place: where the raws are.
        stood: what stood there at the start.
        found: all that was found there.
        files: the raws that are to have a row.
        device: slug of the camera.
        before: its manifest, where there is one.
        folder: where the rows, and the traces beside them, will be.
        commits: rows from earlier; of two of one raw, the later one counts.
        rules: how to pair.
        times: the exposure times that a person gave.
    """

    place: Place
    stood: Hashable
    found: Scan
    files: Sequence[RawFile]
    device: str
    before: Manifest | None
    folder: Path
    commits: Sequence[kept.Commit]
    rules: PairingRules
    times: Times


def ingest(
    root: Path | Place,
    directory: Path,
    *,
    rules: PairingRules | None = None,
    times: Times | None = None,
    jobs: int | None = None,
    read_captures: reading.ReadCaptures | None = None,
    progress: Progress = lambda stage, done, total: None,
    headers_only: bool = False,
    dry_run: bool = False,
) -> Ingested:
    """Read the raws of a folder into the manifest of one device; unchanged files are not read again.

    Rows are kept as they are read, so that an interrupted ingest goes on where it was.

    Args:
        root: folder of the raws, searched with all folders below it, or another place that holds them.
        directory: folder of the manifest; its name is the device.
        rules: how to pair; by default as the last time.
        times: exposure times to put in the place of the headers'; by default as the last time.
        jobs: worker processes; one a core by default.
        read_captures: reads the raws; these processes by default, which measure the pairs in any case.
        progress: called as often as there is something to say.
        headers_only: read no more of new raws than their headers; an ingest without it completes their rows.
        dry_run: read everything, write nothing; what only traces tell stays unknown.

    Raises:
        UsageError: no raws or too many, the manifest is about another folder, the folder went away, or another process
            has changed the manifest meanwhile.
        MissingResourceError: a trace cannot be written, or this machine cannot reach the raws.
        IntegrityError: the manifest that is there is damaged or of a newer schema; nothing is overwritten.
    """
    start = _start(root, directory, rules, times, progress)
    before = start.before
    with crew(jobs) as workers:
        here = partial(headers.read_captures if headers_only else reading.read_captures, workers=workers)
        packed, read = _captures(start, read_captures or here, progress, headers_only=headers_only, dry_run=dry_run)
        captures = Rows.of(Capture, packed)
        is_stale = any(kept.is_stale(commit.said) for commit in start.commits)
        known = matching.measured_before(None if is_stale else before)
        pairs, unpaired = matching.paired(captures, directory, start.rules, before, known, workers, progress)
    if not dry_run:
        tables: Mapping[type[Record], Given] = {Capture: packed, Pair: pairs, Unpaired: unpaired}
        matching.save(directory, tables, before, _source(start), progress)
        journal.sweep(directory)
    gone = captures.places("path", before.rows(Capture).arrow("path")) < 0 if before else captures.nowhere()
    rows = Rows.of(Pair, pairs), Rows.of(Unpaired, unpaired)
    return Ingested(start.found, captures, read, *rows, directory, int(gone.sum()))


def ingest_shard(
    root: Path | Place,
    directory: Path,
    shard: Shard,
    *,
    rules: PairingRules | None = None,
    times: Times | None = None,
    jobs: int | None = None,
    progress: Progress = lambda stage, done, total: None,
    dry_run: bool = False,
) -> IngestedShard:
    """Read the raws that one shard owns into its own folder beside the manifest; see `merging` for the rest.

    What the manifest or an earlier run of the shard knows is not read again. All else is as for `ingest`.

    Args:
        root: folder of all raws, or another place that holds them.
        directory: folder of the manifest that the shard will be a part of; nothing in it is changed.
        shard: which part to read.
        rules: how all will be paired.
        times: as for `ingest`, as are the others.
        jobs: worker processes.
        progress: called as often as there is something to say.
        dry_run: read everything, write nothing.

    Raises:
        UsageError, MissingResourceError, IntegrityError: as `ingest`; the last for a damaged shard too.
    """
    start = _start(root, directory, rules, times, progress, shard)
    with crew(jobs) as workers:
        packed, read = _captures(start, partial(reading.read_captures, workers=workers), progress, dry_run=dry_run)
    if not dry_run:
        described = shards.Statement(
            device=start.device,
            number=shard.number,
            count=shard.count,
            listing=shards.listing(start.found.raws),
            source=_source(start),
        )
        shards.save(start.folder, described, packed)
        journal.sweep(start.folder)
    return IngestedShard(start.found, Rows.of(Capture, packed), read, shard, start.folder)


def _start(
    root: Path | Place,
    directory: Path,
    rules: PairingRules | None,
    times: Times | None,
    progress: Progress,
    shard: Shard | None = None,
) -> _Start:
    """Return what the ingest of a manifest, or of a shard of it, goes out from; errors as of `ingest`."""
    place = Folder(root) if isinstance(root, Path) else root
    found, stood = place.scan(lambda count: progress("listing raws", count, None)), place.standing()
    progress("listing raws", len(found.raws), len(found.raws))
    last = source.read(directory)
    source.check_same_root(last, place.name, directory)
    before = manifests.load(directory, progress) if (directory / manifests.SUMS).exists() else None
    commits = [kept.Commit(last, before.rows(Capture), directory)] if before else []
    folder: Path = directory
    files: Sequence[RawFile] = found.raws
    if shard:
        folder = shards.folder_of(directory, shard)
        files = [file for file in files if shard.owns(file.path)]
        if shards.is_finished(folder):
            part = shards.load(folder, progress)
            last = part.statement.source
            commits.append(kept.Commit(last, part.rows, folder))
    rules, times = _told(found, last, rules, times)
    return _Start(place, stood, found, files, directory.name, before, folder, commits, rules, times)


def _told(
    found: Scan, last: Source, rules: PairingRules | None, times: Times | None
) -> tuple[PairingRules, Mapping[str, Fraction]]:
    """Return how to pair and the exposure times that are given, where nothing was said as the last time."""
    paths = {file.path for file in found.raws}
    check_times(times or {}, paths)
    rules = rules or last.pairing
    pairing.check_told(rules.told or (), paths)
    return rules, last.times if times is None else times


def _captures(
    start: _Start, read_captures: reading.ReadCaptures, progress: Progress, *, headers_only: bool = False, dry_run: bool
) -> tuple[Packed, int]:
    """Return the captures of all files, kept ones and those that are read now, and how many these are."""
    gathered = Gathering(file.path for file in start.files)
    hold = {"headers_only": headers_only}
    for commit in start.commits:
        holding, timed = commit.holding(start.files, start.times, **hold), commit.rows.named("path", start.times)
        gathered.extend(commit.rows, holding & ~timed, partial(progress, "keeping rows"))
        gathered.update(with_time(row, start.times) for row in commit.rows.take(holding & timed))
    taken_up = partial(progress, "taking up where it was")
    left = kept.left(start.place, start.files, start.folder, start.device, taken_up, **hold)
    gathered.update(with_time(row, start.times) for row in left)
    fresh = [file for file in start.files if file.path not in gathered]
    folder = None if dry_run else start.folder
    readings = read_captures(start.place, fresh, start.device, folder)
    read = _journaled(readings, start.place, folder, progress, len(fresh))
    gathered.update(with_time(row, start.times) for row in read)
    if start.place.standing() != start.stood:
        away = f"{start.place} went away while it was read"
        raise UsageError(f"{away}; bring it back and ingest again: what was read is kept")
    return gathered.packed(start.folder, partial(progress, "packing captures")), len(fresh)


def _journaled(
    readings: Iterator[tuple[RawFile, Capture]], place: Place, folder: Path | None, progress: Progress, total: int
) -> Iterator[Capture]:
    """Yield captures, each kept in the journal of a folder as soon as it was read, if there is a folder."""
    if folder is not None:
        traces.sweep(folder)
    with journal.appending(folder, place.name, reading.reader()) if folder else nullcontext() as append:
        for done, (file, capture) in enumerate(readings, start=1):
            if append and (capture.sha256 or capture.status == "header"):
                append(file, capture)
            yield capture
            progress("reading raws", done, total)


def _source(start: _Start) -> Source:
    seen = {file.path: file.seen for file in start.files}
    said = {"root": start.place.name, "pairing": start.rules, "times": dict(start.times)}
    return Source(**said, reader=reading.reader(), seen=seen)
