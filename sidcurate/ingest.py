"""Files -> Captures, each read once and measured once, in workers that may die; then pairs, a split and a manifest."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

from sidcurate import headers, journal, kept, manifests, measuring, pairing, reading, shards, source, splits, traces
from sidcurate.errors import UsageError
from sidcurate.isolation import crew
from sidcurate.manifests import Given, Manifest
from sidcurate.places import Folder, Place
from sidcurate.rows import Rows
from sidcurate.scan import RawFile, Scan
from sidcurate.schemas import Capture, Pair, Record, Split, Unpaired
from sidcurate.shards import Shard
from sidcurate.source import PairingRules, Source
from sidcurate.times import Times, check_times, with_time

# What an ingest is made from, and makes. Findings that somebody commits meanwhile are but stale.
NOT_FINDINGS = Capture, Pair, Unpaired


@dataclass(frozen=True)
class Scanned:
    """What a folder holds, the captures of its raws, and how many of them were read for it."""

    scan: Scan
    captures: list[Capture]
    read: int

    @property
    def unreadable(self) -> list[Capture]:
        """Captures whose pixels no reader could decode."""
        return [capture for capture in self.captures if capture.status == "unreadable"]


@dataclass(frozen=True)
class Ingested(Scanned):
    """What an ingest found and wrote."""

    pairs: list[Pair]
    unpaired: list[Unpaired]
    directory: Path
    gone: int


@dataclass(frozen=True)
class IngestedShard(Scanned):
    """What the ingest of one shard found, and wrote into its folder: `captures` are those that it owns."""

    shard: Shard
    folder: Path


@dataclass(frozen=True)
class PairedAgain:
    """The pairs that a manifest has now, by column, and the captures in none."""

    pairs: Rows[Pair]
    unpaired: list[Unpaired]


def ingest(
    root: Path | Place,
    directory: Path,
    *,
    rules: PairingRules | None = None,
    times: Times | None = None,
    jobs: int | None = None,
    readers: reading.Readers | None = None,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
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
        readers: who reads the raws; these processes by default, which measure the pairs in any case.
        progress: called with the stage in words, the count done in it and the count to do.
        headers_only: read no more of new raws than their headers; an ingest without it completes their rows.
        dry_run: read everything, write nothing; what only traces tell stays unknown.

    Raises:
        UsageError: no raws, the manifest is about another folder, the folder went away, or another process has changed
            the manifest meanwhile.
        MissingResourceError: a trace cannot be written, or this machine cannot reach the raws.
        IntegrityError: the manifest that is there is damaged or of a newer schema; nothing is overwritten.
    """
    place = Folder(root) if isinstance(root, Path) else root
    found, stood = place.scan(), place.standing()
    last = source.read(directory)
    check_same_root(last, place.name, directory)
    before = manifests.load(directory) if (directory / manifests.SUMS).exists() else None
    rules, times = _told(found, last, rules, times)
    hold = {"headers_only": headers_only}
    captures = kept.committed(last, before.rows(Capture), found.raws, directory, times, **hold) if before else {}
    captures |= kept.left(place, found.raws, directory, directory.name, **hold)
    fresh = [file for file in found.raws if file.path not in captures]
    known = measured_before(before) if before and not kept.is_stale(last) else measuring.Known.nothing()
    with crew(jobs) as workers:
        if headers_only:
            readings = headers.read_captures(place, fresh, directory.name)
        else:
            who = readers or reading.LocalReaders(workers)
            readings = who.read_captures(place, fresh, directory.name, None if dry_run else directory)
        captures |= _journaled(readings, place, None if dry_run else directory, progress, len(fresh))
        _check_standing(place, stood)
        rows = [with_time(captures[file.path], times) for file in found.raws]
        paired = pair(rows, rules, parts_of(before) if before else {})
        measure = partial(progress, "measuring pairs")
        pairs = measuring.measured(paired.pairs, rows, directory, known, workers, measure)
    if not dry_run:
        told, made_from = _source(place, found.raws, rules, times), manifests.based_on(before, *NOT_FINDINGS)
        tables: Mapping[type[Record], Given] = {Capture: rows, Pair: pairs, Unpaired: paired.unpaired}
        manifests.save(directory, tables, based_on=made_from, source=told)
        journal.sweep(directory)
    gone = set(before.rows(Capture).arrow("path").to_pylist()) - {row.path for row in rows} if before else ()
    return Ingested(found, rows, len(fresh), Rows.of(Pair, pairs).records(), paired.unpaired, directory, len(gone))


