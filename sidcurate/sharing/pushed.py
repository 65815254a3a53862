"""What a push leaves in an object store: a record, and the files that it names, each under a name with its hash."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from sidcurate import manifests, source
from sidcurate.errors import IntegrityError
from sidcurate.places.objects import Objects
from sidcurate.storage import commits

RECORD = commits.RECORD
TRACES = "traces.json"
NAMES = (*manifests.FILES, source.FILE, TRACES)
AGAIN = f"delete it and {RECORD} there, and push again from where the manifest is whole"


@dataclass(frozen=True)
class Record:
    """What `SHA256SUMS` says, there or here; `etag` names the version that a store has."""

    content: bytes
    sums: Mapping[str, str]
    etag: str | None = None

    @property
    def digest(self) -> str:
        """The hash of the record itself: it names a version of the whole."""
        return hashlib.sha256(self.content).hexdigest()


def read(store: Objects) -> Record | None:
    """Return the record that a store has, None where nothing was ever pushed.

    Raises:
        IntegrityError: it is none of ours.
        UsageError, MissingResourceError: as `Objects.find`.
    """
    found = store.find(RECORD, commits.MOST_RECORD_BYTES)
    if found is None:
        return None
    where, cure = f"{store}/{RECORD}", "delete it there, and push again"
    return Record(found.content, commits.parsed(found.content, where, NAMES, cure), found.etag)


def content(store: Objects, path: str, digest: str, most_bytes: int, cure: str) -> bytes:
    """Return the bytes of an object, verified.

    Args:
        store: where it is.
        path: under which name.
        digest: the hash that its bytes have.
        most_bytes: how large it may be.
        cure: what to do where it is another one.

    Raises:
        IntegrityError: it is another one, larger, or not there.
        UsageError, MissingResourceError: as `Objects.find`.
    """
    found = store.find(path, most_bytes)
    if found and hashlib.sha256(found.content).hexdigest() == digest:
        return found.content
    what = "is damaged: its SHA-256 is not the one that was pushed" if found else "is not there, though it was pushed"
    raise IntegrityError(f"{store}/{path} {what}; {cure}")


def path(name: str, digest: str) -> str:
    """Return under which name a file with a hash lies in a store.

    >>> path("captures.parquet", "0123")
    'captures.0123.parquet'
    """
    stem, _, suffix = name.partition(".")
    return f"{stem}.{digest}.{suffix}"
