"""Write a file whole or not at all, so that a reader never meets half of one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a stream whose bytes become the file, in one rename, when the block ends without an error.

    The stream is a file of its own in the same folder, named after the process, so that two writers do not meet. Bytes
    and name are synced to the disk before the block is left.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one rename, synced to the disk."""
    with whole_file(path) as stream:
        stream.write(content)


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder to the disk: a rename is durable only then."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