def ingest_shard(
    root: Path | Place,
    directory: Path,
    shard: Shard,
    *,
    rules: PairingRules | None = None,
    times: Times | None = None,
    jobs: int | None = None,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    dry_run: bool = False,
) -> IngestedShard:
    """Read the raws that one shard owns into its own folder beside the manifest; see `merging` for the rest.

    What the manifest or an earlier run of the shard knows is not read again.

    Args:
        root: folder of all raws, or another place that holds them.
        directory: folder of the manifest that the shard will be a part of; nothing in it is changed.
        shard: which part to read.
        rules: how all will be paired; by default as the last time.
        times: as for `ingest`.
        jobs: worker processes; one a core by default.
        progress: called with the stage in words, the count done in it and the count to do.
        dry_run: read everything, write nothing.

    Raises:
        UsageError, MissingResourceError, IntegrityError: as `ingest`; the last for a damaged shard too.
    """
    place = Folder(root) if isinstance(root, Path) else root
    found, stood = place.scan(), place.standing()
    folder = shards.folder_of(directory, shard)
    mine = [file for file in found.raws if shard.owns(file.path)]
    last = source.read(directory)
    check_same_root(last, place.name, directory)
    before = manifests.load(directory) if (directory / manifests.SUMS).exists() else None
    part = shards.load(folder) if shards.is_finished(folder) else None
    rules, times = _told(found, part.statement.source if part else last, rules, times)
    captures = kept.committed(last, before.rows(Capture), mine, directory, times) if before else {}
    captures |= kept.committed(part.statement.source, part.rows, mine, folder, times) if part else {}
    captures |= kept.left(place, mine, folder, directory.name)
    fresh = [file for file in mine if file.path not in captures]
    with crew(jobs) as workers:
        readings = reading.read_captures(place, fresh, directory.name, workers, None if dry_run else folder)
        captures |= _journaled(readings, place, None if dry_run else folder, progress, len(fresh))
        _check_standing(place, stood)
    rows = [with_time(captures[file.path], times) for file in mine]
    if not dry_run:
        described = shards.Statement(
            device=directory.name,
            number=shard.number,
            count=shard.count,
            listing=shards.listing(found.raws),
            source=_source(place, mine, rules, times),
        )
        shards.save(folder, described, rows)
        journal.sweep(folder)
    return IngestedShard(found, rows, len(fresh), shard, folder)


def _told(
    found: Scan, last: Source, rules: PairingRules | None, times: Times | None
) -> tuple[PairingRules, Mapping[str, Fraction]]:
    """Return how to pair and the exposure times that are given, where nothing was said as the last time."""
    paths = {file.path for file in found.raws}
    check_times(times or {}, paths)
    rules = rules or last.pairing
    pairing.check_told(rules.told or (), paths)
    return rules, last.times if times is None else times


def _journaled(
    readings: Iterator[tuple[RawFile, Capture]],
    place: Place,
    folder: Path | None,
    progress: Callable[[str, int, int], None],
    total: int,
) -> dict[str, Capture]:
    """Return captures by path, each kept in the journal of a folder as soon as it was read, if there is a folder."""
    if folder is not None:
        traces.sweep(folder)
    captures: dict[str, Capture] = {}
    with journal.appending(folder, place.name, reading.reader()) if folder else nullcontext() as append:
        for file, capture in readings:
            if append and (capture.sha256 or capture.status == "header"):
                append(file, capture)
            captures[capture.path] = capture
            progress("reading raws", len(captures), total)
    return captures


def _check_standing(place: Place, stood: Hashable) -> None:
    if place.standing() != stood:
        raise UsageError(f"{place} went away while it was read; bring it back and ingest again: what was read is kept")


def pair_again(
    directory: Path,
    rules: PairingRules,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    *,
    dry_run: bool = False,
) -> PairedAgain:
    """Pair the captures of a manifest anew, without reading a raw."""
    manifest = manifests.load(directory, progress)
    captures = manifest.rows(Capture).views()
    paired = pair(captures, rules, parts_of(manifest), partial(progress, "pairing captures"))
    known = measured_before(manifest)
    with crew() as workers:
        pairs = measuring.measured(
            paired.pairs, captures, directory, known, workers, partial(progress, "measuring pairs")
        )
    if not dry_run:
        told = source.read(directory).model_copy(update={"pairing": rules})
        manifests.save(
            directory,
            {Pair: pairs, Unpaired: paired.unpaired},
            based_on=manifests.based_on(manifest, *NOT_FINDINGS),
            source=told,
        )
    return PairedAgain(Rows.of(Pair, pairs), paired.unpaired)


def measured_before(manifest: Manifest) -> measuring.Known:
    """Return what is known of the pixels of the pairs of a manifest."""
    return measuring.Known.of(manifest.rows(Pair), manifest.rows(Capture))


def parts_of(manifest: Manifest) -> dict[str, Split]:
    """Return the part of each scene of a manifest that has one."""
    return {scene: part for scene, part in manifest.rows(Pair).facts("scene_id", "split") if part}


def pair(
    captures: Sequence[Capture],
    rules: PairingRules,
    parts: Mapping[str, Split],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> pairing.Pairing:
    """Return the pairs with a default split; scenes that already have a part keep it."""
    if rules.told is None:
        paired = pairing.pair(captures, rules.scene_gap_s, progress)
    else:
        paired = pairing.pair_as_told(captures, rules.told)
    scenes = {row.scene_id for row in paired.pairs}
    assigned = splits.assign(scenes, splits.default_counts(len(scenes)), kept=parts)
    pairs = [match._replace(split=assigned.get(match.scene_id)) for match in paired.pairs]
    return pairing.Pairing(pairs, paired.unpaired)


def _source(place: Place, files: Sequence[RawFile], rules: PairingRules, times: Times) -> Source:
    seen = {file.path: file.seen for file in files}
    return Source(root=place.name, reader=reading.reader(), pairing=rules, times=dict(times), seen=seen)


def check_same_root(last: Source, root: str, directory: Path) -> None:
    """Refuse a manifest that is about the raws of another place.

    Args:
        last: what was said of the manifest.
        root: where the raws are, as `source.json` names it.
        directory: folder of the manifest.

    Raises:
        UsageError: it is.
    """
    if last.root and _resolved(last.root) != root:
        raise UsageError(
            f"{directory} is the manifest of {last.root}, not of {root}; name another with --device, or, if the raws "
            f'have moved, set "root" in {source.path(directory)}'
        )


def _resolved(root: str) -> str:
    return root if source.is_url(root) else str(Path(root).resolve())
