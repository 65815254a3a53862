"""What the disk says of the raws that a manifest names: there or gone, which size, which hash."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from sidcurate import source
from sidcurate.errors import UsageError
from sidcurate.manifests import sha256_of
from sidcurate.schemas import Capture, FileState

Look = Literal["none", "changed", "deep"]
"""At which files to look: at none, hash those whose time or size has changed since ingest, or hash them all."""


def states(directory: Path, captures: Iterable[Capture], look: Look) -> Iterator[FileState]:
    """Yield what the disk says of each capture that was read, in order.

    Args:
        directory: folder of the manifest; its `source.json` knows where the raws are and what ingest saw of them.
        captures: the rows to look for.
        look: "changed" or "deep"; which files are hashed again.

    Raises:
        UsageError: a file is there and cannot be read.
    """
    last = source.read(directory)
    root = Path(last.root) if last.root else None
    for capture in captures:
        # Nobody has seen the raw that a list names.
        if capture.status != "listed":
            yield _state(root, capture, last.seen, deep=look == "deep")


def folder(directory: Path) -> str | None:
    """Return where the raws of a manifest should be, None where nothing says so."""
    return source.read(directory).root


def _state(root: Path | None, capture: Capture, seen: Mapping[str, tuple[int, int]], *, deep: bool) -> FileState:
    if root is None:
        return FileState(path=capture.path, size_bytes=None, sha256=None)
    path = root / capture.path
    try:
        status = path.stat()
        same_time = seen.get(capture.path) == (status.st_size, status.st_mtime_ns)
        # Another size is proof enough of a change; the same size and time are none of its absence, but cost nothing.
        hashed = status.st_size == capture.size_bytes and (deep or not same_time)
        return FileState(
            path=capture.path, size_bytes=status.st_size, sha256=sha256_of(path) if hashed and capture.sha256 else None
        )
    except (FileNotFoundError, NotADirectoryError):
        return FileState(path=capture.path, size_bytes=None, sha256=None)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}); make it readable, or judge without the files: "
            "`sidcurate validate --no-files`"
        ) from error
