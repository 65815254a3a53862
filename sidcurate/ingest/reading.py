"""One raw file -> its Capture: read once, measured once, in a worker that may die."""

import hashlib
import io
import itertools
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from sidcurate.align import detail, trace
from sidcurate.errors import UnreadableRawError
from sidcurate.exposure import seconds_in_name
from sidcurate.isolation import Crew, Failure, map_isolated
from sidcurate.pairs import traces
from sidcurate.places.place import Place
from sidcurate.places.scan import RawFile
from sidcurate.raws import levels, metadata, raw
from sidcurate.raws.sensor import Sensor
from sidcurate.schemas import Capture

# A row is read again when the reader has changed, even if its file has not.
VERSION = 7

_HEADER_FACTS = sorted(set(metadata.Metadata.__dataclass_fields__) & set(Capture.model_fields) - {"exposure_time_s"})


@dataclass(frozen=True)
class _Task:
    place: Place
    file: RawFile
    device: str
    manifest: Path | None  # None: keep no trace
    coming: RawFile | None = None  # Whose turn it is when this one is done.


class ReadCaptures(Protocol):
    """Reads raws: by processes of this machine or of others, or no more than their headers."""

    def __call__(
        self, place: Place, files: Sequence[RawFile], device: str, manifest: Path | None = None
    ) -> Iterator[tuple[RawFile, Capture]]:
        """Yield each file with its capture, in any order; see the function of that name."""


def reader() -> str:
    """Return what reads: rows of another reader do not hold."""
    return f"{VERSION}, LibRaw {raw.LIBRAW}"


def read_captures(
    place: Place, files: Sequence[RawFile], device: str, manifest: Path | None = None, *, workers: Crew
) -> Iterator[tuple[RawFile, Capture]]:
    """Yield each file with its capture, as they come; a worker that dies costs the pixels of its own file only.

    Args:
        place: where the files are.
        files: what to read.
        device: slug of the camera.
        manifest: folder of the manifest, beside which the traces are kept; none are without.
        workers: who reads.

    Raises:
        MissingResourceError: a trace cannot be written, or nothing can be had from the place.
    """
    coming = (*files[workers.count :], *itertools.repeat(None, workers.count))
    tasks = (_Task(place, file, device, manifest, later) for file, later in zip(files, coming, strict=False))
    for task, result in map_isolated(_read_capture, tasks, workers, place.seconds):
        yield task.file, _without_pixels(task, result, workers) if isinstance(result, Failure) else result


def read_capture(place: Place, file: RawFile, device: str, manifest: Path | None = None) -> Capture:
    """Return the capture of one file, read in this process, which a damaged file may crash; see `read_captures`."""
    return _read_capture(_Task(place, file, device, manifest))


def unread(place: Place, file: RawFile, device: str, reason: str) -> Capture:
    """Return the row of a file that nobody could read: without a hash, so that the next ingest tries again."""
    return _unreadable(_Task(place, file, device, None), reason)


def has_trace(sensor: Sensor | Capture) -> bool:
    """Return whether a frame is one that pairs are measured on: Bayer, and of a size that can be."""
    return sensor.cfa_kind == "bayer" and min(sensor.width or 0, sensor.height or 0) >= trace.SMALLEST_SIDE_PX


def _read_capture(task: _Task) -> Capture:
    try:
        content = task.place.read(task.file)
    except OSError as error:
        return _unreadable(task, f"the file cannot be read ({error.strerror})")
    except UnreadableRawError as error:
        return _unreadable(task, str(error))
    if task.coming:
        _read_ahead(task.place, task.coming)
    digest = hashlib.sha256(content).hexdigest()
    header = metadata.header_of(io.BytesIO(content))
    try:
        frame = raw.decode(content, Path(task.file.path).name)
    except UnreadableRawError as error:
        reason = str(error).removeprefix(f"{Path(task.file.path).name} ")  # The row has the name already.
        return _unreadable(task, reason, digest, header)
    facts = _sensor_facts(frame) | _trace_facts(task, frame, digest)
    header = metadata.with_second_opinion(header, frame.readings)
    return Capture(**file_facts(task.file, task.device, digest), status="ok", **header_facts(header), **facts)


def _without_pixels(task: _Task, failure: Failure, workers: Crew) -> Capture:
    """Return the row of a file whose pixels nobody survives: without a hash, so that the next ingest tries again."""
    with_header = partial(_with_header, reason=failure.reason)
    ((_, row),) = map_isolated(with_header, [task], workers, timeout_s=20)
    return _unreadable(task, failure.reason) if isinstance(row, Failure) else row


def _with_header(task: _Task, reason: str) -> Capture:
    try:
        header = metadata.header_of(io.BytesIO(task.place.read(task.file)))
    except UnreadableRawError:  # It was there before the reader died.
        header = None
    return _unreadable(task, reason, header=header)


def _read_ahead(place: Place, file: RawFile) -> None:
    # In a thread: a disk that is slow to answer must not hold up the file at hand.
    threading.Thread(target=place.read_ahead, args=(file,), daemon=True).start()


def _trace_facts(task: _Task, frame: raw.RawFrame, digest: str) -> dict[str, float]:
    """Keep the trace of a frame, and return what it says of the frame alone."""
    sensor = frame.sensor
    if task.manifest is None or frame.mosaic is None or not has_trace(sensor):
        return {}
    kept = trace.measure(frame.mosaic, sensor.cfa or "", sensor.black_level, sensor.white_level)
    trace.save(traces.path(task.manifest, digest), kept)
    facts: dict[str, float] = {}
    if noise := detail.noise(kept):
        facts |= {"noise_dn": noise.value, "noise_se_dn": noise.se, "noise_level_dn": noise.level_dn}
    if sharpness := detail.sharpness(kept):
        facts |= {"sharpness": sharpness.value, "sharpness_se": sharpness.se}
    return facts


def _unreadable(
    task: _Task, reason: str, digest: str | None = None, header: metadata.Metadata | None = None
) -> Capture:
    known = header_facts(header) if header else {}
    return Capture(**file_facts(task.file, task.device, digest), status="unreadable", status_reason=reason, **known)


def file_facts(file: RawFile, device: str, digest: str | None) -> dict[str, Any]:
    """Return what is known of a file before its header, as fields of `schemas.Capture`."""
    stated = seconds_in_name(PurePosixPath(file.path).stem)
    return {
        "device": device,
        "path": file.path,
        "sha256": digest,
        "size_bytes": file.size_bytes,
        "name_exposure_time_s": float(stated) if stated else None,
    }


def header_facts(header: metadata.Metadata) -> dict[str, Any]:
    """Return what a header says, as fields of `schemas.Capture`."""
    facts = {name: getattr(header, name) for name in _HEADER_FACTS}
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
        "missing_fraction": frame.missing_fraction,
    }
    if frame.mosaic is None:
        return facts
    measured = levels.measure(
        frame.mosaic, sensor.white_level, sensor.bits_declared, sensor.cfa_kind, sensor.black_level
    )
    return {**facts, **vars(measured)}
