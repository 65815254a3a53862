"""What an ingest has read and not yet committed, beside the manifest: an interrupted ingest goes on from there.

A line a row, appended in one write as soon as the row is known: the SHA-256 of what follows, then JSON. A line that a
crash tore, or of a raw, folder or reader that is another one now, is no row. The commit removes the file.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from sidcurate.places.scan import RawFile
from sidcurate.schemas import Capture
from sidcurate.storage.durable import make_folder, open_bounded

FILE = ".unfinished.jsonl"
_MOST_BYTES, _MOST_LINE_BYTES = 1 << 33, 1 << 18  # four million rows; the longest paths in one
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Append(Protocol):
    """Adds a row."""

    def __call__(self, file: RawFile, capture: Capture) -> None:
        """Keep what was read of a file."""


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    root: str
    reader: str
    mtime_ns: int
    etag: str | None = None
    capture: Capture


def rows(directory: Path, root: str, reader: str, device: str) -> Iterator[tuple[RawFile, Capture]]:
    """Yield the rows that an interrupted ingest has left, in the order in which it read them.

    A file that was read twice comes twice.

    Args:
        directory: folder of the manifest.
        root: where the raws are, as `source.json` names it.
        reader: what reads now; rows of another one do not count.
        device: slug of the camera; nor do rows of another one.

    Raises:
        IntegrityError: what stands there is a link, no file, or larger than a journal can be.
    """
    try:
        stream = open_bounded(directory / FILE, _MOST_BYTES)
    except FileNotFoundError:
        return
    with stream:
        for line in _whole_lines(stream):
            row = line.capture
            if (line.root, line.reader, row.device) == (root, reader, device):
                yield RawFile(row.path, row.size_bytes or 0, line.mtime_ns, line.etag), row


@contextmanager
def appending(directory: Path, root: str, reader: str) -> Iterator[Append]:
    """Yield what adds rows to the journal of a manifest; the file is there from the first row on.

    Rows are safe from the end of this process, however it comes; from a power cut are those that the system had time
    to write. Two that append at once do no harm: each line is one write.
    """
    path = directory / FILE
    handle: int | None = None

    def append(file: RawFile, capture: Capture) -> None:
        nonlocal handle
        if handle is None:
            make_folder(directory)
            handle = os.open(path, _FLAGS, 0o666)
        kept = _Line(root=root, reader=reader, mtime_ns=file.mtime_ns, etag=file.etag, capture=capture)
        line = kept.model_dump_json(exclude_none=True).encode()
        # A line break before each: after a torn line too a row stands on its own.
        os.write(handle, b"\n" + hashlib.sha256(line).hexdigest().encode() + b" " + line)

    try:
        yield append
    finally:
        if handle is not None:
            os.close(handle)


def sweep(directory: Path) -> None:
    """Remove the journal: its rows are committed."""
    (directory / FILE).unlink(missing_ok=True)


def _whole_lines(stream: BinaryIO) -> Iterator[_Line]:
    for line in iter(partial(stream.readline, _MOST_LINE_BYTES), b""):
        digest, _, text = line.rstrip(b"\n").partition(b" ")
        if digest != hashlib.sha256(text).hexdigest().encode():
            continue
        try:
            yield _Line.model_validate_json(text)
        except ValidationError:  # Of another version of the schema.
            continue
