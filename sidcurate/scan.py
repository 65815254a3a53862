"""Find the raw files of a folder, by extension and by content."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sidcurate.errors import UsageError

RAW_SUFFIXES = frozenset(
    ".3fr .arw .bay .cap .cr2 .cr3 .crw .dcr .dng .erf .fff .gpr .iiq .k25 .kdc .mef .mos .mrw .nef .nrw .orf .pef .ptx"
    " .raf .raw .rw2 .rwl .sr2 .srf .srw .x3f".split()
)
SIDE_CAR_SUFFIXES = frozenset(".jpg .jpeg .heic .heif .hif .xmp .thm".split())
NOT_TEXT = "a name that is no UTF-8"
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
    """What a folder holds: the raws, sorted by path, and how many other files were passed over."""

    root: Path
    raws: list["RawFile"] = field(default_factory=list)
    side_cars: int = 0
    others: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, order=True)
class RawFile:
    """A raw file as the directory shows it; `path` is relative to the scanned folder, with forward slashes."""

    path: str
    size_bytes: int
    mtime_ns: int


def scan(root: Path) -> Scan:
    """Return what a folder and the folders below it hold. Links to folders are not followed; hidden files are left out.

    Raises:
        UsageError: the folder is missing, cannot be listed, or holds no raw file.
    """
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder; give the folder that holds the raws of one camera")
    found = Scan(root)
    for entry in _files(root):
        _sort_in(found, entry)
    found.raws.sort()
    if not found.raws:
        seen = found.side_cars + found.others.total()
        raise UsageError(
            f"{root} holds no raw files ({seen} other files, {found.side_cars} of them JPEG or side-cars); "
            f"known extensions: {' '.join(sorted(RAW_SUFFIXES))}"
        )
    return found


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UsageError(f"{folder} cannot be listed ({error.strerror}); check its permissions") from error
    for entry in listed:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path))
        elif entry.is_file():
            yield entry


def _sort_in(found: Scan, entry: os.DirEntry[str]) -> None:
    suffix = Path(entry.name).suffix.lower()
    if not _is_text(entry.path):
        found.others[NOT_TEXT] += 1
    elif suffix in SIDE_CAR_SUFFIXES:
        found.side_cars += 1
    elif suffix in RAW_SUFFIXES or (suffix not in _PICTURE_SUFFIXES and _has_raw_head(entry.path)):
        status = entry.stat()
        path = Path(entry.path).relative_to(found.root).as_posix()
        found.raws.append(RawFile(path, status.st_size, status.st_mtime_ns))
    else:
        found.others[suffix or "no extension"] += 1


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
