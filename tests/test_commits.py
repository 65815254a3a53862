"""Files that are committed together: one reader, two writers, and a writer that dies anywhere."""

import errno
import fcntl
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sidcurate.errors import IntegrityError, MissingResourceError, UsageError
from sidcurate.storage import commits

NAMES = ("one", "two", "three")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != commits.LOCK}


def contents(folder: Path) -> dict[str, bytes]:
    return dict(commits.read(folder, NAMES).contents)


class Killed(BaseException): ...


def die(*args: object) -> None:
    raise Killed


@pytest.mark.parametrize("dies_before", ["the files", "the record", "the first name", "the second name"])
def test_a_writer_that_dies_leaves_the_old_files_or_the_new(tmp_path, dies_before: str, monkeypatch) -> None:
    old, new = {"one": b"1", "two": b"2"}, {"one": b"11", "two": b"22"}
    commits.replace(tmp_path, NAMES, old)
    real_write, real_names = commits.write_whole, commits._give_names
    is_old = dies_before in ("the files", "the record")
    if is_old:
        last = commits.RECORD if dies_before == "the record" else f".two.{commits.sums_of(new)['two']}"
        monkeypatch.setattr(commits, "write_whole", lambda p, c: die() if p.name == last else real_write(p, c))
    else:
        monkeypatch.setattr(commits, "_give_names", lambda f, s: die() if s else None)
    with pytest.raises(Killed):
        commits.replace(tmp_path, NAMES, new)
    monkeypatch.undo()
    if dies_before == "the second name":
        real_names(tmp_path, {"one": commits.record(tmp_path, NAMES)["one"]})
    before = files(tmp_path)
    assert contents(tmp_path) == (old if is_old else new)
    assert files(tmp_path) == before, "a reader changes nothing"
    commits.replace(tmp_path, NAMES, {"three": b"3"})
    expected = {**(old if is_old else new), "three": b"3"}
    assert contents(tmp_path) == expected
    assert files(tmp_path).keys() == {*expected, commits.RECORD}


def test_the_record_of_a_dead_writer_is_synced_before_its_files_get_their_names(tmp_path, monkeypatch) -> None:
    """A power cut could else leave the new file under its name, and the old record."""
    commits.replace(tmp_path, NAMES, {"one": b"1"})
    names, sync, calls = commits._give_names, commits.sync_folder, []
    monkeypatch.setattr(commits, "_give_names", lambda folder, sums: die() if sums else None)
    with pytest.raises(Killed):
        commits.replace(tmp_path, NAMES, {"one": b"2"})
    monkeypatch.setattr(commits, "sync_folder", lambda folder: (calls.append("sync"), sync(folder)))
    monkeypatch.setattr(commits, "_give_names", lambda folder, sums: (calls.append(set(sums)), names(folder, sums)))
    commits.replace(tmp_path, NAMES, {"two": b"2"})
    assert calls == ["sync", {"one"}, "sync", {"two"}, "sync"]


@pytest.mark.parametrize("dies_before", ["the record", "the names"])
@pytest.mark.parametrize("new", [{"one": b"11"}, {"one": b"1"}], ids=["other files", "the same files"])
def test_what_stands_beside_a_commit_goes_with_it(tmp_path, dies_before: str, new, monkeypatch) -> None:
    commits.replace(tmp_path, NAMES, {"one": b"1"}, beside={"pointer": b"old"})
    if dies_before == "the record":
        monkeypatch.setattr(commits, "write_whole", lambda p, c: die())
    else:
        monkeypatch.setattr(commits, "_give_names", lambda f, s: die() if s else None)
    with pytest.raises(Killed):
        commits.replace(tmp_path, NAMES, new, beside={"pointer": b"new"})
    monkeypatch.undo()
    before = files(tmp_path)
    expected = (b"1", b"old") if dies_before == "the record" else (new["one"], b"new")
    assert (contents(tmp_path)["one"], commits.beside(tmp_path, "pointer").read_bytes()) == expected
    assert files(tmp_path) == before, "a reader changes nothing"
    commits.replace(tmp_path, NAMES, {"two": b"2"})
    assert (contents(tmp_path)["one"], (tmp_path / "pointer").read_bytes()) == expected
    assert files(tmp_path).keys() == {"one", "two", "pointer", commits.RECORD}


