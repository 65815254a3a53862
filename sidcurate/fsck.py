"""What is damaged: tables against their record, traces, raws, store entries, weights and states; all is only read."""

import json
import os
import re
import shlex
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sidcurate import files, manifests, source
from sidcurate.align import trace
from sidcurate.counted import counted
from sidcurate.errors import IntegrityError, SidcurateError, UsageError
from sidcurate.ingest import journal
from sidcurate.manifests import Manifest
from sidcurate.pairs import traces
from sidcurate.places.bucket import Bucket
from sidcurate.schemas import Capture, FileState
from sidcurate.sharing import remote
from sidcurate.source import Seen
from sidcurate.storage import commits, entries
from sidcurate.storage.durable import read_bounded
from sidcurate.tables.rows import Rows

Kind = Literal["table", "source", "remote", "trace", "raw", "store entry", "checkpoint", "state"]
_HASH = re.compile(r"[0-9a-f]{64}")
_MOST_SIDECAR_BYTES = 1 << 26
_CUT_OFF = "a commit was cut off before its last rename", "run any verb that writes, such as `sidcurate validate`"
_RESTORE = "restore it from a copy, or run `sidcurate ingest` again"


@dataclass(frozen=True)
class Fault:
    """One thing that is not as it was written: where, what is wrong, and what to do."""

    kind: Kind
    path: str
    fault: str
    cure: str


@dataclass
class Examination:
    """How much was looked at, by kind, what was left out, and every fault."""

    checked: Counter[Kind] = field(default_factory=Counter)
    left_out: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def add(self, kind: Kind, path: Path | str, fault: str | None, cure: str) -> None:
        """Count one thing that was looked at, and what is wrong with it, if anything."""
        self.checked[kind] += 1
        if fault is not None:
            self.faults.append(Fault(kind, str(path), fault, cure))


def folders(root: Path) -> list[Path]:
    """Return the folders that hold a manifest, or what is left or was begun of one, sorted by name."""
    names = (manifests.SUMS, *manifests.FILES, journal.FILE)
    found = {path.parent for name in names for path in root.glob(f"*/{name}")}
    # A merge verifies the shards that it takes.
    return sorted(folder for folder in found if not (folder / manifests.SHARD).exists())


def examine_manifest(
    found: Examination,
    directory: Path,
    progress: Callable[[str, int, int], None],
    *,
    deep: bool,
    bucket: str | None = None,
) -> None:
    """Look at the tables of a manifest, at its traces, and at the raws that it names.

    Args:
        found: what the examination found so far; is added to.
        directory: folder of the manifest.
        progress: called with the stage in words, the count done and the count to do.
        deep: read every trace and hash every raw; else their sizes, and what has another time.
        bucket: the address at or below which raws are looked at too, by their listing.

    Raises:
        MissingResourceError: the store of that address does not answer, or does not know who asks.
    """
    if (directory / journal.FILE).exists():
        found.left_out.append(
            f"{directory / journal.FILE}: an ingest runs, or was cut off; the next one goes on from what it has read"
        )
    if not any((directory / name).exists() for name in (manifests.SUMS, *manifests.FILES)):
        return
    manifest = _examine_tables(found, directory, progress)
    if manifest is None:
        found.left_out.append(f"the raws and traces of {directory.name}: its tables do not say which they are")
        return
    rows = manifest.rows(Capture)
    _examine_traces(found, directory, rows, progress, deep=deep)
    _examine_beside(found, directory, "remote", remote.read)
    if _examine_beside(found, directory, "source", source.read):
        _examine_raws(found, directory, rows, progress, deep=deep, bucket=bucket)


def examine_store(found: Examination, store: Path, progress: Callable[[str, int, int], None], *, deep: bool) -> None:
    """Look at the entries of a store: names, records, types and sizes, with `deep` also the hash of the pixels."""
    pixels, halves = entries.found(store)
    for done, path in enumerate(pixels, start=1):
        found.add("store entry", path, *_entry_fault(path, deep=deep))
        progress("looking at the store", done, len(pixels))
    if halves:
        found.left_out.append(
            f"{counted(len(halves), 'file')} in {store} without record or without pixels: a build was cut off, or an "
            "older version wrote them; what is needed is decoded anew by the next training, the rest can be deleted"
        )


