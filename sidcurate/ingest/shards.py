"""Shards: one folder of raws ingested in parts, on machines that need not know of each other, until all are merged.

A shard owns the raws whose paths hash to its number: a raw that comes later is one shard's to read, and moves no other.
It lies in `DEVICE.shards/NUMBER-of-COUNT` beside the manifest that it becomes part of: captures, their traces, and a
statement of what they are a part of, committed like a manifest, which no verb takes it for.
"""

import hashlib
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from sidcurate import manifests
from sidcurate.errors import IntegrityError, UsageError
from sidcurate.places.scan import RawFile
from sidcurate.schemas import SLUG, Capture
from sidcurate.source import Source
from sidcurate.storage import commits
from sidcurate.storage.statement import understood
from sidcurate.tables.bounded import Packed
from sidcurate.tables.rows import Rows

FILE = manifests.SHARD
_CAPTURES = f"{Capture.table}.parquet"
_FILES = (_CAPTURES, FILE)
_AGAIN = "move it away and ingest that shard again"


@dataclass(frozen=True, order=True)
class Shard:
    """One of `count` parts of a folder; they are numbered from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def owns(self, path: str) -> bool:
        """Return whether the raw at a path, relative to the folder, is in this part.

        >>> [Shard(number, 3).owns("00001_00_0.1s.ARW") for number in (1, 2, 3)]
        [False, False, True]
        """
        digest = hashlib.sha256(path.encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1


class Statement(BaseModel):
    """What a shard is a part of. `listing` is the hash of all raws of the folder as they were listed then."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    device: str = Field(pattern=SLUG)
    number: int = Field(ge=1)
    count: int = Field(ge=1)
    listing: str
    source: Source

    @property
    def shard(self) -> Shard:
        """Which part it is."""
        return Shard(self.number, self.count)


@dataclass(frozen=True)
class Part:
    """A finished shard, verified."""

    folder: Path
    statement: Statement
    captures: Packed | pa.Table
    sums: Mapping[str, str]

    @property
    def shard(self) -> Shard:
        """Which part it is."""
        return self.statement.shard

    @property
    def rows(self) -> Rows[Capture]:
        """Its captures, by column."""
        return Rows.of(Capture, self.captures)


def folder_of(directory: Path, shard: Shard) -> Path:
    """Return where a shard of the manifest in a directory lies."""
    return manifests.shards_folder(directory) / f"{shard.number}-of-{shard.count}"


def listing(files: Iterable[RawFile]) -> str:
    """Return a hash of the paths and sizes of files. Times are left out: two machines may have copies of one folder."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.size_bytes} {file.path}\0".encode())
    return digest.hexdigest()


def save(folder: Path, statement: Statement, captures: manifests.Given) -> None:
    """Commit a shard.

    Raises:
        IntegrityError: what stands there is damaged; nothing is overwritten.
        MissingResourceError: the disk is full, or refuses.
    """
    content = {
        _CAPTURES: manifests.parquet_bytes(Capture, captures),
        FILE: (statement.model_dump_json(indent=1) + "\n").encode(),
    }
    commits.replace(folder, _FILES, content)


def is_finished(folder: Path) -> bool:
    """Return whether a shard has ever been committed to a folder."""
    return (folder / commits.RECORD).exists()


def load(folder: Path, progress: Callable[[str, int, int], None] = lambda stage, done, total: None) -> Part:
    """Return a shard, all of it verified.

    Raises:
        UsageError: the folder is no shard, or one that was never finished.
        IntegrityError: it is damaged, or of another version.
    """
    if not is_finished(folder):
        raise UsageError(
            f"{folder} holds no finished shard; `sidcurate ingest FOLDER --shard 1/8` makes the first of eight"
        )
    if not (folder / FILE).exists() and (folder / manifests.FILES[0]).exists():
        raise UsageError(f"{folder} is a manifest, not a shard of one; name folders such as cam.shards/1-of-8")
    commit = commits.read(folder, _FILES)
    content = commit.contents
    if set(content) != set(_FILES):
        raise IntegrityError(f"{folder} lacks one of {' and '.join(_FILES)}; {_AGAIN}")
    part = Part(
        folder,
        understood(Statement, content[FILE], folder / FILE, f"if another version wrote it, {_AGAIN}"),
        manifests.strict(Packed(folder / _CAPTURES, content[_CAPTURES]), Capture, progress),
        commit.sums,
    )
    _check_rows(part)
    return part


def check_parts(parts: Sequence[Part]) -> None:
    """Refuse shards that are not all the parts, each once, of one ingest.

    Args:
        parts: one or more, sorted by their shards.

    Raises:
        UsageError: two differ in what they are a part of, or one is missing.
    """
    first = parts[0]
    for other in parts[1:]:
        _check_promises(first, other)
    for one, other in pairwise(parts):
        if one.shard == other.shard:
            raise UsageError(f"{one.folder} and {other.folder} are both shard {one.shard}, and differ; leave one out")
    there = {part.shard.number for part in parts}
    missing = [Shard(number, first.shard.count) for number in range(1, first.shard.count + 1) if number not in there]
    if missing:
        raise UsageError(
            f"{_and(missing)} of {first.statement.device} {'is' if len(missing) == 1 else 'are'} missing; make it: "
            f"`sidcurate ingest {shlex.quote(first.statement.source.root or '')} "
            f"--device {first.statement.device} --shard {missing[0]}`"
        )
    if any(other.statement.listing != first.statement.listing for other in parts):
        raise UsageError(
            f"the folder of {first.statement.device} has changed between its shards; run them all again, which reads "
            "only what is new"
        )


def _check_promises(first: Part, other: Part) -> None:
    for what, mine, its in _promises(first.statement, other.statement):
        if mine != its:
            raise UsageError(
                f"{first.folder} and {other.folder} are no parts of one ingest: {what} differs ({_short(mine)}, "
                f"{_short(its)}); ingest every shard with the same options, and merge those"
            )


def _promises(one: Statement, other: Statement) -> list[tuple[str, object, object]]:
    return [
        ("the device", one.device, other.device),
        ("the number of shards", one.count, other.count),
        ("the folder of the raws", one.source.root, other.source.root),
        ("the reader", one.source.reader, other.source.reader),
        ("the way of pairing", one.source.pairing, other.source.pairing),
        ("what exposure times were given", one.source.times, other.source.times),
    ]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _and(missing: Sequence[Shard]) -> str:
    shown = ", ".join(map(str, missing[:8])) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
    return f"shard {shown}" if len(missing) == 1 else f"shards {shown}"


def _check_rows(part: Part) -> None:
    """Refuse rows that are not those of the statement, in its order."""
    paths, devices = (part.rows.arrow(name).to_pylist() for name in ("path", "device"))
    seen = part.statement.source.seen
    if paths != sorted(seen) or set(devices) > {part.statement.device} or not all(map(part.shard.owns, paths)):
        raise IntegrityError(f"{part.folder}: its captures are not those that its {FILE} names; {_AGAIN}")
