"""An ingest that was interrupted goes on where it was, and ends with the bytes of one that was not."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sidcurate import manifests
from sidcurate.errors import IntegrityError, UsageError
from sidcurate.ingest import journal, reading
from sidcurate.ingest.folder import ingest
from sidcurate.places.scan import RawFile
from sidcurate.schemas import Capture
from sidcurate.synthetic.dng import DngTags, write_dng
from tests.factories import capture

FRAMES, KEPT = 12, 4


@pytest.fixture
def raws(tmp_path: Path) -> Path:
    """Frames each alone in its scene."""
    folder = tmp_path / "raws"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(500, 4000, (40, 60), np.uint16)
    for number in range(FRAMES):
        tags = DngTags(exposure_time_s=Fraction(1, 10), iso=800)
        write_dng(folder / f"{number:05d}_00_0.1s.dng", pixels + np.uint16(number), tags)
    return folder


def sums(directory: Path) -> dict[str, str]:
    """Hash what a commit consists of; parts that a killed writer left, under hidden names, are none of it."""
    files = (path for path in sorted(directory.rglob("[!.]*")) if path.is_file())
    return {path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# The verb, but that it stands still when so many rows are known, and says so.
STANDING_STILL = """
import sys, time
from contextlib import contextmanager
from sidcurate.__main__ import start
from sidcurate.ingest import journal

appending, rows = journal.appending, int(sys.argv.pop(1))

@contextmanager
def until_enough(*where):
    with appending(*where) as append:
        def append_and_look(*row):
            global rows
            append(*row)
            rows -= 1
            if rows == 0:
                print("enough", flush=True)
                time.sleep(600)
        yield append_and_look

