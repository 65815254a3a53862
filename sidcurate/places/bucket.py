"""Raws in an object store: what stands below `s3://bucket/prefix`, as if it were a folder."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from sidcurate.errors import UnreadableRawError
from sidcurate.places import objects
from sidcurate.places.objects import Objects
from sidcurate.places.rawfile import CHANGED, check_size
from sidcurate.places.scan import HEAD_BYTES, RawFile, Scan
from sidcurate.raws.directories import Read

NO_PATH = "a key that is no path: it has two slashes in a row"
_GONE, _OTHER_ETAG = 404, 412


@dataclass(frozen=True)
class Bucket(Objects):
    """The raws below a prefix of a bucket.

    Each object is asked for by its ETag too, so that what is read is what was listed.
    """

    # A slow line needs its time for a raw of 100 MB.
    seconds: ClassVar[float] = 600.0
    # A request takes some 20 ms, of which the processor is busy for one.
    at_once: ClassVar[int] = 8

    def scan(self, progress: Callable[[int], None] = lambda found: None) -> Scan:
        """Return what stands below the prefix, by the rules of a folder: hidden names are left out.

        Args:
            progress: called with the count of raws found so far.

        Raises:
            UsageError: the bucket is missing, may not be listed, or holds no raw file there.
            MissingResourceError: the store does not answer, or does not know who asks.
        """
        found = Scan(self.name)
        for listed in self._files():
            path = listed.path
            parts = path.split("/")
            if not parts[-1] or any(part.startswith(".") for part in parts):
                continue
            if "" in parts:
                found.others[NO_PATH] += 1
            elif found.takes(path, self._head):
                found.raws.append(listed)
                progress(len(found.raws))
        return found.checked()

    def read(self, file: RawFile) -> bytes:
        """Return the bytes of a raw, asked for anew where the store was busy or cut its answer short.

        Raises:
            UnreadableRawError: the store does not give it, or it is another one than was listed.
            MissingResourceError: the store cannot be reached, or does not know who asks.
        """
        check_size(file.size_bytes)
        return self._part(file, 0, file.size_bytes)

    @contextmanager
    def opened(self, file: RawFile) -> Iterator[Read]:
        """Yield what reads some bytes of a raw, from a place on: each time a request, and errors as of `read`."""

        def read(start: int, count: int, /) -> bytes:
            there = min(count, file.size_bytes - start)
            return self._part(file, start, there) if there > 0 else b""

        yield read

    def read_ahead(self, file: RawFile) -> None:
        """Do nothing: what was fetched would have to be kept, and the line is busy with the others."""

    def standing(self) -> str:
        """Return the name, once the bucket has been seen to be there; errors as `scan`."""
        self.page(MaxKeys=1)
        return self.name

    def _files(self) -> Iterator[RawFile]:
        """Yield the objects below the prefix, their paths relative to it."""
        for each in self.listed():
            mtime_ns = int(each["LastModified"].timestamp()) * 1_000_000_000
            yield RawFile(each["Key"].removeprefix(self.prefix), each["Size"], mtime_ns, each["ETag"])

    def _part(self, file: RawFile, start: int, count: int) -> bytes:
        which = {"Range": f"bytes={start}-{start + count - 1}"} if count < file.size_bytes else {}
        try:
            content = self.get(file.path, IfMatch=file.etag or "", **which)
        except objects.errors() as error:
            self.raise_if_of_all(error)
            if objects.status(error) in (_GONE, _OTHER_ETAG):
                raise UnreadableRawError(CHANGED) from error
            after = f" in {self.patience.tries} tries" if objects.is_passing(error) else ""
            why = f"the store did not give it{after} ({objects.words(error)}); ingest again"
            raise UnreadableRawError(why) from error
        if len(content) != count:
            raise UnreadableRawError(CHANGED)
        return content

    def _head(self, path: str) -> bytes:
        try:
            return self.get(path, Range=f"bytes=0-{HEAD_BYTES - 1}")
        except objects.errors() as error:
            self.raise_if_of_all(error)
            return b""  # As of a file in a folder that cannot be opened.
