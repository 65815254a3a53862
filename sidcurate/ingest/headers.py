"""Raw files -> Captures from their headers alone: some kilobytes of each are read, no pixel is decoded, nothing hashed.

No native code meets these bytes, and what is read of a file has a bound: no worker process needs to die for it. What a
header does not tell for sure stays unknown. Size, filter array and levels are those of DNGs, which state them; those of
other makers' files are LibRaw's to know, and a full ingest adds them.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from sidcurate.errors import UnreadableRawError
from sidcurate.ingest.reading import file_facts, header_facts
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
# Python runs one thread at a time: they are there for disks and servers to be waited for together.
_THREADS, _AT_ONCE, _AHEAD = 4, 32, 32


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


class HeaderReaders:
    """Who reads no more than headers: threads of this process."""

    def read_captures(
        self, place: Place, files: Sequence[RawFile], device: str, manifest: Path | None = None
    ) -> Iterator[tuple[RawFile, Capture]]:
        """Yield each file with what its header says of it, in order; a header leaves no trace beside the manifest."""
        return read_captures(place, files, device)


def read_captures(place: Place, files: Sequence[RawFile], device: str) -> Iterator[tuple[RawFile, Capture]]:
    """Yield each file with what its header says of it, in order.

    Args:
        place: where the files are.
        files: what to read.
        device: slug of the camera.
    """
    batches = (files[start : start + _AT_ONCE] for start in range(0, len(files), _AT_ONCE))
    running: deque[Future[list[tuple[RawFile, Capture]]]] = deque()
    pool = ThreadPoolExecutor(_THREADS)
    try:
        while True:
            for batch in islice(batches, _AHEAD - len(running)):
                running.append(pool.submit(_read_some, place, batch, device))
            if not running:
                return
            yield from running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


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


def _read_some(place: Place, files: Sequence[RawFile], device: str) -> list[tuple[RawFile, Capture]]:
    return [(file, read_capture(place, file, device)) for file in files]
