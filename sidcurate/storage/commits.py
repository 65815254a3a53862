"""Files of one folder that change together: `SHA256SUMS` is the record that commits them.

A writer stages each new file under a hidden name that carries its hash, replaces the record in one rename, and only
then gives the staged files their names. A committed file so stands under its own name or, if the writer died before
that last rename, under its staged one, and the hash in the record tells which. Readers take what matches and change
nothing; the next writer, who holds the lock, finishes the renames and sweeps what was never committed.

A file of one machine, which no sum covers, can be committed beside the others: it waits under a name with the hash of
the record that it goes with.
"""

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sidcurate.errors import IntegrityError, MissingResourceError, UsageError
from sidcurate.storage.durable import make_folder, read_bounded, sweep, sync_folder, write_whole

RECORD = "SHA256SUMS"
LOCK = ".lock"
START_AGAIN = "move the folder away and run `sidcurate ingest` again"
_LINE = re.compile(r"([0-9a-f]{64})  ([^\n]+)\n")
_STAGED = re.compile(r"\.(.+)\.([0-9a-f]{64})")
MOST_RECORD_BYTES = 1 << 16
MOST_FILE_BYTES = 1 << 30
_PATIENCE_S = 60.0
_LOOK_EVERY_S = 0.02


@dataclass(frozen=True)
class Commit:
    """The files of one commit, verified: their hashes and bytes by name, and whose last rename is still due."""

    sums: Mapping[str, str]
    contents: Mapping[str, bytes]
    unfinished: frozenset[str]


def read(folder: Path, names: Sequence[str]) -> Commit:
    """Return the last commit of a folder, all its files together, even while another process commits the next.

    Args:
        folder: where the files stand.
        names: every name that may be committed there.

    Raises:
        IntegrityError: there is no record, it names another file, or a file is not the one it names.
    """
    try:
        return _read(folder, names)
    except IntegrityError:
        # The record was read before a commit and a file after it: look again while nobody writes.
        with _locked(folder, fcntl.LOCK_SH):
            return _read(folder, names)


def replace(
    folder: Path,
    names: Sequence[str],
    files: Mapping[str, bytes],
    based_on: Mapping[str, str | None] | None = None,
    beside: Mapping[str, bytes] | None = None,
) -> None:
    """Commit new files together; those that are not named stay as they are.

    Args:
        folder: where the files stand; made if it is missing.
        names: every name that may be committed there.
        files: new bytes by name.
        based_on: the sums of the committed files that the new ones were made from, None for one that was not there.
        beside: new bytes by name of what goes with these files and is covered by no sum.

    Raises:
        UsageError: somebody has committed others of these files since `based_on`.
        IntegrityError: what stands there is damaged; nothing is overwritten.
        MissingResourceError: the disk is full, or refuses, or another process does not end its commit.
    """
    make_folder(folder)
    with _locked(folder, fcntl.LOCK_EX):
        last = _finished(folder, names)
        if any(last.get(name) != digest for name, digest in (based_on or {}).items()):
            raise UsageError(f"{folder} was changed by another process meanwhile, nothing was written; run again")
        _clear(folder)
        sums = sums_of(files)
        changed = {name: digest for name, digest in sums.items() if digest != last.get(name)}
        text = record_of(last | changed)
        new = changed | dict.fromkeys(beside or (), hashlib.sha256(text).hexdigest())
        contents = {**files, **(beside or {})}
        for name, digest in new.items():
            write_whole(staged(folder, name, digest), contents[name])
        if changed:
            write_whole(folder / RECORD, text)
        _give_names(folder, new)


def record(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the hash of each committed file by its name, as the record has it.

    Raises:
        IntegrityError: there is no record, or it is none of ours.
    """
    path = folder / RECORD
    try:
        content = read_bounded(path, MOST_RECORD_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise IntegrityError(f"{path} cannot be read ({error}); {START_AGAIN}") from error
    return parsed(content, path, names, START_AGAIN)


def parsed(content: bytes, where: object, names: Sequence[str], cure: str) -> dict[str, str]:
    """Return the hash of each file by its name, as the bytes of a record have it.

    Args:
        content: the record.
        where: what it is called in messages.
        names: every name that it may have.
        cure: what to do about one that is none of ours.

    Raises:
        IntegrityError: it is none of ours.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise IntegrityError(f"{where} cannot be read ({error}); {cure}") from error
    lines = [(match[2], match[1]) for match in _LINE.finditer(text)]
    sums = dict(lines)
    if foreign := set(sums) - set(names):
        raise IntegrityError(
            f"{where} names {foreign.pop()!r}, which this version does not know; if a newer sidcurate wrote it, "
            f"upgrade (`pip install -U sidcurate`), else {cure}"
        )
    if not sums or len(sums) < len(lines) or _LINE.sub("", text):
        raise IntegrityError(f"{where} is empty or not as it was written; {cure}")
    return sums


def record_of(sums: Mapping[str, str]) -> bytes:
    """Return the bytes of the record of some files, given their hashes by name."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())).encode()


def sums_of(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the hash of each file by its name."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def committed(folder: Path, name: str, digest: str) -> tuple[Path, bytes]:
    """Return where a committed file stands, and its bytes.

    Raises:
        IntegrityError: nothing there has the hash.
    """
    for path in (folder / name, staged(folder, name, digest)):
        try:
            content = read_bounded(path, MOST_FILE_BYTES)
        except FileNotFoundError:
            continue
        if hashlib.sha256(content).hexdigest() == digest:
            return path, content
    raise IntegrityError(
        f"{folder / name} is damaged or was changed by hand: its SHA-256 is not the one in {RECORD}; {START_AGAIN}"
    )


def staged(folder: Path, name: str, digest: str) -> Path:
    """Return where a file waits for its commit, and for its name."""
    return folder / f".{name}.{digest}"


def beside(folder: Path, name: str) -> Path:
    """Return where the file that goes with the last commit stands, or should."""
    waiting = staged(folder, name, _record_digest(folder))
    return waiting if os.path.lexists(waiting) else folder / name


def read_beside(folder: Path, name: str, most_bytes: int) -> bytes | None:
    """Return the bytes of the file that goes with the last commit, None where there is none.

    Raises:
        IntegrityError: it is a link, no file at all, or too large.
    """
    for path in (beside(folder, name), folder / name):  # A writer may give it its name meanwhile.
        with suppress(FileNotFoundError, NotADirectoryError):
            return read_bounded(path, most_bytes)
    return None


def uncommitted(folder: Path, names: Sequence[str], sums: Mapping[str, str]) -> list[Path]:
    """Return the files under a name of ours that the record does not know."""
    return [folder / name for name in names if name not in sums and os.path.lexists(folder / name)]


def _read(folder: Path, names: Sequence[str]) -> Commit:
    sums = record(folder, names)
    for path in uncommitted(folder, names, sums):
        raise IntegrityError(
            f"{path} is not in {RECORD}: it was put there by hand, or the record is cut; {START_AGAIN}"
        )
    found = {name: committed(folder, name, digest) for name, digest in sums.items()}
    return Commit(
        sums=sums,
        contents={name: content for name, (_, content) in found.items()},
        unfinished=frozenset(name for name, (path, _) in found.items() if path.name != name),
    )


def _finished(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the sums of the last commit after finishing its renames; none where nothing was ever committed."""
    if not os.path.lexists(folder / RECORD):
        for path in uncommitted(folder, names, {}):
            raise IntegrityError(f"{path} stands there without a {RECORD}; {START_AGAIN}")
        return {}
    last = _read(folder, names)
    due = {name: last.sums[name] for name in last.unfinished}
    due |= {name: digest for name, digest in _waiting(folder) if digest == _record_digest(folder)}
    if due:
        sync_folder(folder)  # The record may be in memory only: it goes to the disk before a file takes its name.
    _give_names(folder, due)
    return dict(last.sums)


def _record_digest(folder: Path) -> str:
    try:
        return hashlib.sha256(read_bounded(folder / RECORD, MOST_RECORD_BYTES)).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return hashlib.sha256(b"").hexdigest()


def _waiting(folder: Path) -> list[tuple[str, str]]:
    """Return the name and the hash of everything that is staged."""
    found = (_STAGED.fullmatch(path.name) for path in folder.iterdir())
    return [(match[1], match[2]) for match in found if match]


def _give_names(folder: Path, sums: Mapping[str, str]) -> None:
    for name, digest in sums.items():
        staged(folder, name, digest).replace(folder / name)
    if sums:
        sync_folder(folder)


def _clear(folder: Path) -> None:
    """Remove what writers who died before their commit have left."""
    sweep(folder)
    for name, digest in _waiting(folder):
        staged(folder, name, digest).unlink()


@contextmanager
def _locked(folder: Path, kind: int) -> Iterator[None]:
    """Hold the lock of a folder; it goes with its process, however that ends. A reader takes it where there is one."""
    flags = os.O_RDONLY if kind == fcntl.LOCK_SH else os.O_RDWR | os.O_CREAT
    try:
        handle = os.open(folder / LOCK, flags | os.O_NOFOLLOW, 0o666)
    except FileNotFoundError:
        if kind != fcntl.LOCK_SH:
            raise
        yield  # Nobody has ever written here.
        return
    try:
        _wait_for(folder, handle, kind)
        yield
    finally:
        os.close(handle)


def _wait_for(folder: Path, handle: int, kind: int) -> None:
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise MissingResourceError(
                    f"another process has been writing {folder} for {_PATIENCE_S:g} s (`fuser {folder / LOCK}` names "
                    "it); wait for it or end it, then run again"
                ) from None
            time.sleep(_LOOK_EVERY_S)
        except OSError as error:
            raise MissingResourceError(
                f"{folder / LOCK} cannot be locked ({error.strerror}), so that two writers could meet; nothing was "
                "written: use a disk with locks, or mount this one with them (flock)"
            ) from error
