"""Where raws are: a place that can be listed, and whose files can be read whole, one by one.

A folder of this machine is one; a bucket of an object store is another (see `bucket`). A place is sent to who
reads, so that it must be small and mean the same there.
"""

import os
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from sidcurate.places import rawfile
from sidcurate.places.scan import RawFile, Scan, scan
from sidcurate.raws.directories import Read


class Place(Protocol):
    """Where raws are."""

    @property
    def name(self) -> str:
        """How `source.json` names it: the same from wherever it is looked at."""

    @property
    def seconds(self) -> float:
        """How long one file may take to be read and measured."""

    @property
    def at_once(self) -> int:
        """How many requests for a few bytes one process should have on their way at a time."""

    def scan(self, progress: Callable[[int], None] = lambda found: None) -> Scan:
        """Return what is there; `progress` is called with the count of raws found so far.

        Raises:
            UsageError: it is missing, cannot be listed, or holds no raw file.
            MissingResourceError: this machine cannot reach it.
        """

    def read(self, file: RawFile) -> bytes:
        """Return the bytes of a raw, which are those that were listed.

        Raises:
            OSError: the file cannot be read.
            UnreadableRawError: it cannot be had, or is not what was listed.
            MissingResourceError: nothing can be had from this place.
        """

    def opened(self, file: RawFile) -> AbstractContextManager[Read]:
        """Return a block that yields what reads some bytes of a raw, from a place on; errors as `read`."""

    def read_ahead(self, file: RawFile) -> None:
        """Ask for a raw that will be read soon, where that helps; nothing is said of what is wrong with it."""

    def standing(self) -> Hashable:
        """Return what stands there now: another value, None or an error when it has gone away."""


@dataclass(frozen=True)
class Folder:
    """A folder of this machine."""

    root: Path
    seconds: ClassVar[float] = 120.0
    at_once: ClassVar[int] = 1

    def __str__(self) -> str:
        return str(self.root)

    @property
    def name(self) -> str:
        """The absolute path."""
        return os.path.realpath(self.root)  # Before Python 3.13 `Path.resolve` raises where links lead in a circle.

    def scan(self, progress: Callable[[int], None] = lambda found: None) -> Scan:
        """Return what the folder and those below it hold; see `scan.scan`."""
        return scan(self.root, progress)

    def read(self, file: RawFile) -> bytes:
        """Return the bytes of a raw; see `rawfile.read_whole`."""
        return rawfile.read_whole(self.root, file.path, (file.size_bytes, file.mtime_ns))

    @contextmanager
    def opened(self, file: RawFile) -> Iterator[Read]:
        """Yield what reads some bytes of a raw, from a place on; see `rawfile.opened`."""
        with rawfile.opened(self.root, file.path, (file.size_bytes, file.mtime_ns)) as handle:
            yield lambda start, count, /: os.pread(handle, count, start)

    def read_ahead(self, file: RawFile) -> None:
        """Ask the system for a raw that will be read soon; see `rawfile.read_ahead`."""
        rawfile.read_ahead(self.root, file.path, (file.size_bytes, file.mtime_ns))

    def standing(self) -> tuple[int, int] | None:
        """Return which folder stands under the path; another one, or none, when a card was pulled."""
        try:
            status = self.root.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino
