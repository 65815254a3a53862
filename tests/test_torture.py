"""Every writer, disturbed: each call fails in turn, ten kills at random moments, a disk that is full."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sidcurate import manifests
from sidcurate.ingest.folder import ingest
from tests.torture import faults, rounds, steps

ROOT = Path(__file__).parents[1]


def test_readers_see_the_old_or_the_new_after_every_failing_call_and_ten_kills() -> None:
    command = [sys.executable, "-m", "tests.torture", "--kills", "10", "--verb-calls", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("0 broken promises\n")
    if why := faults.missing():
        pytest.skip(f"the kills are done, no call was made to fail: {why}")
    assert "next commit: 75 rounds" in done.stdout


@pytest.mark.parametrize(
    ("calls", "missing"),
    [
        (["write /.a.part", "rename .a.part /x", "sync "], "/x before its bytes"),
        (["sync /.a.part", "rename .a.part /x"], "/x at the end"),
        (["sync /.a.part", "rename .a.part /x", "sync /.b.part", "rename .b.part /SHA256SUMS", "sync "], "/SHA256SUMS"),
        (["sync /.b.part", "rename .b.part /SHA256SUMS", "rename .x.0 /x", "sync "], "/x before the names"),
        (["mkdir ", "mkdir /t", "sync /t/.a.part", "rename .a.part /t/x", "sync /t"], "/t at the end"),
    ],
)
def test_a_sync_that_is_left_out_is_seen(calls: list[str], missing: str) -> None:
    (fault,) = rounds.unsynced(calls)
    assert fault.startswith(missing)


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def files(folder: Path) -> dict[str, str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): manifests.sha256_of(path) for path in paths}


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as stream:
        for _ in range(1000):
            try:
                stream.write(bytes(4096))
            except OSError:
                return
    pytest.fail("the small disk is not small")


def test_a_full_disk_is_a_message_and_costs_nothing(tmp_path, small_disk) -> None:
    raws = tmp_path / "raws"
    steps.write_raws(raws)
    directory = small_disk / "m" / "cam"
    ingest(raws, directory, jobs=1)
    before = files(directory)
    os.utime(next(raws.iterdir()))  # One raw is read again, and its trace written again.
    ballast = small_disk / "ballast"
    fill(ballast)
    command = [sys.executable, "-m", "sidcurate", "ingest", raws, "--manifests", directory.parent, "--device", "cam"]
    full = subprocess.run([*map(str, command), "--jobs", "1"], capture_output=True, text=True, check=False)
    assert full.returncode == 4, full.stderr
    assert "No space left on device); nothing was lost: free space" in full.stderr
    assert files(directory) == before
    ballast.unlink()
    again = subprocess.run([*map(str, command), "--jobs", "1"], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert {k: v for k, v in files(directory).items() if k != "source.json"} == {
        k: v for k, v in before.items() if k != "source.json"
    }
