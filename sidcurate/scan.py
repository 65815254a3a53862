"""Find the raw files of a folder, by extension and by content."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from sidcurate.errors import UsageError
from sidcurate.rawfile import leads_out

RAW_SUFFIXES = frozenset(
    ".3fr .arw .bay .cap .cr2 .cr3 .crw .dcr .dng .erf .fff .gpr .iiq .k25 .kdc .mef .mos .mrw .nef .nrw .orf .pef .ptx"
    " .raf .raw .rw2 .rwl .sr2 .srf .srw .x3f".split()
)
SIDE_CAR_SUFFIXES = frozenset(".jpg .jpeg .heic .heif .hif .xmp .thm".split())
NOT_TEXT = "a name that is no UTF-8"
LEADS_OUT = "a link that leads out of the folder"
LINKED_FOLDER = "a link to a folder"
NOT_PLAIN = "no plain file: a pipe, a socket, a broken link"
# A TIFF head under one of these names is a picture, not a raw.
_PICTURE_SUFFIXES = frozenset(".tif .tiff .png .npy .psd".split())
_RAW_HEADS = (
    b"II*\x00",  # TIFF: DNG, CR2, NEF, ARW, ...
    b"MM\x00*",
    b"IIU\x00",  # RW2
    b"IIRO",  # ORF
    b"IIRS",
    b"MMOR",
    b"FUJIFILMCCD-RAW",
    b"FOVb",  # X3F
    b"\x00MRM",  # MRW
    b"II\x1a\x00\x00\x00HEAPCCDR",  # CRW
)


@dataclass
class Scan:
    """What a folder holds: the raws, sorted by path, and how many other files were passed over.

    `unlisted` are the folders below it that could not be listed, with the reason.
    """

    root: Path
    raws: list["RawFile"] = field(default_factory=list)
    side_cars: int = 0
    others: Counter[str] = field(default_factory=Counter)
    unlisted: dict[str, str] = field(default_factory=dict)


class RawFile(NamedTuple):
    """A raw file as the directory shows it; `path` is relative to the scanned folder, with forward slashes."""

    path: str
    size_bytes: int
    mtime_ns: int


def scan(root: Path) -> Scan:
    """Return what a folder and the folders below it hold.

    Links to folders are not followed, nor links that lead out of the folder; hidden files are left out.

    Raises:
        UsageError: the folder is missing, cannot be listed, or holds no raw file.
    """
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder; give the folder that holds the raws of one camera")
    found = Scan(root)
    for path, entry in _files(found):
        _sort_in(found, path, entry)
    found.raws.sort(key=attrgetter("path"))
    if not found.raws:
        seen = found.side_cars + found.others.total()
        raise UsageError(
            f"{root} holds no raw files ({seen} other files, {found.side_cars} of them JPEG or side-cars); "
            f"known extensions: {' '.join(sorted(RAW_SUFFIXES))}"
        )
    return found


def _files(found: Scan) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield whatever is no folder, with its path relative to the root; note the folders that cannot be listed."""
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(found.root / folder) as entries:
                listed = list(entries)
        except OSError as error:
            if not folder:
                raise UsageError(f"{found.root} cannot be listed ({error.strerror}); check its permissions") from error
            found.unlisted[folder] = error.strerror or str(error)
            continue
        for entry in listed:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            else:
                yield path, entry


def _sort_in(found: Scan, path: str, entry: os.DirEntry[str]) -> None:
    stem, dot, extension = entry.name.rpartition(".")
    suffix = f".{extension.lower()}" if dot and stem else ""
    if kind := _why_no_row(found.root, path, entry):
        found.others[kind] += 1
    elif suffix in SIDE_CAR_SUFFIXES:
        found.side_cars += 1
    elif suffix in RAW_SUFFIXES or (suffix not in _PICTURE_SUFFIXES and _has_raw_head(entry.path)):
        try:
            status = entry.stat()
        except FileNotFoundError:  # It went away since the folder was listed.
            return
        found.raws.append(RawFile(path, status.st_size, status.st_mtime_ns))
    else:
        found.others[suffix or "no extension"] += 1


def _why_no_row(root: Path, path: str, entry: os.DirEntry[str]) -> str | None:
    """Say why what stands there can have no row, whatever its name; None where it can."""
    try:
        if not entry.is_file():
            return LINKED_FOLDER if entry.is_dir() else NOT_PLAIN
    except OSError:  # Links in a circle.
        return NOT_PLAIN
    if not _is_text(path):
        return NOT_TEXT
    return LEADS_OUT if entry.is_symlink() and leads_out(root, Path(entry.path)) else None


def _is_text(path: str) -> bool:
    """Return whether a path can stand in a table: a name of undecodable bytes cannot."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _has_raw_head(path: str) -> bool:
    try:
        with Path(path).open("rb") as stream:
            head = stream.read(32)
    except OSError:
        return False  # Without a raw extension or a readable head, nothing says that this is a raw.
    return head.startswith(_RAW_HEADS) or head[4:12] == b"ftypcrx "
