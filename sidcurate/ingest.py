"""Files -> Captures, each read once and measured once, in workers that may die; then pairs, a split and a manifest."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import rawpy

from sidcurate import levels, manifests, measuring, metadata, pairing, raw, source, splits
from sidcurate.align import trace
from sidcurate.errors import UnreadableRawError, UsageError
from sidcurate.exposure import seconds_in_name
from sidcurate.isolation import Crew, Failure, crew, map_isolated
from sidcurate.scan import RawFile, Scan, scan
from sidcurate.schemas import Capture, Pair, Split, Unpaired
from sidcurate.sensor import Sensor
from sidcurate.source import PairingRules, Source
from sidcurate.times import Times, check_times, with_time

# A row is read again when the reader has changed, even if its file has not.
READER_VERSION = 2


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


@dataclass(frozen=True)
class _Task:
    root: Path
    file: RawFile
    device: str
    manifest: Path | None  # None: keep no trace


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

    Args:
        root: folder of the raws, searched with all folders below it.
        directory: folder of the manifest; its name is the device.
        rules: how to pair; by default as the last time.
        times: exposure times to put in the place of the headers'; by default as the last time.
        jobs: worker processes; one a core by default.
        progress: called with the stage in words, the count done in it and the count to do.
        dry_run: read everything, write nothing; what only traces tell stays unknown.

    Raises:
        UsageError: no raws, or the manifest is about another folder.
        IntegrityError: the manifest that is there is damaged or of a newer schema; nothing is overwritten.
    """
    found = scan(root)
    last = source.read(directory)
    _check_same_root(last, root.resolve(), directory)
    before = manifests.load(directory) if (directory / manifests.SUMS).exists() else None
    check_times(times or {}, {file.path for file in found.raws})
    times = last.times if times is None else times
    captures = _unchanged(last, before.captures if before else (), found.raws, directory, times)
    fresh = [file for file in found.raws if file.path not in captures]
    keep = None if dry_run else directory
    rules = rules or last.pairing
    pairing.check_told(rules.told or (), {file.path for file in found.raws})
    known = measuring.by_hashes(before.pairs, before.captures) if before and not _is_stale(last) else {}
    with crew(jobs) as workers:
        for done, capture in enumerate(read_captures(root, fresh, directory.name, workers, keep), start=1):
            captures[capture.path] = capture
            progress("reading raws", done, len(fresh))
        rows = [with_time(captures[file.path], times) for file in found.raws]
        paired = pair(rows, rules, splits.parts_of(before.pairs) if before else {})
        measure = partial(progress, "measuring pairs")
        pairs = measuring.measured(paired.pairs, rows, directory, known, workers, measure)
    if not dry_run:
        manifests.save(directory, {Capture: rows, Pair: pairs, Unpaired: paired.unpaired})
        source.write(directory, _source(root, found.raws, rules, times))
    gone = {row.path for row in before.captures} - {row.path for row in rows} if before else ()
    return Ingested(found, rows, len(fresh), pairs, paired.unpaired, directory, len(gone))


def pair_again(directory: Path, rules: PairingRules, *, dry_run: bool = False) -> pairing.Pairing:
    """Pair the captures of a manifest anew, without reading a raw."""
    manifest = manifests.load(directory)
    paired = pair(manifest.captures, rules, splits.parts_of(manifest.pairs))
    known = measuring.by_hashes(manifest.pairs, manifest.captures)
    with crew() as workers:
        pairs = measuring.measured(paired.pairs, manifest.captures, directory, known, workers)
    if not dry_run:
        manifests.save(directory, {Pair: pairs, Unpaired: paired.unpaired})
        source.write(directory, source.read(directory).model_copy(update={"pairing": rules}))
    return pairing.Pairing(pairs, paired.unpaired)


def pair(captures: Sequence[Capture], rules: PairingRules, parts: Mapping[str, Split]) -> pairing.Pairing:
    """Return the pairs with a default split; scenes that already have a part keep it."""
    told = rules.told
    paired = pairing.pair(captures, rules.scene_gap_s) if told is None else pairing.pair_as_told(captures, told)
    scenes = {row.scene_id for row in paired.pairs}
    assigned = splits.assign(scenes, splits.default_counts(len(scenes)), kept=parts)
    return pairing.Pairing(splits.apply(paired.pairs, assigned), paired.unpaired)


def read_captures(
    root: Path, files: Sequence[RawFile], device: str, workers: Crew, manifest: Path | None = None
) -> Iterator[Capture]:
    """Yield the capture of each file, in order; a worker that dies costs the pixels of its own file only.

    Args:
        root: folder that the files' paths are relative to.
        files: what to read.
        device: slug of the camera.
        workers: who reads.
        manifest: folder of the manifest, beside which the traces are kept; none are without.
    """
    tasks = (_Task(root, file, device, manifest) for file in files)
    for task, result in map_isolated(_read_capture, tasks, workers):
        yield _unreadable(task, result.reason) if isinstance(result, Failure) else result


