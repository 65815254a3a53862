"""A file is whole or absent."""

import errno
import fcntl
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from sidcurate.errors import IntegrityError, MissingResourceError
from sidcurate.storage import durable
from sidcurate.storage.durable import parts, read_bounded, require_place, sweep, whole_file, write_whole


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path) -> None:
    path = tmp_path / "table"
    write_whole(path, b"old")

    def fail() -> None:
        with whole_file(path) as stream:
            stream.write(b"half of the new")
            raise OSError("disk full")

    with pytest.raises(MissingResourceError, match=r"table cannot be written \(disk full\); nothing was lost: free"):
        fail()
    assert [file.name for file in tmp_path.iterdir()] == ["table"]
    assert path.read_bytes() == b"old"


def test_a_place_that_takes_no_file_is_refused_before_there_is_one(tmp_path) -> None:
    (tmp_path / "file").touch()
    require_place(tmp_path / "to" / "come")
    for place, reason in ((tmp_path / "file" / "in", "Not a directory"), (Path("/proc/self"), "")):
        with pytest.raises(MissingResourceError, match=rf"{place} takes no file \({reason}.*name another place"):
            require_place(place)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_reader_sees_the_old_file_until_the_block_ends(tmp_path) -> None:
    path = tmp_path / "table"
    write_whole(path, b"old")
    with whole_file(path) as stream:
        stream.write(b"new")
        stream.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_folders_that_lead_to_a_file_are_made_and_their_names_synced(tmp_path, monkeypatch) -> None:
    synced, real = [], durable.sync_folder
    monkeypatch.setattr(durable, "sync_folder", lambda folder: (synced.append(folder), real(folder)))
    for _ in range(2):
        write_whole(tmp_path / "a" / "b" / "table", b"new")
    assert (tmp_path / "a" / "b" / "table").read_bytes() == b"new"
    assert synced == [tmp_path, tmp_path / "a", *[tmp_path / "a" / "b"] * 2]


def test_the_reason_is_told_where_the_part_cannot_be_removed_either(tmp_path, monkeypatch) -> None:
    """As on a disk that the system has made read-only meanwhile."""

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    def fail() -> None:
        with whole_file(tmp_path / "table") as stream:
            monkeypatch.setattr(Path, "unlink", refuse)
            stream.write(b"half of the new")
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(MissingResourceError, match=r"table cannot be written \(Input/output error\)"):
        fail()


def test_a_sweep_removes_the_parts_of_the_dead_and_nothing_else(tmp_path) -> None:
    command = "import os, sys; from pathlib import Path; from sidcurate.storage.durable import whole_file\n"
    command += "with whole_file(Path(sys.argv[1])) as stream: stream.write(b'half'); stream.flush(); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", command, tmp_path / "table"], check=False).returncode == 9
    (tmp_path / ".part").write_text("a file of somebody else's")
    (dead,) = parts(tmp_path)
    with whole_file(tmp_path / "other") as stream:
        (living,) = set(parts(tmp_path)) - {dead}
        sweep(tmp_path)
        assert parts(tmp_path) == [living]
        stream.write(b"whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".part", "other"]
    assert (tmp_path / "other").read_bytes() == b"whole"


def test_a_part_that_is_swept_before_it_is_locked_is_made_again(tmp_path, monkeypatch) -> None:
    lock, swept = fcntl.flock, iter([lambda: [part.unlink() for part in parts(tmp_path)]])

    def sweep_and_lock(handle: object, kind: int) -> None:
        for act in swept:
            act()
        lock(handle, kind)

    monkeypatch.setattr(fcntl, "flock", sweep_and_lock)
    write_whole(tmp_path / "table", b"new")
    assert (tmp_path / "table").read_bytes() == b"new"
    assert parts(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_a_message(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MissingResourceError, match=r"file/table cannot be written \(File exists\)"):
        write_whole(tmp_path / "file/table", b"new")


def handles() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")
def test_no_file_is_left_open(tmp_path) -> None:
    write_whole(tmp_path / "table", b"four")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / ".0123456789abcdef.part").touch()
    before = handles()
    sweep(tmp_path)
    write_whole(tmp_path / "table", b"four")
    assert read_bounded(tmp_path / "table", 4) == b"four"
    for name in ("table", "pipe"):
        with pytest.raises(IntegrityError):
            read_bounded(tmp_path / name, 3)
    assert handles() <= before


def test_a_sweep_of_a_folder_that_is_not_there_does_nothing(tmp_path) -> None:
    sweep(tmp_path / "gone")


def test_a_file_that_may_not_grow_is_a_message_and_the_old_one_stays(tmp_path) -> None:
    write_whole(tmp_path / "table", b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(MissingResourceError, match=r"table cannot be written \(File too large\)"):
            write_whole(tmp_path / "table", bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [file.name for file in tmp_path.iterdir()] == ["table"]
    assert (tmp_path / "table").read_bytes() == b"old"


def test_a_file_is_read_within_bounds(tmp_path) -> None:
    write_whole(tmp_path / "table", b"four")
    assert read_bounded(tmp_path / "table", 4) == b"four"
    with pytest.raises(IntegrityError, match="has 4 bytes, at most 3 are read"):
        read_bounded(tmp_path / "table", 3)
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path / "gone", 4)