def examine_runs(found: Examination, runs: Path, *, deep: bool) -> None:
    """Look at the trainings below a folder: the weights by the hash in their side-cars, and the states to go on from.

    Args:
        found: what the examination found so far; is added to.
        runs: folder of the runs.
        deep: read the states too; each of their parts has a checksum.
    """
    weights = {
        *runs.rglob("[!.]*.safetensors"),
        *(path.with_suffix(".safetensors") for path in runs.rglob("model.json")),
    }
    for path in sorted(weights):
        found.add("checkpoint", path, _weights_fault(path), "restore it from a copy, or train again")
    for path in sorted(filter(Path.is_file, runs.rglob("state.pt"))):
        cure = "restore it from a copy, or start again under another --name"
        found.add("state", path, _state_fault(path, deep=deep), cure)


def _examine_beside(found: Examination, directory: Path, kind: Kind, read: Callable[[Path], object]) -> bool:
    """Return whether what no sum covers, and is committed with the tables, can be understood, or is not there."""
    name = f"{kind}.json"
    path = commits.beside(directory, name)
    if not os.path.lexists(path):
        return True
    try:
        read(directory)
    except (IntegrityError, OSError) as error:
        found.add(kind, path, *_told(path, error))
        return False
    found.add(kind, directory / name, *((None, "") if path.name == name else _CUT_OFF))
    return True


def _examine_tables(found: Examination, directory: Path, progress: Callable[[str, int, int], None]) -> Manifest | None:
    """Return the manifest where nothing is wrong with its tables."""
    path = directory / manifests.SUMS
    before = len(found.faults)
    try:
        sums = commits.record(directory, manifests.FILES)
    except (IntegrityError, OSError) as error:
        found.add("table", path, *_told(path, error))
        return None
    for stray in commits.uncommitted(directory, manifests.FILES, sums):
        found.add("table", stray, f"{manifests.SUMS} does not name it", commits.START_AGAIN)
    for name, digest in sums.items():
        found.add("table", directory / name, *_table_fault(directory, name, digest))
    if len(found.faults) > before:
        return None
    try:
        return manifests.load(directory, progress)
    except (SidcurateError, OSError) as error:
        found.add("table", directory, *_told(directory, error))
        return None


def _table_fault(directory: Path, name: str, digest: str) -> tuple[str | None, str]:
    try:
        where, _ = commits.committed(directory, name, digest)
    except (IntegrityError, OSError) as error:
        return _told(directory / name, error)
    if where.name == name:
        return None, ""
    return _CUT_OFF


def _told(path: Path, error: Exception) -> tuple[str, str]:
    """Return what an error says, without the path that stands beside it, and what it says to do."""
    words = str(error).removeprefix(f"{path.parent}/").removeprefix(path.name)
    fault, _, cure = words.lstrip(": /").partition("; ")
    return fault, cure or "make it readable, or restore it from a copy"


def _examine_traces(
    found: Examination,
    directory: Path,
    rows: Rows[Capture],
    progress: Callable[[str, int, int], None],
    *,
    deep: bool,
) -> None:
    hashed = rows.take(~rows.sha256.unknown)
    for done, (sha256, height, width) in enumerate(hashed.facts("sha256", "height", "width"), start=1):
        path = traces.path(directory, sha256)
        if _HASH.fullmatch(sha256) and os.path.lexists(path):
            found.add("trace", path, *_trace_fault(path, (height, width), deep=deep))
        progress("looking at the traces", done, len(hashed))


def _trace_fault(path: Path, of_raw: tuple[int, int], *, deep: bool) -> tuple[str | None, str]:
    """Return what is wrong with the trace of a raw of some height and width: with `deep`, after reading all of it."""
    try:
        if not deep:
            trace.check(path)
            return None, ""
        size = tuple(trace.load(path).size.tolist())
    except (IntegrityError, OSError) as error:
        return _told(path, error)
    fault = f"it is of a frame of {size}, the raw has {of_raw} (height, width)"
    return None if size == of_raw else fault, "delete it and ingest again"


