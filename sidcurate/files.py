"""The raws that a manifest names, as the disk has them: there or gone, which size, which hash, and their bytes."""

import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

import pyarrow as pa

from sidcurate import source
from sidcurate.counted import counted
from sidcurate.errors import IntegrityError, UnreadableRawError
from sidcurate.manifests import sha256_of
from sidcurate.places import rawfile
from sidcurate.schemas import Capture, FileState
from sidcurate.source import Seen
from sidcurate.tables.rows import Rows, arrow_schema

Look = Literal["none", "changed", "deep"]
"""At which files to look: at none, hash those whose time or size has changed since ingest, or hash them all."""


_AT_ONCE = 1 << 10


class _File(NamedTuple):
    """A file as the manifest says that it is, or as it is now."""

    path: str
    size_bytes: int | None
    sha256: str | None
    fault: str | None = None


class _Root:
    """The folder of the raws. What a link in it leads to outside is no raw of it, nor is a pipe or a device."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._leads_out = cache(partial(rawfile.leads_out, path))  # Of folders: a million raws stand in a few.

    def status(self, path: Path) -> os.stat_result | None:
        """Return the status of a plain file, None of what is none or lies outside."""
        status = path.lstat()
        is_link = stat.S_ISLNK(status.st_mode)
        if self._leads_out(path.parent) or (is_link and rawfile.leads_out(self.path, path)):
            return None
        status = path.stat() if is_link else status
        return status if stat.S_ISREG(status.st_mode) else None


def states(directory: Path, captures: Rows[Capture], look: Look, progress: Callable[[str, int, int], None]) -> pa.Table:
    """Return what the disk says of each capture that was read, in order, as a table of `FileState`.

    Args:
        directory: folder of the manifest; its `source.json` knows where the raws are and what ingest saw of them.
        captures: the rows to look for.
        look: "changed" or "deep"; which files are hashed again.
        progress: called with the stage in words, the count done and the count to do.
    """
    last = source.read(directory)
    root = _Root(Path(last.root)) if last.root else None
    found: list[_File] = []
    # Nobody has seen the raw that a list names.
    for batch in captures.take(~captures.status.equals("listed")).batches(_AT_ONCE):
        recorded = map(_File, batch.path.tolist(), batch.size_bytes.tolist(), batch.sha256.tolist())
        found += [_state(root, row, last.seen, deep=look == "deep") for row in recorded]
        progress("looking at the raws", len(found), len(captures))
    schema = arrow_schema(FileState)
    columns = [[getattr(state, name) for state in found] for name in schema.names]
    return pa.table(columns, schema=schema)


def check_readable(directory: Path, looked: pa.Table) -> None:
    """Check that no raw of a manifest is there and cannot be read, given what `states` says of them.

    Raises:
        UnreadableRawError: one is.
    """
    faulty = looked.filter(looked["fault"].is_valid())
    for row in faulty.slice(0, 1).to_pylist():
        others = f", nor can {counted(len(faulty) - 1, 'other')}" if len(faulty) > 1 else ""
        raise UnreadableRawError(
            f"{Path(folder(directory) or '', row['path'])} cannot be read ({row['fault']}){others}; make it readable, "
            "or judge without the files: `sidcurate validate --no-files`"
        )


def folder(directory: Path) -> str | None:
    """Return where the raws of a manifest should be, None where nothing says so."""
    return source.read(directory).root


def out_of_reach(directory: Path) -> str | None:
    """Return the URL of the raws where they are in no folder: no verb but `ingest`, when it is told so, goes there."""
    root = folder(directory)
    return root if root and source.is_url(root) else None


def content(root: Path, capture: Capture) -> bytes:
    """Return the bytes of a raw, which are those that were ingested.

    Args:
        root: folder of the raws.
        capture: the row of the raw.

    Raises:
        UnreadableRawError: it is gone (SET304), cannot be read, or is no plain file of the folder.
        IntegrityError: it is another file than the one that was ingested (SET305).
    """
    path = root / capture.path
    try:
        found = rawfile.read_whole(root, capture.path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UnreadableRawError(f"SET304 {path} is not there; put it back or run `sidcurate ingest` again") from error
    except OSError as error:
        raise UnreadableRawError(f"{path} cannot be read ({error.strerror}); make it readable") from error
    except UnreadableRawError as error:
        raise UnreadableRawError(f"{path}: {error}") from error
    if hashlib.sha256(found).hexdigest() != capture.sha256:
        raise IntegrityError(
            f"SET305 {path} has changed since it was ingested (its SHA-256 is another one); "
            "run `sidcurate ingest` again"
        )
    return found


def _state(root: _Root | None, recorded: _File, seen: Mapping[str, Seen], *, deep: bool) -> _File:
    """Return a file as it is now: no size where it is gone or cannot be read, no hash where it was not hashed again."""
    gone = _File(recorded.path, None, None)
    if root is None:
        return gone
    path = root.path / recorded.path
    try:
        status = root.status(path)
        if status is None:
            return gone
        same_time = seen.get(recorded.path) == (status.st_size, status.st_mtime_ns)
        # Another size is proof enough of a change; the same size and time are none of its absence, but cost nothing.
        hashed = status.st_size == recorded.size_bytes and (deep or not same_time)
        return _File(recorded.path, status.st_size, sha256_of(path) if hashed and recorded.sha256 else None)
    except (FileNotFoundError, NotADirectoryError):
        return gone
    except OSError as error:
        return gone._replace(fault=error.strerror or str(error))
