"""Files -> Captures, each read once and measured once, in workers that may die; then pairs, a split and a manifest."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sidcurate import journal, manifests, measuring, pairing, reading, source, splits
from sidcurate.errors import UsageError
from sidcurate.isolation import Crew, crew
from sidcurate.scan import RawFile, Scan, scan
from sidcurate.schemas import Capture, Pair, Record, Split, Unpaired
from sidcurate.source import PairingRules, Source
from sidcurate.times import Times, check_times, with_time


@dataclass(frozen=True)
class Ingested:
    """What an ingest found and wrote."""

    scan: Scan
    captures: list[Capture]
    read: int
    pairs: list[Pair]
    unpaired: list[Unpaired]
    directory: Path
    gone: int

    @property
    def unreadable(self) -> list[Capture]:
        """Captures whose pixels no reader could decode."""
        return [capture for capture in self.captures if capture.status == "unreadable"]


def ingest(
    root: Path,
    directory: Path,
    *,
    rules: PairingRules | None = None,
    times: Times | None = None,
    jobs: int | None = None,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    dry_run: bool = False,
) -> Ingested:
    """Read the raws of a folder into the manifest of one device; unchanged files are not read again.

    Rows are kept as they are read, so that an interrupted ingest goes on where it was.

    Args:
        root: folder of the raws, searched with all folders below it.
        directory: folder of the manifest; its name is the device.
        rules: how to pair; by default as the last time.
        times: exposure times to put in the place of the headers'; by default as the last time.
        jobs: worker processes; one a core by default.
        progress: called with the stage in words, the count done in it and the count to do.
        dry_run: read everything, write nothing; what only traces tell stays unknown.

    Raises:
        UsageError: no raws, the manifest is about another folder, the folder went away, or another process has changed
            the manifest meanwhile.
        MissingResourceError: a trace cannot be written.
        IntegrityError: the manifest that is there is damaged or of a newer schema; nothing is overwritten.
    """
    found = scan(root)
    place = _place(root)
    last = source.read(directory)
    _check_same_root(last, root.resolve(), directory)
    before = manifests.load(directory) if (directory / manifests.SUMS).exists() else None
    check_times(times or {}, {file.path for file in found.raws})
    times = last.times if times is None else times
    captures = _known(last, before.captures if before else (), found.raws, directory, times)
    captures |= _left(root, found.raws, directory)
    fresh = [file for file in found.raws if file.path not in captures]
    rules = rules or last.pairing
    pairing.check_told(rules.told or (), {file.path for file in found.raws})
    known = measuring.by_hashes(before.pairs, before.captures) if before and not _is_stale(last) else {}
    if not dry_run:
        measuring.sweep_traces(directory)
    with crew(jobs) as workers:
        for done, capture in enumerate(_read(root, fresh, directory, workers, dry_run=dry_run), start=1):
            captures[capture.path] = capture
            progress("reading raws", done, len(fresh))
        if _place(root) != place:
            raise UsageError(
                f"{root} went away while it was read; bring it back and ingest again: what was read is kept"
            )
        rows = [with_time(captures[file.path], times) for file in found.raws]
        paired = pair(rows, rules, splits.parts_of(before.pairs) if before else {})
        measure = partial(progress, "measuring pairs")
        pairs = measuring.measured(paired.pairs, rows, directory, known, workers, measure)
    if not dry_run:
        told, made_from = _source(root, found.raws, rules, times), before.sums if before else {}
        tables: Mapping[type[Record], Sequence[Record]] = {Capture: rows, Pair: pairs, Unpaired: paired.unpaired}
        manifests.save(directory, tables, based_on=made_from, source=told)
        journal.sweep(directory)
    gone = {row.path for row in before.captures} - {row.path for row in rows} if before else ()
    return Ingested(found, rows, len(fresh), pairs, paired.unpaired, directory, len(gone))


def _read(root: Path, files: Sequence[RawFile], directory: Path, workers: Crew, *, dry_run: bool) -> Iterator[Capture]:
    """Yield the captures of some files, each kept in the journal before it is yielded."""
    if dry_run:
        yield from (capture for _, capture in reading.read_captures(root, files, directory.name, workers))
        return
    with journal.appending(directory, root.resolve(), reading.reader()) as append:
        for file, capture in reading.read_captures(root, files, directory.name, workers, directory):
            if capture.sha256:
                append(file, capture)
            yield capture


def _place(root: Path) -> tuple[int, int] | None:
    """Return which folder stands under a path; another one, or none, when a card was pulled."""
    try:
        status = root.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def pair_again(
    directory: Path,
    rules: PairingRules,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    *,
    dry_run: bool = False,
) -> pairing.Pairing:
    """Pair the captures of a manifest anew, without reading a raw."""
    manifest = manifests.load(directory, progress)
    captures, before = manifest.rows(Capture).views(), manifest.rows(Pair).views()
    paired = pair(captures, rules, splits.parts_of(before))
    known = measuring.by_hashes(before, captures)
    with crew() as workers:
        pairs = measuring.measured(
            paired.pairs, captures, directory, known, workers, partial(progress, "measuring pairs")
        )
    if not dry_run:
        told = source.read(directory).model_copy(update={"pairing": rules})
        manifests.save(directory, {Pair: pairs, Unpaired: paired.unpaired}, based_on=manifest.sums, source=told)
    return pairing.Pairing(pairs, paired.unpaired)


def pair(captures: Sequence[Capture], rules: PairingRules, parts: Mapping[str, Split]) -> pairing.Pairing:
    """Return the pairs with a default split; scenes that already have a part keep it."""
    told = rules.told
    paired = pairing.pair(captures, rules.scene_gap_s) if told is None else pairing.pair_as_told(captures, told)
    scenes = {row.scene_id for row in paired.pairs}
    assigned = splits.assign(scenes, splits.default_counts(len(scenes)), kept=parts)
    return pairing.Pairing(splits.apply(paired.pairs, assigned), paired.unpaired)


def _known(
    last: Source, rows: Sequence[Capture], files: Sequence[RawFile], directory: Path, times: Times
) -> dict[str, Capture]:
    """Return the committed rows that still hold: same reader, size and time.

    A row without a hash was never read through, one with an exposure time that nobody gives any more has lost its own.
    """
    if _is_stale(last):
        return {}
    whole = (row for row in rows if row.sha256 and (row.exposure_source != "override" or row.path in times))
    by_path = {row.path: row for row in whole if _trace_is_kept(row, directory)}
    return {
        file.path: by_path[file.path]
        for file in files
        if file.path in by_path and last.seen.get(file.path) == (file.size_bytes, file.mtime_ns)
    }


def _left(root: Path, files: Sequence[RawFile], directory: Path) -> dict[str, Capture]:
    """Return the rows that an ingest since the last commit has read, and did not come to commit."""
    left = journal.rows(directory, root.resolve(), reading.reader())
    return {file.path: left[file] for file in files if file in left and _trace_is_kept(left[file], directory)}


def _trace_is_kept(row: Capture, directory: Path) -> bool:
    needed = row.status == "ok" and reading.has_trace(row)
    return not needed or measuring.trace_path(directory, row.sha256 or "").is_file()


def _is_stale(last: Source) -> bool:
    return last.reader != reading.reader()


def _source(root: Path, files: Sequence[RawFile], rules: PairingRules, times: Times) -> Source:
    seen = {file.path: (file.size_bytes, file.mtime_ns) for file in files}
    return Source(root=str(root.resolve()), reader=reading.reader(), pairing=rules, times=dict(times), seen=seen)


def _check_same_root(last: Source, root: Path, directory: Path) -> None:
    if last.root and Path(last.root).resolve() != root:
        raise UsageError(
            f"{directory} is the manifest of {last.root}, not of {root}; name another with --device, or, if the raws "
            f'have moved, set "root" in {source.path(directory)}'
        )
