"""`remote.json`: which versions in object stores the tables of a manifest come from, by address.

It belongs to one machine: no sum covers it. It is committed together with the tables that were fetched.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from sidcurate.errors import IntegrityError
from sidcurate.storage import commits
from sidcurate.storage.durable import read_bounded

FILE = "remote.json"
_MOST_BYTES = 1 << 20


class Version(BaseModel):
    """What a manifest and a store had in common last.

    `records` are hashes of the record that the store had then, and of those that were put since and whose answer nobody
    may have seen; `sums` are those of the tables.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    records: tuple[str, ...] = ()
    sums: dict[str, str] = {}


_VERSIONS = TypeAdapter(dict[str, Version])


def read(directory: Path) -> dict[str, Version]:
    """Return what stands beside a manifest, by the address of the store; nothing where there is no file.

    Raises:
        IntegrityError: the file cannot be understood.
    """
    path = commits.beside(directory, FILE)
    try:
        return _VERSIONS.validate_json(read_bounded(path, _MOST_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValidationError as error:
        raise IntegrityError(f"{path} cannot be understood; delete it, then fetch into another folder") from error


def content(versions: Mapping[str, Version]) -> bytes:
    """Return the bytes of the file."""
    return _VERSIONS.dump_json(dict(versions), indent=1) + b"\n"