def test_what_gets_its_name_just_after_it_was_found_waiting_is_read(tmp_path, monkeypatch) -> None:
    commits.replace(tmp_path, NAMES, {"one": b"1"}, beside={"pointer": b"old"})
    real, renames = commits._give_names, []
    monkeypatch.setattr(commits, "_give_names", lambda *rename: renames.append(rename))
    commits.replace(tmp_path, NAMES, {"one": b"2"}, beside={"pointer": b"new"})
    found = commits.beside(tmp_path, "pointer")
    real(*renames[-1])
    monkeypatch.setattr(commits, "beside", lambda folder, name: found)
    assert commits.read_beside(tmp_path, "pointer", 10) == b"new"


def test_what_was_staged_beside_another_commit_is_swept(tmp_path) -> None:
    commits.replace(tmp_path, NAMES, {"one": b"1"}, beside={"pointer": b"old"})
    commits.staged(tmp_path, "pointer", DIGEST).write_bytes(b"new")
    assert commits.beside(tmp_path, "pointer") == tmp_path / "pointer"
    commits.replace(tmp_path, NAMES, {"one": b"2"})
    assert (tmp_path / "pointer").read_bytes() == b"old"
    assert files(tmp_path).keys() == {"one", "pointer", commits.RECORD}


def test_a_reader_in_the_middle_of_a_commit_sees_all_of_it(tmp_path, monkeypatch) -> None:
    commits.replace(tmp_path, NAMES, {"one": b"1", "two": b"2"})
    real = commits.committed
    others = iter([{"one": b"11", "two": b"22"}])

    def overtaken(folder: Path, name: str, digest: str) -> tuple[Path, bytes]:
        for new in others:
            commits.replace(folder, NAMES, new)
        return real(folder, name, digest)

    monkeypatch.setattr(commits, "committed", overtaken)
    assert contents(tmp_path) == {"one": b"11", "two": b"22"}


def write_often(folder: Path, mark: bytes) -> None:
    for number in range(40):
        text = mark * (number + 1)
        commits.replace(folder, NAMES, {"one": text, "two": text})


def read_often(folder: Path) -> None:
    for _ in range(200):
        found = contents(folder)
        if found["one"] != found["two"]:
            sys.exit("a mixture")


def test_readers_beside_two_writers_never_see_a_mixture(tmp_path) -> None:
    commits.replace(tmp_path, NAMES, {"one": b"", "two": b""})
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=write_often, args=(tmp_path, mark)) for mark in (b"a", b"b")]
    both += [context.Process(target=read_often, args=(tmp_path,))]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0, 0]


def test_files_that_were_made_from_another_commit_are_refused(tmp_path) -> None:
    commits.replace(tmp_path, NAMES, {"one": b"1"})
    seen = commits.read(tmp_path, NAMES).sums
    commits.replace(tmp_path, NAMES, {"one": b"2"}, based_on=seen)
    with pytest.raises(UsageError, match="changed by another process meanwhile, nothing was written; run again"):
        commits.replace(tmp_path, NAMES, {"one": b"3"}, based_on=seen)
    assert contents(tmp_path) == {"one": b"2"}


def test_the_same_files_are_not_written_again(tmp_path) -> None:
    commits.replace(tmp_path, NAMES, {"one": b"1"})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    commits.replace(tmp_path, NAMES, {"one": b"1"})
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


