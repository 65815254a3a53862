"""A raw is read whole, once, and only if it is what it was said to be and stays so."""

import itertools
import os
import socket
from pathlib import Path

import pytest

from sidcurate.errors import UnreadableRawError
from sidcurate.ingest import reading
from sidcurate.isolation import Failure, crew
from sidcurate.places import rawfile
from sidcurate.places.place import Folder
from sidcurate.places.rawfile import read_whole
from sidcurate.places.scan import RawFile
from tests.fuzz import seeds


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "raws").mkdir()
    (tmp_path / "raws/a.dng").write_bytes(b"pixels")
    (tmp_path / "secret.dng").write_bytes(b"not yours")
    return tmp_path / "raws"


def seen(path: Path) -> RawFile:
    status = path.stat()
    return RawFile(path.name, status.st_size, status.st_mtime_ns)


def test_the_bytes_are_those_of_the_file(folder: Path) -> None:
    file = seen(folder / "a.dng")
    assert read_whole(folder, "a.dng", (file.size_bytes, file.mtime_ns)) == b"pixels"


def test_a_link_within_the_folder_is_followed_and_one_that_leads_out_is_not(folder: Path) -> None:
    (folder / "inside.dng").symlink_to("a.dng")
    (folder / "outside.dng").symlink_to("../secret.dng")
    (folder / "deep").symlink_to("..")
    assert read_whole(folder, "inside.dng") == b"pixels"
    for path in ("outside.dng", "deep/secret.dng", "../secret.dng", str(folder.parent / "secret.dng")):
        with pytest.raises(UnreadableRawError, match="leads out of the folder"):
            read_whole(folder, path)


def test_what_is_no_plain_file_is_refused_at_once(folder: Path) -> None:
    os.mkfifo(folder / "pipe.dng")
    (folder / "day.dng").mkdir()
    handles = len(list(Path("/dev/fd").iterdir()))
    for path in ("pipe.dng", "day.dng"):
        with pytest.raises(UnreadableRawError, match="no plain file"):
            read_whole(folder, path)
    assert len(list(Path("/dev/fd").iterdir())) == handles
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind(os.path.relpath(folder / "plug.dng"))
        with pytest.raises(OSError, match="No such device"):
            read_whole(folder, "plug.dng")
    (folder / "circle.dng").symlink_to("circle.dng")
    with pytest.raises(OSError, match=r"[Ll]oop|symbolic"):
        read_whole(folder, "circle.dng")


def test_a_file_that_pretends_to_be_endless_is_not_read(folder: Path) -> None:
    with (folder / "sparse.dng").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(UnreadableRawError, match=r"has 1099\.5 GB, more than the 2\.1 GB"):
        read_whole(folder, "sparse.dng")


@pytest.mark.parametrize("when", ["before", "between", "replaced"])
def test_a_file_that_changes_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    path, real = folder / "a.dng", os.fstat
    file = seen(path)
    calls = itertools.count()

    def change_at_the_second_look(handle: int) -> os.stat_result:
        if next(calls) == 1:
            if when == "between":
                path.write_bytes(b"piXels")
                os.utime(path, ns=(1, file.mtime_ns + 1))
            elif when == "replaced":
                path.with_name("new").write_bytes(b"another file")
                path.with_name("new").replace(path)
        return real(handle)

    if when == "before":
        path.write_bytes(b"pixels and more")
    monkeypatch.setattr(rawfile.os, "fstat", change_at_the_second_look)
    with pytest.raises(UnreadableRawError, match="changed while it was read; ingest again"):
        read_whole(folder, "a.dng", (file.size_bytes, file.mtime_ns))


def test_a_raw_that_is_still_being_copied_costs_one_row_that_the_next_ingest_reads_again(tmp_path: Path) -> None:
    whole = seeds.synthetic()["RGGB.dng"]
    path = tmp_path / "a.dng"
    path.write_bytes(whole[: len(whole) // 2])
    file = seen(path)
    path.write_bytes(whole)
    row = reading.read_capture(Folder(tmp_path), file, "cam")
    assert (row.status, row.sha256, row.status_reason) == ("unreadable", None, rawfile.CHANGED)


def test_a_raw_that_killed_its_reader_and_then_changed_costs_its_row(tmp_path: Path) -> None:
    path = tmp_path / "a.dng"
    path.write_bytes(seeds.synthetic()["RGGB.dng"])
    file = seen(path)
    path.write_bytes(b"")
    task = reading._Task(Folder(tmp_path), file, "cam", None)
    with crew(1) as workers:
        row = reading._without_pixels(task, Failure("the reader crashed (SIGSEGV)"), workers)
    assert (row.status_reason, row.sha256) == ("the reader crashed (SIGSEGV)", None)


def test_hash_and_pixels_are_those_of_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LibRaw is given the bytes that were hashed, and never opens the file a second time."""
    path = tmp_path / "a.dng"
    path.write_bytes(seeds.synthetic()["RGGB.dng"])
    file, real = seen(path), read_whole

    def read_then_lose(*arguments: object) -> bytes:
        content = real(*arguments)  # type: ignore[arg-type]
        path.unlink()
        return content

    monkeypatch.setattr(rawfile, "read_whole", read_then_lose)
    assert reading.read_capture(Folder(tmp_path), file, "cam").status == "ok"
