"""Read one raw file whole, once, and only if it is a plain file below its folder that stays as it is meanwhile.

All that is said of a raw is said of the bytes that this returns: its hash, its header and its pixels cannot be those of
different moments.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from sidcurate.errors import UnreadableRawError

# A frame of the largest sensor, at two bytes a site with a preview, has 0.4 GB. More than this Linux reads in parts.
LARGEST_BYTES = 0x7FFFEFFF
_LEADS_OUT = "the path is a link that leads out of the folder; copy the file in"
_NOT_PLAIN = "it is no plain file; move it out of the folder"
CHANGED = "the file changed while it was read; ingest again when it is complete"


def read_whole(root: Path, path: str, seen: tuple[int, int] | None = None) -> bytes:
    """Return the bytes of a raw; what is given and raised is as of `opened`.

    Raises:
        UnreadableRawError: it is too large, too.
    """
    with opened(root, path, seen) as handle:
        size_bytes = os.fstat(handle).st_size
        check_size(size_bytes)
        content = os.read(handle, size_bytes + 1)
        if len(content) != size_bytes:
            raise UnreadableRawError(CHANGED)
    return content


def check_size(size_bytes: int) -> None:
    """Check that a file is no larger than a raw can be.

    Raises:
        UnreadableRawError: it is larger.
    """
    if size_bytes > LARGEST_BYTES:
        raise UnreadableRawError(
            f"the file has {size_bytes / 1e9:.1f} GB, more than the {LARGEST_BYTES / 1e9:.1f} GB that any raw "
            "frame has; extract its frames first"
        )


@contextmanager
def opened(root: Path, path: str, seen: tuple[int, int] | None = None) -> Iterator[int]:
    """Yield a handle on a raw, which must be the same file under its path when the block ends.

    Args:
        root: folder of the raws.
        path: of the file, relative to the folder.
        seen: size in bytes and modification time in ns that the file must still have.

    Raises:
        OSError: the file cannot be opened.
        UnreadableRawError: it is no plain file, leads out of the folder, or changes.
    """
    handle = _open_inside(root, root / path)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableRawError(_NOT_PLAIN)
        if seen not in (None, _size_and_time(status)):
            raise UnreadableRawError(CHANGED)
        yield handle
        if _size_and_time((root / path).stat()) != _size_and_time(status):
            raise UnreadableRawError(CHANGED)
    finally:
        os.close(handle)


def read_ahead(root: Path, path: str, seen: tuple[int, int]) -> None:
    """Ask the system for a raw that will be read soon, so that the disk works while others are decoded."""
    # What is wrong with the file, its own reading says.
    with suppress(OSError, UnreadableRawError), opened(root, path, seen) as handle:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(handle, 0, LARGEST_BYTES, os.POSIX_FADV_WILLNEED)


def _open_inside(root: Path, path: Path) -> int:
    # A pipe that took the place of a file would be waited for.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        if _folder_leads_out(root, path.parent):
            raise UnreadableRawError(_LEADS_OUT)
        return os.open(path, flags | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    if leads_out(root, path):
        raise UnreadableRawError(_LEADS_OUT)
    return os.open(path, flags)


def leads_out(root: Path, path: Path) -> bool:
    """Return whether a path, its links followed, lies outside a folder.

    Raises:
        OSError: the links lead in a circle.
    """
    try:
        return not path.resolve().is_relative_to(root.resolve())
    except RuntimeError as error:  # Python before 3.13 raises it for a circle.
        raise OSError(str(error)) from error


_folder_leads_out = lru_cache(maxsize=64)(leads_out)  # A million raws stand in a few folders.


def _size_and_time(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns
