"""Raw files -> Captures from their headers alone: some kilobytes of each are read, no pixel is decoded, nothing hashed.

No native code meets these bytes, and what is read of a file has a bound: workers are there for speed alone. What a
header does not tell for sure stays unknown. Size, filter array and levels are those of DNGs, which state them; those of
other makers' files are LibRaw's to know, and a full ingest adds them.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from sidcurate.errors import UnreadableRawError
from sidcurate.ingest.reading import file_facts, header_facts, unread
from sidcurate.isolation import Crew, Failure, map_isolated
from sidcurate.places.place import Place
from sidcurate.places.scan import RawFile
from sidcurate.raws import dng, metadata, misnamed, raw
from sidcurate.raws.containers import TIFF_HEADS
from sidcurate.raws.directories import Directories, EndsEarlyError, Read
from sidcurate.raws.extent import extent_at
from sidcurate.raws.sensor import stated_sensor
from sidcurate.schemas import Capture

MOST_BYTES = 1 << 19
"""Bytes that are read of one file at most; what stands beyond is unknown."""
_FIRST_BYTES, _MORE_BYTES = 1 << 16, 1 << 14
_SUBFILE, _SUB_IFDS, _PREVIEW = 254, 330, 1
_LEADING = {_SUBFILE, _SUB_IFDS}
_AT_ONCE = 64
"""Files that are given to a worker together: to send each alone would take longer than to read it."""
_FEW = 1 << 12
"""So many headers are read by the time that workers have started."""


class Head:
    """The bytes of a file, read where they are asked for, some more than that at a time, within a bound."""

    def __init__(self, read: Read) -> None:
        self._read_at = read
        self._left = MOST_BYTES
        self._start, self._bytes = 0, b""
        self._first = self._read(0, _FIRST_BYTES)

    def __call__(self, start: int, count: int, /) -> bytes:
        """Return so many bytes from a place on, fewer where the file ends.

        Raises:
            ValueError: more would be read of the file than its bound.
        """
        end = start + count
        if end <= len(self._first):
            return self._first[start:end]
        if not self._start <= start <= end <= self._start + len(self._bytes):
            self._start, self._bytes = start, self._read(start, max(count, _MORE_BYTES))
        return self._bytes[start - self._start : start - self._start + count]

    def _read(self, start: int, count: int) -> bytes:
        if min(count, self._left) < count:
            raise ValueError(f"the header is scattered over more than {MOST_BYTES >> 10} KB")
        self._left -= count
        return self._read_at(start, count)


@dataclass(frozen=True)
class _Task:
    place: Place
    files: Sequence[RawFile]
    device: str


def read_captures(
    place: Place, files: Sequence[RawFile], device: str, manifest: Path | None = None, *, workers: Crew
) -> Iterator[tuple[RawFile, Capture]]:
    """Yield each file with what its header says of it, as they come.

    Args:
        place: where the files are.
        files: what to read.
        device: slug of the camera.
        manifest: folder of the manifest; a header leaves no trace beside it.
        workers: who reads, where there are many; where there are few, this process does.
    """
    if len(files) < _FEW:
        for task in _tasks(place, files, device, _AT_ONCE):
            yield from zip(task.files, _read_some(task), strict=True)
        return
    for task, rows in map_isolated(_read_some, _tasks(place, files, device, _AT_ONCE), workers, place.seconds):
        if isinstance(rows, Failure):  # One of the files hangs: each for itself.
            yield from _read_apart(task, workers)
        else:
            yield from zip(task.files, rows, strict=True)


def read_capture(place: Place, file: RawFile, device: str) -> Capture:
    """Return what the header of one file says of it."""
    facts = file_facts(file, device, None)
    try:
        with place.opened(file) as read:
            head = Head(read)
            reason = _why_no_raw(head, file.size_bytes)
            header = metadata.header_at(head)
            stated = dng.sensor_tags_at(head, file.size_bytes)
            extent = stated.extent if stated else extent_at(head, file.size_bytes)
            reason = reason or _why_no_pixels(head, file.size_bytes, stated, extent)
        known = header_facts(header)
        if not reason:
            known |= (stated_sensor(stated) if stated else {}) | {"missing_fraction": extent.missing_fraction}
        return Capture(**facts, status="unreadable" if reason else "header", status_reason=reason, **known)
    except OSError as error:
        reason = f"the file cannot be read ({error.strerror})"
    except UnreadableRawError as error:
        reason = str(error)
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"its header states what cannot be ({first['loc'][0]}: {first['msg']})"
    return Capture(**facts, status="unreadable", status_reason=reason)


def _why_no_raw(head: Head, size_bytes: int) -> str | None:
    if not size_bytes:
        return raw.EMPTY
    kind = misnamed.kind_of(head)
    return misnamed.in_words(kind) if kind else None


def _why_no_pixels(head: Head, size_bytes: int, stated: dng.SensorTags | None, extent: dng.Extent) -> str | None:
    if stated and (why := raw.missing_codec(stated)):
        return why
    if extent.width and extent.height and (why := raw.why_implausible(extent.width, extent.height, size_bytes)):
        return why
    if not stated and _is_cut_off(head, size_bytes):
        return "the file ends within its header; copy it again from the card"
    return None


def _is_cut_off(head: Head, size_bytes: int) -> bool:
    """Return whether a TIFF-like file ends before its first directory does, or before all that a mere preview leads to.

    What lies further on may be damaged without harm to the pixels.
    """
    tiff = Directories.of(head) if head(0, 4).startswith(TIFF_HEADS) else None
    try:
        found = {tag: tiff.numbers(entry) for tag, entry in tiff.first(_LEADING).items()} if tiff else {}
    except EndsEarlyError:
        return True
    except ValueError:  # More is to be read than may be.
        return False
    places = [place for place in found.get(_SUB_IFDS, ()) if isinstance(place, int)]
    return found.get(_SUBFILE) == [_PREVIEW] and bool(places) and min(places) >= size_bytes


def _tasks(place: Place, files: Sequence[RawFile], device: str, count: int) -> Iterator[_Task]:
    return (_Task(place, files[start : start + count], device) for start in range(0, len(files), count))


def _read_some(task: _Task) -> list[Capture]:
    read = partial(read_capture, task.place, device=task.device)
    if task.place.at_once == 1:
        return list(map(read, task.files))
    with ThreadPoolExecutor(task.place.at_once) as threads:
        return list(threads.map(read, task.files))


def _read_apart(task: _Task, workers: Crew) -> Iterator[tuple[RawFile, Capture]]:
    tasks = _tasks(task.place, task.files, task.device, 1)
    for alone, rows in map_isolated(_read_some, tasks, workers, task.place.seconds):
        (file,) = alone.files
        yield file, unread(task.place, file, task.device, rows.reason) if isinstance(rows, Failure) else rows[0]