journal.appending = until_enough
start()
"""


def kill_after(rows: int, raws: Path, directory: Path, number: signal.Signals, *options: str) -> int:
    """Ingest in another process, end it when so many rows are known, and return how it ended."""
    where = ["ingest", raws, "--manifests", directory.parent, "--device", "cam", "--jobs", "2", *options]
    command = [sys.executable, "-c", STANDING_STILL, rows, *where]
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"enough\n", process.communicate()
        process.send_signal(number)
        process.communicate(timeout=120)
    return process.returncode


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_ingest_goes_on_and_ends_with_the_same_bytes(
    raws: Path, tmp_path: Path, number: signal.Signals
) -> None:
    directory = tmp_path / "m/cam"
    ended = kill_after(KEPT, raws, directory, number)
    assert ended == {signal.SIGINT: 130, signal.SIGTERM: 143}.get(number, -number)
    assert not (directory / manifests.SUMS).exists()
    assert ingest(raws, directory, jobs=1).read == FRAMES - KEPT
    ingest(raws, tmp_path / "undisturbed/cam", jobs=1)
    assert sums(directory) == sums(tmp_path / "undisturbed/cam")
    assert not (directory / journal.FILE).exists()


def row(path: str = "a.dng") -> tuple[RawFile, object]:
    made = capture(path)
    return RawFile(path, made.size_bytes, 7), made


def kept_in(folder: Path, *rows) -> Path:
    directory = folder / "canon90d"
    with journal.appending(directory, "/raws", "reader 1") as append:
        for file, made in rows:
            append(file, made)
    return directory


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [row("a.dng"), row("b\nc \u00e9.dng"), (row("d.dng")[0]._replace(etag='"1f"'), row("d.dng")[1])]
    assert dict(journal.rows(kept_in(tmp_path, *rows), "/raws", "reader 1", "canon90d")) == dict(rows)


@pytest.mark.parametrize(("root", "reader"), [("/other", "reader 1"), ("/raws", "reader 2")])
def test_rows_of_another_folder_or_reader_do_not_count(tmp_path: Path, root: str, reader: str) -> None:
    assert dict(journal.rows(kept_in(tmp_path, row()), root, reader, "canon90d")) == {}


def test_rows_of_another_device_do_not_count(tmp_path: Path) -> None:
    assert dict(journal.rows(kept_in(tmp_path, row()), "/raws", "reader 1", "other")) == {}


def test_a_torn_line_costs_its_own_row(tmp_path: Path) -> None:
    directory = kept_in(tmp_path, row("a.dng"), row("b.dng"))
    path = directory / journal.FILE
    path.write_bytes(path.read_bytes()[:-100])
    kept_in(tmp_path, row("c.dng"))
    assert [file.path for file, _ in journal.rows(directory, "/raws", "reader 1", "canon90d")] == ["a.dng", "c.dng"]


def test_a_journal_that_is_a_link_or_a_pipe_is_neither_followed_nor_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "canon90d" / journal.FILE
    path.parent.mkdir()
    path.symlink_to(tmp_path / "outside")
    (tmp_path / "outside").write_bytes(b"")
    with pytest.raises(IntegrityError, match="is a link, which may lead anywhere"):
        list(journal.rows(path.parent, "/raws", "reader 1", "canon90d"))
    with pytest.raises(OSError, match="symbolic links"):
        kept_in(tmp_path, row())
    assert (tmp_path / "outside").read_bytes() == b""
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(IntegrityError, match="is no file"):
        list(journal.rows(path.parent, "/raws", "reader 1", "canon90d"))


def test_a_flipped_bit_costs_its_row_and_never_changes_one(tmp_path: Path) -> None:
    directory = kept_in(tmp_path, row())
    path = directory / journal.FILE
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        found = dict(journal.rows(directory, "/raws", "reader 1", "canon90d"))
        assert found in ({}, dict([row()])), at


def test_a_journal_without_lines_takes_no_memory(tmp_path: Path) -> None:
    directory = kept_in(tmp_path, row("a.dng"))
    with (directory / journal.FILE).open("r+b") as stream:
        stream.truncate(64 << 20)
    kept_in(tmp_path, row("b.dng"))
    tracemalloc.start()
    found = [file.path for file, _ in journal.rows(directory, "/raws", "reader 1", "canon90d")]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found, peak < 4 << 20) == (["b.dng"], True)


def test_a_row_of_another_schema_is_read_again(tmp_path: Path) -> None:
    directory = kept_in(tmp_path, row())
    path = directory / journal.FILE
    line = json.loads(path.read_bytes().strip().partition(b" ")[2])
    line["capture"]["new_field"] = 1
    text = json.dumps(line).encode()
    path.write_bytes(b"\n" + hashlib.sha256(text).hexdigest().encode() + b" " + text)
    assert dict(journal.rows(directory, "/raws", "reader 1", "canon90d")) == {}


def test_a_row_whose_file_has_changed_since_is_read_again(raws: Path, tmp_path: Path) -> None:
    directory = tmp_path / "m/cam"
    kill_after(FRAMES, raws, directory, signal.SIGKILL)
    changed = raws / "00000_00_0.1s.dng"
    os.utime(changed, ns=(0, 0))
    write_dng(changed, np.full((40, 60), 600, np.uint16), DngTags(exposure_time_s=Fraction(1, 5)))
    again = ingest(raws, directory, jobs=1)
    assert (again.read, again.captures.records()[0].exposure_time_s) == (1, 0.2)


def test_a_folder_that_goes_away_in_the_middle_costs_no_manifest(raws: Path, tmp_path: Path) -> None:
    directory = tmp_path / "m/cam"
    away = tmp_path / "away"

    def pull_the_card(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("reading raws", 3):
            raws.rename(away)

    with pytest.raises(UsageError, match="went away while it was read; bring it back and ingest again"):
        ingest(raws, directory, jobs=1, progress=pull_the_card)
    assert not (directory / manifests.SUMS).exists()
    away.rename(raws)
    again = ingest(raws, directory, jobs=1)
    assert again.read < FRAMES
    assert again.unreadable == []


READ = reading._read_capture


def killed_once(task: reading._Task) -> Capture:
    """Read a raw; but at the first time that it is this one, as when the system is out of memory."""
    mark = Path(task.place.name).with_name("killed")
    if task.file.path.startswith("00003") and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return READ(task)


def test_a_raw_whose_worker_was_killed_has_a_row_that_the_next_ingest_reads_again(
    raws: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_read_capture", killed_once)
    first = ingest(raws, tmp_path / "m/cam", jobs=2)
    (lost,) = first.unreadable
    assert (lost.path[:5], lost.sha256, lost.status_reason) == ("00003", None, "the reader crashed (SIGKILL)")
    again = ingest(raws, tmp_path / "m/cam", jobs=2)
    assert (again.unreadable, again.read) == ([], 1)
    ingest(raws, tmp_path / "undisturbed/cam", jobs=2)
    assert sums(tmp_path / "m/cam") == sums(tmp_path / "undisturbed/cam")


def test_a_dry_run_keeps_no_rows(raws: Path, tmp_path: Path) -> None:
    ingest(raws, tmp_path / "m/cam", jobs=1, dry_run=True)
    assert not (tmp_path / "m").exists()


class Told:
    """The last count of each stage, in their order."""

    def __init__(self, end_at: int | None = None) -> None:
        self.last: dict[str, tuple[int, int | None]] = {}
        self._end_at = end_at

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        self.last[stage] = done, total
        if (stage, done) == ("reading raws", self._end_at):
            raise KeyboardInterrupt


@pytest.mark.parametrize("headers_only", [False, True])
def test_every_stage_of_an_ingest_is_told_to_its_end(raws: Path, tmp_path: Path, headers_only: bool) -> None:
    cut_off, on, again = Told(KEPT), Told(), Told()
    with pytest.raises(KeyboardInterrupt):
        ingest(raws, tmp_path / "m/cam", jobs=1, progress=cut_off, headers_only=headers_only)
    for told in (on, again):
        ingest(raws, tmp_path / "m/cam", jobs=1, progress=told, headers_only=headers_only)
    rest = {
        "packing captures": (FRAMES, FRAMES),
        "pairing captures": (FRAMES, FRAMES),
        "packing pairs": (0, 0),
        "saving": (1, 1),
    }
    kept = on.last.pop("taking up where it was")[0]
    assert KEPT <= kept < FRAMES
    assert list(on.last.items()) == [
        ("listing raws", (FRAMES, FRAMES)),
        ("reading raws", (FRAMES - kept, FRAMES - kept)),
        *rest.items(),
    ]
    assert list(again.last.items()) == [
        ("listing raws", (FRAMES, FRAMES)),
        ("reading captures", (FRAMES, FRAMES)),
        ("reading unpaired", (FRAMES, FRAMES)),
        ("keeping rows", (FRAMES, FRAMES)),
        *rest.items(),
    ]


def test_a_line_has_what_is_known_and_no_more(tmp_path: Path) -> None:
    row = capture("a.dng", iso=None)
    with journal.appending(tmp_path, "/raws", "1") as append:
        append(RawFile("a.dng", row.size_bytes or 0, 1), row)
    assert b"null" not in (tmp_path / journal.FILE).read_bytes()
    assert [kept for _, kept in journal.rows(tmp_path, "/raws", "1", row.device)] == [row]
