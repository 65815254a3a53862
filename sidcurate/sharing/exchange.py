"""A manifest in an object store: pushed from one machine, fetched by others.

Each file lies there under a name that carries its hash, so that two writers meet nowhere but at `SHA256SUMS`. That one
is put last, and only in the place of the version that the manifest comes from. Who fetches reads it first, and so has
the files of one push, all together; none of them is ever changed or removed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sidcurate import manifests, source
from sidcurate.errors import IntegrityError, MissingResourceError, UsageError
from sidcurate.manifests import Manifest
from sidcurate.places.objects import Objects
from sidcurate.schemas import Capture, Pair, Unpaired
from sidcurate.sharing import pushed, remote, trace_exchange
from sidcurate.sharing.pushed import RECORD, TRACES, Record
from sidcurate.sharing.remote import Version
from sidcurate.sharing.trace_exchange import Progress
from sidcurate.source import Source
from sidcurate.storage import commits

_NO_ETAG = '"00000000000000000000000000000000"'
# What a person has made; findings are made again in a second.
_WORK = tuple(f"{model.table}.parquet" for model in (Capture, Pair, Unpaired))


@dataclass(frozen=True)
class Moved:
    """How many files went over the line, or would: tables with what is said of them, and traces."""

    files: int
    traces: int


def push(
    directory: Path,
    store: Objects,
    *,
    traces: bool = False,
    dry_run: bool = False,
    progress: Progress = lambda stage, done, total: None,
) -> Moved:
    """Send a manifest to a store, in the place of the version that it comes from.

    Args:
        directory: folder of the manifest.
        store: where to.
        traces: send those of its raws too; without, those of the last push stay.
        dry_run: look at what is here and there, send nothing.
        progress: called with the stage in words, the count done in it and the count to do.

    Raises:
        UsageError: no manifest is here or it changes meanwhile, another version is there, the raws are, or a trace is
            not here.
        IntegrityError: the manifest is damaged, or what is there is none.
        MissingResourceError: the store does not answer, or does not keep conditions.
    """
    commit = manifests.commit(directory)
    there, known = pushed.read(store), remote.read(directory)
    last = known.get(store.name, Version())
    said = _said_there(directory, store, there)
    if commits.record(directory, manifests.FILES) != commit.sums:
        raise UsageError(f"{directory} was changed by another process meanwhile, and nothing was sent; push again")
    kept = trace_exchange.of_manifest(manifests.of_commit(directory, commit), said, progress) if traces else None
    files = {**commit.contents, source.FILE: source.content(said)}
    if kept:
        files[TRACES] = (kept.model_dump_json(indent=1) + "\n").encode()
    ours = _ours(files, there)
    if there and there.digest not in (ours.digest, *last.records):
        raise UsageError(_another_version(store, last))
    new_traces = trace_exchange.lacking_there(directory, store, kept) if kept else []
    before = there.sums if there else {}
    new = {name: content for name, content in files.items() if before.get(name) != ours.sums[name]}
    if dry_run:
        return Moved(len(new), len(new_traces))
    trace_exchange.send(store, new_traces, progress)
    if there is None or there.digest != ours.digest:
        _send_files(store, new, ours, progress)
        tried = last.model_copy(update={"records": (*last.records, ours.digest)})
        _remember(directory, known | {store.name: tried})  # Before the put: who dies after it is the one who put it.
        _commit_there(store, ours, there, last)
    _remember(directory, known | {store.name: Version(records=(ours.digest,), sums=dict(commit.sums))})
    return Moved(len(new), len(new_traces))


def fetch(
    store: Objects,
    directory: Path,
    *,
    traces: bool = False,
    dry_run: bool = False,
    progress: Progress = lambda stage, done, total: None,
) -> Moved:
    """Bring the last version of a manifest from a store; what is here already is not loaded again.

    Args:
        store: where from.
        directory: folder of the manifest, made if it is missing.
        traces: bring those of its raws too.
        dry_run: check what is there, and change nothing here.
        progress: called with the stage in words, the count done in it and the count to do.

    Raises:
        UsageError: nothing is there, or the folder has rows that were never pushed, or gets others meanwhile.
        IntegrityError: something is damaged, there or here; nothing is changed.
        MissingResourceError: the store does not answer, or the disk is full.
    """
    there, known, here = pushed.read(store), remote.read(directory), _here(directory)
    if there is None:
        raise UsageError(f"no manifest is at {store}; `sidcurate manifest push` puts one there")
    if not _is_kept(here.sums, there, known.get(store.name, Version())):
        raise UsageError(
            f"{directory} has rows that were never pushed to {store}, and would lose them: push it, or fetch into "
            "another folder"
        )
    tables = {name: digest for name, digest in there.sums.items() if name in manifests.FILES}
    new = {name: digest for name, digest in tables.items() if here.sums.get(name) != digest}
    contents = {**here.contents, **_files_there(store, new, progress)}
    contents = {name: contents[name] for name in tables}
    manifest = _checked(store, directory, commits.Commit(tables, contents, frozenset()))
    said = _said_here(directory, store, there)
    new_traces = trace_exchange.lacking_here(store, there, manifest, said) if traces else []
    if dry_run:
        return Moved(len(new), len(new_traces))
    trace_exchange.take(store, directory, new_traces, progress)
    version = Version(records=(there.digest,), sums=tables)
    beside = {source.FILE: source.content(said), remote.FILE: remote.content(known | {store.name: version})}
    still = {name: here.sums.get(name) for name in _WORK}
    commits.replace(directory, manifests.FILES, contents, still, beside)
    return Moved(len(new), len(new_traces))


def _here(directory: Path) -> commits.Commit:
    exists = (directory / RECORD).exists()
    return manifests.commit(directory) if exists else commits.Commit({}, {}, frozenset())


def _ours(files: Mapping[str, bytes], there: Record | None) -> Record:
    """Return the record of what is pushed, with the traces of the last push where there are no others."""
    before = {TRACES: there.sums[TRACES]} if there and TRACES in there.sums else {}
    sums = before | commits.sums_of(files)
    return Record(commits.record_of(sums), sums)


def _said_there(directory: Path, store: Objects, there: Record | None) -> Source:
    """Return what the store is told of the raws. Their folder here means nothing elsewhere; their bucket does.

    Raises:
        UsageError: they are where it would be written.
    """
    said = source.read(directory)
    if not (said.root and source.is_url(said.root)):
        before = _source_there(store, there) if there else Source()
        said = said.model_copy(update={"root": before.root})
    if said.root and f"{store}/".startswith(f"{said.root.rstrip('/')}/"):
        raise UsageError(
            f"{store} lies in {said.root}, where the raws are and nothing is written: name another address"
        )
    return said


def _said_here(directory: Path, store: Objects, there: Record) -> Source:
    """Return what is known of the raws here: what the store says, but for the folder that was set here."""
    root, said = source.read(directory).root, _source_there(store, there)
    keeps_ours = root and not (source.is_url(root) and said.root)
    return said.model_copy(update={"root": root}) if keeps_ours else said


def _source_there(store: Objects, there: Record) -> Source:
    """Return what the store says of the raws; of a folder on somebody's machine it says nothing."""
    if source.FILE not in there.sums:
        return Source()
    path = pushed.path(source.FILE, there.sums[source.FILE])
    content = pushed.content(store, path, there.sums[source.FILE], source.MOST_BYTES, pushed.AGAIN)
    said = source.parsed(content, f"{store}/{path}", pushed.AGAIN)
    return said if said.root and source.is_url(said.root) else said.model_copy(update={"root": None})


