"""The traces of a manifest's raws in an object store: each under its hash, so that none is sent or brought twice."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from sidcurate import manifests
from sidcurate.align import trace
from sidcurate.errors import IntegrityError, UsageError
from sidcurate.ingest import reading
from sidcurate.manifests import Manifest
from sidcurate.pairs import traces
from sidcurate.places.objects import Objects
from sidcurate.schemas import Capture
from sidcurate.sharing import pushed
from sidcurate.sharing.pushed import Record
from sidcurate.source import Source
from sidcurate.storage.durable import read_bounded, write_whole

_FOLDER = "traces/"
_MOST_BYTES = 1 << 26
_MOST_LIST_BYTES = 1 << 28  # two million raws
_AT_ONCE = 8
_AGAIN = "delete it there, and push the traces again from where they are whole"

Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Progress = Callable[[str, int, int], None]


class File(NamedTuple):
    """A trace: where it is here, and the hash of its bytes."""

    path: Path
    digest: str


class Traces(BaseModel):
    """Which traces lie beside a manifest: the hash of each file by that of its raw, and what reader made them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reader: str | None
    sums: dict[Hash, Hash]


def of_manifest(manifest: Manifest, said: Source, progress: Progress) -> Traces:
    """Return the traces of a manifest's raws.

    Raises:
        UsageError: one is not here.
    """
    whole = [row for row in manifest.rows(Capture).views() if row.status == "ok" and reading.has_trace(row)]
    sums = {}
    for done, row in enumerate(whole, start=1):
        path = traces.path(manifest.directory, row.sha256 or "")
        if not path.is_file():
            raise UsageError(
                f"the trace of {row.path} is not here; ingest again, which makes it, or push without traces"
            )
        sums[row.sha256 or ""] = manifests.sha256_of(path)
        progress("hashing traces", done, len(whole))
    return Traces(reader=said.reader, sums=dict(sorted(sums.items())))


def lacking_there(directory: Path, store: Objects, kept: Traces) -> list[File]:
    """Return the traces of a manifest that the store does not have."""
    there = {each["Key"].removeprefix(store.prefix) for each in store.listed(_FOLDER)}
    return [
        File(traces.path(directory, raw), digest) for raw, digest in kept.sums.items() if _path(digest) not in there
    ]


def send(store: Objects, new: Sequence[File], progress: Progress) -> None:
    """Send traces.

    Raises:
        IntegrityError: one is damaged.
        UsageError: one is being made anew.
    """

    def send_one(file: File) -> None:
        path, digest = file
        trace.load(path)
        content = read_bounded(path, _MOST_BYTES)
        if hashlib.sha256(content).hexdigest() != digest:
            raise UsageError(f"{path} was changed meanwhile, and nothing was committed; push again")
        store.put(_path(digest), content)

    _do_all(send_one, new, partial(progress, "sending traces"))


def lacking_here(store: Objects, there: Record, manifest: Manifest, said: Source) -> list[File]:
    """Return the traces of a manifest's raws that the store has and its folder has not.

    Raises:
        UsageError: the store has none, or those of another reader.
        IntegrityError: what it says of them cannot be understood.
    """
    kept = _there(store, there, said)
    raws = set(manifest.rows(Capture).arrow("sha256").to_pylist())
    known = (File(traces.path(manifest.directory, raw), digest) for raw, digest in kept.sums.items() if raw in raws)
    return [file for file in known if not (file.path.is_file() and manifests.sha256_of(file.path) == file.digest)]


def take(store: Objects, directory: Path, new: Sequence[File], progress: Progress) -> None:
    """Bring traces into the folder of a manifest: under their hashes they meet nothing else.

    Raises:
        IntegrityError: one is damaged, or not there.
    """

    def take_one(file: File) -> None:
        write_whole(file.path, pushed.content(store, _path(file.digest), file.digest, _MOST_BYTES, _AGAIN))

    traces.sweep(directory)
    _do_all(take_one, new, partial(progress, "fetching traces"))


def _there(store: Objects, there: Record, said: Source) -> Traces:
    if pushed.TRACES not in there.sums:
        raise UsageError(
            f"no traces are at {store}; fetch without them, or push them: `sidcurate manifest push --traces`"
        )
    digest = there.sums[pushed.TRACES]
    path = pushed.path(pushed.TRACES, digest)
    try:
        kept = Traces.model_validate_json(pushed.content(store, path, digest, _MOST_LIST_BYTES, pushed.AGAIN))
    except ValidationError as error:
        raise IntegrityError(f"{store}/{path} cannot be understood; {pushed.AGAIN}") from error
    if kept.reader != said.reader:
        raise UsageError(f"the traces at {store} are of another reader; fetch without them, or push others")
    return kept


def _do_all(work: Callable[[File], None], files: Sequence[File], progress: Callable[[int, int], None]) -> None:
    """Do something to many files, a few at a time; the first failure ends it."""
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        for done, _ in enumerate(pool.map(work, files), start=1):
            progress(done, len(files))
    finally:
        pool.shutdown(cancel_futures=True)


def _path(digest: str) -> str:
    return f"{_FOLDER}{digest}.npz"