def _examine_raws(
    found: Examination,
    directory: Path,
    rows: Rows[Capture],
    progress: Callable[[str, int, int], None],
    *,
    deep: bool,
    bucket: str | None,
) -> None:
    read = rows.take(~rows.status.equals("listed"))
    folder = files.folder(directory)
    if not len(read) or folder is None:
        found.left_out.append(f"the raws of {directory.name}: nothing says where they are")
        return None
    if away := files.out_of_reach(directory):
        if bucket and f"{away}/".startswith(f"{bucket}/"):
            return _examine_bucket(found, Bucket.at(away), read, source.read(directory).seen)
        found.left_out.append(
            f"the raws of {directory.name}: they are in {away}; `--bucket {shlex.quote(away)}` lists them"
        )
        return None
    root = Path(folder)
    if not root.is_dir():
        cure = f'connect the disk, or set "root" in {directory / "source.json"} to where the raws are now'
        return found.add("raw", root, "the folder of the raws is not there", cure)
    looked = Rows.of(FileState, files.states(directory, rows, "deep" if deep else "changed", progress))
    recorded = read.facts("path", "size_bytes", "sha256")
    for (path, *then), (*now, fault) in zip(recorded, looked.facts("size_bytes", "sha256", "fault"), strict=True):
        found.add("raw", root / path, f"it cannot be read ({fault})" if fault else _raw_fault(*then, *now), _RESTORE)
    return None


def _examine_bucket(found: Examination, place: Bucket, read: Rows[Capture], seen: Mapping[str, Seen]) -> None:
    """Compare what was ingested with what the listing says now; nothing is read."""
    try:
        listed = {file.path: file for file in place.scan().raws}
    except UsageError as error:
        return found.add(
            "raw", place.name, str(error).removeprefix(f"{place} "), "see to the bucket, or ingest from another place"
        )
    for path, size in read.facts("path", "size_bytes"):
        now, etag = listed.get(path), next(iter(seen.get(path, ())[2:]), None)
        fault = _object_fault((size, etag), (now.size_bytes, now.etag) if now else None)
        found.add("raw", f"{place}/{path}", fault, _RESTORE)
    return None


def _object_fault(then: tuple[int, str | None], now: tuple[int, str | None] | None) -> str | None:
    """Return what is wrong with an object, given its size and ETag; an older ingest did not keep the latter."""
    if now is None:
        return "it is not there"
    if now[0] != then[0]:
        return f"it has {now[0]} bytes, {then[0]} were ingested"
    return "its ETag is not the one that was ingested" if then[1] and now[1] != then[1] else None


def _raw_fault(size_then: int | None, sha256_then: str | None, size: int | None, sha256: str | None) -> str | None:
    if size is None:
        return "it is not there, no plain file, or a link that leads out of the folder"
    if size != size_then:
        return f"it has {size} bytes, {size_then} were ingested"
    if sha256 is not None and sha256 != sha256_then:
        return "its SHA-256 is not the one that was ingested"
    return None


def _entry_fault(pixels: Path, *, deep: bool) -> tuple[str | None, str]:
    look = entries.check if deep else entries.read
    try:
        look(pixels)
    except (IntegrityError, OSError) as error:
        return _told(pixels, error)
    return None, ""


def _weights_fault(weights: Path) -> str | None:
    sidecar = weights.with_suffix(".json")
    try:
        digest = json.loads(read_bounded(sidecar, _MOST_SIDECAR_BYTES))["sha256"]
    except FileNotFoundError:
        return f"its side-car {sidecar.name} is not there"
    except (IntegrityError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return f"its side-car {sidecar.name} cannot be read ({type(error).__name__}: {error})"
    # The rename that gives new weights their name may be due: the next save does it.
    waiting = commits.staged(weights.parent, weights.name, digest) if _HASH.fullmatch(str(digest)) else weights
    there = [path for path in (weights, waiting) if path.is_file()]
    try:
        if any(manifests.sha256_of(path) == digest for path in there):
            return None
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return "its SHA-256 is not the one in its side-car" if there else f"it is not there, but {sidecar.name} is"


def _state_fault(path: Path, *, deep: bool) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip() if deep else None
    except (OSError, ValueError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:
        return str(error) or type(error).__name__
    return None if damaged is None else f"the checksum of its part {damaged} is another one"