def _send_files(store: Objects, new: Mapping[str, bytes], ours: Record, progress: Progress) -> None:
    """Send what the store does not have yet, and a copy of the record beside it."""
    for done, (name, content) in enumerate(new.items(), start=1):
        store.put(pushed.path(name, ours.sums[name]), content)
        progress("sending tables", done, len(new))
    _check_conditions(store, f"{RECORD}.{ours.digest}", ours.content)


def _check_conditions(store: Objects, path: str, content: bytes) -> None:
    """Write an object once, and see that it cannot be written again.

    Raises:
        MissingResourceError: it can.
    """
    store.put(path, content)
    if store.put(path, content) or store.put(path, content, replaces=_NO_ETAG):
        raise MissingResourceError(
            f"{store} takes no notice of the conditions of a put (If-None-Match, If-Match), so that two pushes could "
            "overwrite each other; nothing was committed: use a store that keeps them, as Amazon's and MinIO do since "
            "the end of 2024"
        )


def _commit_there(store: Objects, ours: Record, there: Record | None, last: Version) -> None:
    """Put the record in the place of the one that was read.

    Raises:
        UsageError: somebody else was first.
    """
    if store.put(RECORD, ours.content, there.etag if there else None):
        return
    now = pushed.read(store)
    if now is None or now.digest != ours.digest:  # Else a put whose answer was lost had done it.
        raise UsageError(_another_version(store, last))


def _another_version(store: Objects, last: Version) -> str:
    meanwhile = "has been pushed to by somebody else meanwhile"
    what = meanwhile if last.records else "has a manifest that does not come from this one"
    return (
        f"{store} {what}, and was left as it is; fetch it, into another folder if rows here were never pushed, and go "
        "on from there"
    )


def _remember(directory: Path, known: Mapping[str, Version]) -> None:
    commits.replace(directory, manifests.FILES, {}, beside={remote.FILE: remote.content(known)})


def _is_kept(here: Mapping[str, str], there: Record, last: Version) -> bool:
    """Return whether the work that is here stands in the store too, now or in the version that they had in common."""
    work = {name: here[name] for name in _WORK if name in here}
    return work.items() <= there.sums.items() or work.items() <= last.sums.items()


def _files_there(store: Objects, sums: Mapping[str, str], progress: Progress) -> dict[str, bytes]:
    found = {}
    for done, (name, digest) in enumerate(sums.items(), start=1):
        found[name] = pushed.content(store, pushed.path(name, digest), digest, commits.MOST_FILE_BYTES, pushed.AGAIN)
        progress("fetching tables", done, len(sums))
    return found


def _checked(store: Objects, directory: Path, commit: commits.Commit) -> Manifest:
    """Return the manifest that tables make.

    Raises:
        IntegrityError: they make none.
    """
    try:
        return manifests.of_commit(directory, commit)
    except IntegrityError as error:
        what = str(error).removeprefix(f"{directory}/").partition("; ")[0]
        raise IntegrityError(f"what is at {store} was not taken: {what}; nothing here was changed") from error