HOLD = """
import fcntl, sys, time
handle = open(sys.argv[1], "a")
fcntl.flock(handle, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(folder / commits.LOCK)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_lock_of_a_writer_that_was_killed_is_free(tmp_path, monkeypatch) -> None:
    with holder(tmp_path) as process:
        monkeypatch.setattr(commits, "_PATIENCE_S", 0.1)
        with pytest.raises(MissingResourceError, match=r"another process has been writing .*`fuser .*\.lock` names it"):
            commits.replace(tmp_path, NAMES, {"one": b"1"})
        process.kill()
        process.wait()
    commits.replace(tmp_path, NAMES, {"one": b"1"})
    assert contents(tmp_path) == {"one": b"1"}


def test_a_disk_without_locks_is_named(tmp_path, monkeypatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(MissingResourceError, match=r"\.lock cannot be locked \(No locks available\), so that two"):
        commits.replace(tmp_path, NAMES, {"one": b"1"})


def test_a_reader_waits_for_nobody_where_all_is_well(tmp_path) -> None:
    commits.replace(tmp_path, NAMES, {"one": b"1"})
    with (tmp_path / commits.LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert contents(tmp_path) == {"one": b"1"}


def test_a_folder_that_may_only_be_read_can_be(tmp_path) -> None:
    commits.replace(tmp_path, NAMES, {"one": b"1"})
    (tmp_path / commits.LOCK).unlink()
    (tmp_path / "one").write_bytes(b"2")
    with pytest.raises(IntegrityError):
        contents(tmp_path)
    assert not (tmp_path / commits.LOCK).exists()


DIGEST = "a" * 64
RECORDS = {
    "nothing": "",
    "blank": "\n",
    "another name": f"{DIGEST}  four\n",
    "a way out": f"{DIGEST}  ../one\n",
    "an absolute path": f"{DIGEST}  /etc/passwd\n",
    "NUL": f"{DIGEST}  one\0\n",
    "no newline": f"{DIGEST}  one",
    "one space": f"{DIGEST} one\n",
    "upper case": f"{DIGEST.upper()}  one\n",
    "a short sum": f"{DIGEST[1:]}  one\n",
    "twice": f"{DIGEST}  one\n" * 2,
    "a line more": f"{DIGEST}  one\nabc\n",
    "a large one": f"{DIGEST}  one\n" * 2000,
}


@pytest.mark.parametrize("text", RECORDS.values(), ids=RECORDS)
def test_a_record_that_is_not_as_written_is_refused(tmp_path, text: str) -> None:
    commits.replace(tmp_path, NAMES, {"one": b"1"})
    (tmp_path / commits.RECORD).write_text(text)
    with pytest.raises(IntegrityError):
        commits.read(tmp_path, NAMES)
    with pytest.raises(IntegrityError):
        commits.replace(tmp_path, NAMES, {"one": b"2"})
    assert (tmp_path / "one").read_bytes() == b"1"


def test_a_record_that_was_cut_at_a_line_is_noticed(tmp_path) -> None:
    commits.replace(tmp_path, NAMES, {"one": b"1", "two": b"2"})
    record = tmp_path / commits.RECORD
    record.write_text("".join(record.read_text().splitlines(keepends=True)[:1]))
    with pytest.raises(IntegrityError, match=r"two is not in SHA256SUMS: .* or the record is cut"):
        commits.read(tmp_path, NAMES)


def test_files_without_a_record_are_not_overwritten(tmp_path) -> None:
    commits.replace(tmp_path, NAMES, {"one": b"1"})
    (tmp_path / commits.RECORD).unlink()
    with pytest.raises(IntegrityError, match="one stands there without a SHA256SUMS"):
        commits.replace(tmp_path, NAMES, {"one": b"2"})
    assert (tmp_path / "one").read_bytes() == b"1"


@pytest.mark.parametrize("name", ["one", commits.RECORD])
def test_a_link_is_not_followed_and_a_pipe_not_waited_for(tmp_path, name: str) -> None:
    folder = tmp_path / "folder"
    commits.replace(folder, NAMES, {"one": b"1"})
    path = folder / name
    path.rename(tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    with pytest.raises(IntegrityError, match="is a link, which may lead anywhere"):
        commits.read(folder, NAMES)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(IntegrityError, match="is no file"):
        commits.read(folder, NAMES)


def test_a_lock_that_is_a_link_is_not_followed(tmp_path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / commits.LOCK).symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match="symbolic links"):
        commits.replace(tmp_path / "folder", NAMES, {"one": b"1"})
    assert not (tmp_path / "outside").exists()
