"""`source.json`: where the raws of a manifest are, how they are paired, and what the last scan saw of them.

It belongs to one machine and is no data: no sum covers it, and a person edits it when the raws move. But it is
committed together with the tables that it was written for.
"""

import os
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from sidcurate.errors import UsageError
from sidcurate.storage import commits
from sidcurate.storage.statement import understood

FILE = "source.json"
DEFAULT_SCENE_GAP_S = 60.0
Seen: TypeAlias = tuple[int, int] | tuple[int, int, str]
"""What a listing says of a file: size in bytes, modification time in ns, and in a bucket the ETag."""
MOST_BYTES = 1 << 30  # four million raws with long names


class ToldPair(BaseModel):
    """A row of a user's CSV of pairs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    short: str
    long: str
    scene_id: str


class PairingRules(BaseModel):
    """How the captures of a manifest are paired; kept, so that the next ingest pairs them the same way."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    scene_gap_s: float = Field(DEFAULT_SCENE_GAP_S, ge=0)
    told: tuple[ToldPair, ...] | None = None


class Source(BaseModel):
    """The content of the file.

    `root` is a folder, or the URL of a bucket. `times` are exposure times that a person gave, `seen` is size and
    modification time (ns), and the ETag in a bucket, both by path; `reader` is what read the files.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: str | None = None
    reader: str | None = None
    pairing: PairingRules = PairingRules()
    times: dict[str, Fraction] = Field(default_factory=dict)
    seen: dict[str, Seen] = Field(default_factory=dict)


def read(directory: Path) -> Source:
    """Return what stands beside a manifest, nothing known where there is no file.

    Raises:
        IntegrityError: the file cannot be understood.
    """
    content = commits.read_beside(directory, FILE, MOST_BYTES)
    return Source() if content is None else parsed(content, path(directory), "mend it, or delete it and ingest again")


def path(directory: Path) -> Path:
    """Return where the file stands: under another name when a writer was cut off in the last rename of its commit."""
    return commits.beside(directory, FILE)


def parsed(content: bytes, where: object, cure: str) -> Source:
    """Return what the bytes of the file say.

    Args:
        content: the bytes.
        where: what the file is called in messages.
        cure: what to do about one that cannot be understood.

    Raises:
        IntegrityError: it cannot.
    """
    return understood(Source, content, where, cure)


def content(source: Source) -> bytes:
    """Return the bytes of the file."""
    return (source.model_dump_json(indent=1) + "\n").encode()


def is_url(root: str) -> bool:
    """Return whether the raws are no folder of this machine; only `ingest` goes there, when it is given the URL."""
    return "://" in root


def check_same_root(last: Source, root: str, directory: Path) -> None:
    """Refuse a manifest that is about the raws of another place.

    Args:
        last: what was said of the manifest.
        root: where the raws are, as `source.json` names it.
        directory: folder of the manifest.

    Raises:
        UsageError: it is.
    """
    if last.root and _resolved(last.root) != root:
        raise UsageError(
            f"{directory} is the manifest of {last.root}, not of {root}; name another with --device, or, if the raws "
            f'have moved, set "root" in {path(directory)}'
        )


def _resolved(root: str) -> str:
    return root if is_url(root) else os.path.realpath(root)


def raw_root(directory: Path) -> Path:
    """Return the folder that the manifest's raw paths are relative to.

    Raises:
        UsageError: nothing says where it is, or it is gone, or no folder of this machine.
    """
    root = read(directory).root
    if root is None:
        raise UsageError(
            f"nothing says where the raws of {directory.name} are; ingest the folder that holds them, or, where the "
            f'manifest was fetched, set "root" in {path(directory)} to it'
        )
    if is_url(root):
        raise UsageError(
            f"the raws of {directory.name} are in {root}: copy them to a folder, such as with `aws s3 sync`, and set "
            f'"root" in {directory / FILE} to it'
        )
    if not Path(root).is_dir():
        raise UsageError(
            f'the raws of {directory.name} are not at {root}; set "root" in {path(directory)} to where they are now'
        )
    return Path(root)