def read_capture(root: Path, file: RawFile, device: str, manifest: Path | None = None) -> Capture:
    """Return the capture of one file, read in this process, which a damaged file may crash; see `read_captures`."""
    return _read_capture(_Task(root, file, device, manifest))


def _read_capture(task: _Task) -> Capture:
    path = task.root / task.file.path
    try:
        digest = manifests.sha256_of(path)
        header = metadata.read_header(path)
    except OSError as error:
        return _unreadable(task, f"the file cannot be read ({error.strerror})")
    try:
        frame = raw.read(path)
    except UnreadableRawError as error:
        return _unreadable(task, str(error), digest, header)
    facts = _sensor_facts(frame)
    status = path.stat()
    if (status.st_size, status.st_mtime_ns) != (task.file.size_bytes, task.file.mtime_ns):
        return _unreadable(task, "the file changed while it was read; ingest again when it is complete")
    _keep_trace(task, frame, digest)
    header = metadata.with_second_opinion(header, frame.readings)
    return Capture(**_file_facts(task, digest), status="ok", **_header_facts(header), **facts)


def _keep_trace(task: _Task, frame: raw.RawFrame, digest: str) -> None:
    sensor = frame.sensor
    if task.manifest is None or frame.mosaic is None or not _has_trace(sensor):
        return
    path = measuring.trace_path(task.manifest, digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    trace.save(path, trace.measure(frame.mosaic, sensor.cfa or "", sensor.black_level, sensor.white_level))


def _has_trace(sensor: Sensor | Capture) -> bool:
    """Return whether a frame is one that pairs are measured on: Bayer, and of a size that can be."""
    return sensor.cfa_kind == "bayer" and min(sensor.width or 0, sensor.height or 0) >= trace.SMALLEST_SIDE_PX


def _unreadable(
    task: _Task, reason: str, digest: str | None = None, header: metadata.Metadata | None = None
) -> Capture:
    known = _header_facts(header) if header else {}
    return Capture(**_file_facts(task, digest), status="unreadable", status_reason=reason, **known)


def _file_facts(task: _Task, digest: str | None) -> dict[str, Any]:
    stated = seconds_in_name(Path(task.file.path).stem)
    return {
        "device": task.device,
        "path": task.file.path,
        "sha256": digest,
        "size_bytes": task.file.size_bytes,
        "name_exposure_time_s": float(stated) if stated else None,
    }


def _header_facts(header: metadata.Metadata) -> dict[str, Any]:
    facts = {name: value for name, value in vars(header).items() if name in Capture.model_fields}
    time = header.exposure_time_s
    exposure = (
        {"exposure_num": time.numerator, "exposure_den": time.denominator, "exposure_time_s": float(time)}
        if time
        else {}
    )
    return facts | exposure


def _sensor_facts(frame: raw.RawFrame) -> dict[str, Any]:
    sensor, readings = frame.sensor, frame.readings
    facts = {name: value for name, value in vars(sensor).items() if name in Capture.model_fields}
    facts |= {
        "libraw_exposure_time_s": readings.exposure_time_s,
        "libraw_iso": readings.iso,
        "libraw_f_number": readings.f_number,
    }
    if frame.mosaic is None:
        return facts
    measured = levels.measure(frame.mosaic, sensor.white_level, sensor.bits_declared, sensor.cfa_kind)
    return {**facts, **vars(measured)}


def _unchanged(
    last: Source, rows: Sequence[Capture], files: Sequence[RawFile], directory: Path, times: Times
) -> dict[str, Capture]:
    """Return the rows that still hold: same reader, size and time.

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


def _trace_is_kept(row: Capture, directory: Path) -> bool:
    needed = row.status == "ok" and _has_trace(row)
    return not needed or measuring.trace_path(directory, row.sha256 or "").is_file()


def _is_stale(last: Source) -> bool:
    return last.reader != _reader()


def _source(root: Path, files: Sequence[RawFile], rules: PairingRules, times: Times) -> Source:
    seen = {file.path: (file.size_bytes, file.mtime_ns) for file in files}
    return Source(root=str(root.resolve()), reader=_reader(), pairing=rules, times=dict(times), seen=seen)


def _reader() -> str:
    return f"{READER_VERSION}, LibRaw {'.'.join(map(str, rawpy.libraw_version))}"


def _check_same_root(last: Source, root: Path, directory: Path) -> None:
    if last.root and Path(last.root).resolve() != root:
        raise UsageError(
            f"{directory} is the manifest of {last.root}, not of {root}; name another with --device, or, if the raws "
            f'have moved, set "root" in {directory / source.FILE}'
        )
