"""Find the raw files of a folder, by extension and by content."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from sidcurate.counted import counted
from sidcurate.errors import UsageError
from sidcurate.places.rawfile import leads_out

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
HEAD_BYTES = 32


@dataclass
class Scan:
    """What a folder holds: the raws, sorted by path, and how many other files were passed over.

    `unlisted` are the folders below it that could not be listed, with the reason.
    """

    root: str
    raws: list["RawFile"] = field(default_factory=list)
    side_cars: int = 0
    others: Counter[str] = field(default_factory=Counter)
    unlisted: dict[str, str] = field(default_factory=dict)

    def takes(self, path: str, head: Callable[[str], bytes]) -> bool:
        """Return whether a file is a raw; one that is none is counted.

        Args:
            path: of the file, relative to the root.
            head: the first bytes of the file at such a path, empty where they cannot be read; asked for only where the
                name tells nothing.
        """
        stem, dot, extension = path.rpartition("/")[2].rpartition(".")
        suffix = f".{extension.lower()}" if dot and stem else ""
        if suffix in RAW_SUFFIXES:
            return True
        if suffix in SIDE_CAR_SUFFIXES:
            self.side_cars += 1
            return False
        if suffix not in _PICTURE_SUFFIXES and _is_raw_head(head(path)):
            return True
        self.others[suffix or "no extension"] += 1
        return False

    def checked(self) -> "Scan":
        """Return this scan, its raws sorted.

        Raises:
            UsageError: there are none.
        """
        self.raws.sort(key=attrgetter("path"))
        if not self.raws:
            raise UsageError(f"{self.root} holds no raw files: {self._why_empty()}")
        return self

    def _why_empty(self) -> str:
        others = self.others.total()
        if self.unlisted:
            folder, why = next(iter(self.unlisted.items()))
            return f"{folder} in it cannot be listed ({why}); check its permissions"
        if not self.side_cars and not others:
            return "there is no file at all; copy the raws into it, or give another folder"
        if not others:
            pictures = counted(self.side_cars, "JPEG, HEIC or side-car", "JPEGs, HEICs and side-cars")
            return f"only {pictures}; set the camera to raw, or copy the raws too"
        seen = f"{counted(others + self.side_cars, 'other file')}, {self.side_cars} of them JPEG, HEIC or side-cars"
        return f"{seen}; known extensions: {' '.join(sorted(RAW_SUFFIXES))}"


class RawFile(NamedTuple):
    """A raw file as it is listed; `path` is relative to what was scanned, with forward slashes.

    `etag` is what an object store says of its content; a folder says nothing.
    """

    path: str
    size_bytes: int
    mtime_ns: int
    etag: str | None = None

    @property
    def seen(self) -> tuple[int, int] | tuple[int, int, str]:
        """What must be the same for the content to be the same."""
        return (self.size_bytes, self.mtime_ns) if self.etag is None else (self.size_bytes, self.mtime_ns, self.etag)


def scan(root: Path, progress: Callable[[int], None] = lambda found: None) -> Scan:
    """Return what a folder and the folders below it hold.

    Links to folders are not followed, nor links that lead out of the folder; hidden files are left out.

    Args:
        root: the folder.
        progress: called with the count of raws found so far.

    Raises:
        UsageError: the folder cannot be listed or named, or holds no raw file.
    """
    if not _is_text(os.path.realpath(root)):
        raise UsageError(f"{root}: its path has {NOT_TEXT}, which no manifest can hold; rename that folder")
    found, head = Scan(str(root)), partial(_head, root)
    for path, entry in _files(root, found.unlisted):
        if kind := _why_no_row(root, path, entry):
            found.others[kind] += 1
        elif found.takes(path, head):
            found.raws += _as_listed(path, entry)
            progress(len(found.raws))
    return found.checked()


def is_raw(path: Path) -> bool:
    """Return whether a file that is there would have a row, by its name and content."""
    return Scan(str(path.parent)).takes(path.name, partial(_head, path.parent))


def _files(root: Path, unlisted: dict[str, str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield whatever is no folder, with its path relative to the root; note the folders that cannot be listed."""
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(root / folder) as entries:
                listed = list(entries)
            (root / folder / "..").stat()  # A folder that may be read and not entered tells names and nothing else.
        except OSError as error:
            if not folder:
                cure = "give the folder that holds the raws of one camera, or permit it"
                raise UsageError(f"{root} cannot be listed ({error.strerror}); {cure}") from error
            unlisted[folder] = error.strerror or str(error)
            continue
        while listed:
            entry = listed.pop()  # It goes as its file comes: those of a million take half a gigabyte.
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            else:
                yield path, entry


def _as_listed(path: str, entry: os.DirEntry[str]) -> tuple[RawFile, ...]:
    try:
        status = entry.stat()
    except FileNotFoundError:  # It went away since the folder was listed.
        return ()
    return (RawFile(path, status.st_size, status.st_mtime_ns),)


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


def _head(root: Path, path: str) -> bytes:
    try:
        with (root / path).open("rb") as stream:
            return stream.read(HEAD_BYTES)
    except OSError:
        return b""  # Without a raw extension or a readable head, nothing says that this is a raw.


def _is_raw_head(head: bytes) -> bool:
    return head.startswith(_RAW_HEADS) or head[4:12] == b"ftypcrx "
