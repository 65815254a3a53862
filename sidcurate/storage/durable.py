"""Files of our own: written whole or not at all, so that a reader never meets half of one, and read within bounds."""

import errno
import fcntl
import io
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from sidcurate.errors import IntegrityError, MissingResourceError

_PART = re.compile(r"\.[0-9a-f]{16}\.part")


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a stream whose bytes become the file, in one rename, when the block ends without an error.

    Folders that lead there are made. The stream is a part of its own in the same folder, locked as long as its writer
    lives, so that two writers do not meet and `sweep` knows the dead. Bytes and name are synced to the disk before the
    block is left.

    Raises:
        MissingResourceError: the disk is full, or refuses; the old file stands as it did.
    """
    part = None
    try:
        part, stream = _new_part(path.parent)
        with stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            part.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        _remove(part)
        reason = error.strerror or str(error)
        raise MissingResourceError(
            f"{path} cannot be written ({reason}); nothing was lost: free space, permit it, or name another place, "
            "then run again"
        ) from error
    except BaseException:
        _remove(part)
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one rename, synced to the disk.

    Raises:
        MissingResourceError: the disk is full, or refuses; the old file stands as it did.
    """
    with whole_file(path) as stream:
        stream.write(content)


def require_place(folder: Path) -> None:
    """Refuse a folder that takes no file, before the work whose result is for it; one that is missing will be made.

    Raises:
        MissingResourceError: with the reason.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise MissingResourceError(f"{folder} takes no file ({reason}): permit it, or name another place") from error


def make_folder(folder: Path) -> None:
    """Make a folder with those that lead to it, their names synced to the disk; one that is there stays as it is."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder to the disk: a rename is durable only then."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: Path) -> None:
    """Remove the parts that writers who died left in a folder; the part of a living one is locked, and stays."""
    for part in parts(folder):
        try:
            handle = os.open(part, os.O_RDWR | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue  # Its writer has just finished.
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink(missing_ok=True)
        except BlockingIOError:
            continue
        finally:
            os.close(handle)


def parts(folder: Path) -> list[Path]:
    """Return the unfinished parts in a folder, of living writers and dead ones, sorted by name."""
    return sorted(path for path in folder.iterdir() if _PART.fullmatch(path.name)) if folder.is_dir() else []


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """Return the bytes of a file of ours, which is no link and no larger than it can be.

    Raises:
        FileNotFoundError: it is not there.
        IntegrityError: it is a link, no file at all, or too large.
    """
    with open_bounded(path, most_bytes) as stream:
        return stream.read()


def open_bounded(path: Path, most_bytes: int) -> io.BufferedReader:
    """Return a stream of what `read_bounded` reads.

    Raises:
        FileNotFoundError: as `read_bounded`.
        IntegrityError: as `read_bounded`.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise IntegrityError(f"{path} is a link, which may lead anywhere; put the file itself in its place") from error
    status = os.fstat(handle)
    if stat.S_ISREG(status.st_mode) and status.st_size <= most_bytes:
        return os.fdopen(handle, "rb")
    os.close(handle)
    if stat.S_ISREG(status.st_mode):
        raise IntegrityError(f"{path} has {status.st_size} bytes, at most {most_bytes} are read; move it away")
    raise IntegrityError(f"{path} is no file; move it away")


def _new_part(folder: Path) -> tuple[Path, BinaryIO]:
    make_folder(folder)
    while True:
        part = folder / f".{secrets.token_hex(8)}.part"
        stream = part.open("xb")
        fcntl.flock(stream, fcntl.LOCK_EX)
        if os.fstat(stream.fileno()).st_nlink:
            return part, stream
        stream.close()  # Somebody swept it before it was locked.


def _remove(part: Path | None) -> None:
    # A disk that takes nothing any more may not let go of the part either: the next writer sweeps it.
    with suppress(OSError):
        if part is not None:
            part.unlink()
