"""`remote.json`: which versions in object stores the tables of a manifest come from, by address.

It belongs to one machine: no sum covers it. It is committed together with the tables that were fetched.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, RootModel

from sidcurate.storage import commits
from sidcurate.storage.statement import understood

FILE = "remote.json"
_CURE = "delete it, then fetch into another folder"
_MOST_BYTES = 1 << 20


class Version(BaseModel):
    """What a manifest and a store had in common last.

    `records` are hashes of the record that the store had then, and of those that were put since and whose answer nobody
    may have seen; `sums` are those of the tables.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    records: tuple[str, ...] = ()
    sums: dict[str, str] = {}


class _Versions(RootModel[dict[str, Version]]):
    """The content of the file."""


def read(directory: Path) -> dict[str, Version]:
    """Return what stands beside a manifest, by the address of the store; nothing where there is no file.

    Raises:
        IntegrityError: the file cannot be understood.
    """
    content = commits.read_beside(directory, FILE, _MOST_BYTES)
    return {} if content is None else understood(_Versions, content, commits.beside(directory, FILE), _CURE).root


def content(versions: Mapping[str, Version]) -> bytes:
    """Return the bytes of the file."""
    return (_Versions(dict(versions)).model_dump_json(indent=1) + "\n").encode()
